"""Saving workflows: what takes the engine's word, a revision and the row together."""

from collections.abc import Callable

from django.db import IntegrityError, transaction
from django.db.models import Model
from django.utils import timezone

from aiworkflow_project.db.conflicts import retried
from aiworkflow_project.db.inserts import insert
from workflows import engine
from workflows.models import Workflow, WorkflowRevision, split_tags


class PipelineRefused(Exception):
    """The YAML is not a pipeline that may run here; `problems` says every reason, each with its place."""

    def __init__(self, problems: list[engine.Problem]):
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class NameTaken(Exception):
    """The workspace has another workflow of this name and version."""


def save(
    workflow: Workflow, pipeline_yaml: str, *, by, also: Callable[[Workflow], list[Model]] | None = None
) -> Workflow:
    """Save `workflow` with `pipeline_yaml` as its current revision, made or found by the text's hash.

    What `also` makes of the saved workflow is saved with it: both, or neither.

    Raises PipelineRefused, NameTaken, or engine.RunnerUnavailable when nobody can check a new text now.
    """
    content_hash = WorkflowRevision.hash_of(pipeline_yaml)
    known = workflow.revisions.filter(content_hash=content_hash).first()
    is_current = known is not None and known.pk == workflow.current_revision_id
    if not is_current:
        # An old revision is checked again: the policy may have been tightened since.
        checked = engine.check(pipeline_yaml)
        if not checked.valid:
            raise PipelineRefused(checked.problems)
    workflow.tags = ",".join(split_tags(workflow.tags))
    workflow.updated_at = timezone.now()

    def revision() -> WorkflowRevision:
        return known or _next_revision(workflow, pipeline_yaml, content_hash, checked.description, by)

    try:
        _store(workflow, workflow.current_revision, None if is_current else revision, also)
    except IntegrityError as error:
        if _name_is_taken(workflow):
            raise NameTaken(
                f"There is already a workflow {workflow.name!r} of version {workflow.version!r}."
            ) from error
        raise
    return workflow


@retried
def _store(workflow: Workflow, current: WorkflowRevision | None, new: Callable | None, also: Callable | None) -> None:
    workflow.current_revision = current  # as it was before a try that failed
    with transaction.atomic():
        workflow.save()
        if new:
            workflow.current_revision = new()
            workflow.save(update_fields=["current_revision"])
        if also:
            insert(also(workflow))


def _next_revision(workflow, pipeline_yaml, content_hash, description, by) -> WorkflowRevision:
    last = workflow.revisions.order_by("-number").first()
    return workflow.revisions.create(
        number=last.number + 1 if last else 1,
        pipeline_yaml=pipeline_yaml,
        content_hash=content_hash,
        description=description,
        created_by=by,
    )


def _name_is_taken(workflow: Workflow) -> bool:
    return (
        Workflow.objects.kept()
        .filter(workspace=workflow.workspace_id, name=workflow.name, version=workflow.version)
        .exclude(pk=workflow.pk)
        .exists()
    )
