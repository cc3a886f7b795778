"""`manage.py run_sample`: indexes the bundled Chinese texts, asks them a question, and prints the answer."""

import json
import time

from django.core.management.base import BaseCommand, CommandError

from jobs.models import Job
from jobs.services import submit
from workflows.examples import SAMPLE, Example
from workflows.models import Workflow


class Command(BaseCommand):
    help = "Runs the sample jobs through the workers of this site and prints the result."

    def add_arguments(self, parser):
        parser.add_argument("--seconds", type=int, default=60, help="how long to wait for each job")

    def handle(self, *args, seconds, **options):
        for name in SAMPLE:
            example = Example.named(name)
            workflow = Workflow.objects.kept().filter(name=example.title).order_by("-created_at").first()
            if workflow is None:
                raise CommandError(f"The example {example.title!r} is not there: run `manage.py load_examples` first.")
            self.stdout.write(f"Sample job: {example.title}")
            job = submit(workflow, example.trigger_data, name=example.title)
            self._wait(job, seconds)
        self.stdout.write(f"  trigger data  {json.dumps(job.trigger_data, ensure_ascii=False)}")
        self.stdout.write("  result\n" + json.dumps(job.result, ensure_ascii=False, indent=2))

    def _wait(self, job: Job, seconds: int) -> None:
        deadline = time.monotonic() + seconds
        while not job.is_over:
            if time.monotonic() > deadline:
                raise CommandError(f"The sample job is still {job.status} after {seconds} s. Are workers running?")
            time.sleep(0.1)
            job.refresh_from_db()
        if job.status != Job.Status.COMPLETED:
            raise CommandError(f"The sample job {job.status}: {job.error_message}")
        self.stdout.write(f"  completed in {job.execution_seconds:.2f} s, attempt {job.attempt}")
