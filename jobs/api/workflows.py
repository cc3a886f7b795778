"""The workflow that a submit names.

To look it up takes a fifth of what a submit takes, so it is remembered. What is remembered may be out of date: it is
only for `submit(…, from_memory=True)`, which looks again in the statement that saves the job.
"""

from functools import partial
from uuid import UUID

from django.core.exceptions import ValidationError

from accounts.models import Workspace
from aiworkflow_project.api.authentication import workspace_id_of
from aiworkflow_project.db.prepared import Prepared
from aiworkflow_project.kept import Kept
from workflows.models import Workflow, WorkflowRevision

known_workflows = Kept(seconds=60, at_most=256)  # by workspace and id


def named_workflow(request, *, from_memory: bool = False) -> Workflow | None:
    """The definition that the body names, if there is one. One from memory is shared: nobody may change it."""
    try:
        pk = Workflow._meta.pk.to_python(request.data.get("ai_workflow_def_id"))
    except (AttributeError, ValidationError):
        return None
    if not pk:
        return None
    key = workspace_id_of(request), pk
    return known_workflows.get(key, partial(_find, *key)) if from_memory else _find(*key)


_kept = Prepared(
    lambda workspace, pk: Workflow.objects.kept().filter(pk=pk, workspace_id=workspace),
    Workspace._meta.pk,
    Workflow._meta.pk,
)


def _find(workspace, pk: UUID) -> Workflow | None:
    workflow = _kept.first(workspace, pk)
    if workflow:
        workflow.current_revision = WorkflowRevision.known(workflow.current_revision_id)
    return workflow
