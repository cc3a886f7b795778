"""`manage.py load_examples`: puts the bundled examples into the default workspace."""

from django.core.management.base import BaseCommand

from accounts.models import Workspace
from workflows import engine
from workflows.examples import Example
from workflows.models import Workflow
from workflows.services import PipelineRefused, save


class Command(BaseCommand):
    help = (
        "Saves each bundled example that the site does not have yet and that its policy allows. An example that "
        "somebody changed, renamed or deleted is left alone."
    )

    def handle(self, *args, **options):
        workspace = Workspace.objects.default()
        for example in Example.all():
            # By title and age: one that was deleted is still there, hidden, and does not come back.
            if Workflow.objects.in_workspace(workspace).filter(name=example.title).exists():
                continue
            workflow = Workflow(
                workspace=workspace, name=example.title, description=example.description, tags=example.tags
            )
            try:
                save(workflow, example.pipeline_yaml, by=None)
            except PipelineRefused as refused:
                self.stdout.write(f"Left out: {example.title} ({refused.problems[0].message})")
            except engine.RunnerUnavailable:
                self.stderr.write("No runner answers, so the examples could not be checked. Try again in a moment.")
                return
            else:
                self.stdout.write(f"Example: {example.title}")
