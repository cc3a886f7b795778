"""Submitting and retrying jobs: what takes a workflow, the engine and the queue together."""

import logging
import time
from functools import partial

from django.conf import settings
from django.db import transaction
from django_q.tasks import async_task

from aiworkflow_project.db.conflicts import retried
from jobs.models import InvalidTransition, Job
from workflows import engine
from workflows.models import Workflow

logger = logging.getLogger(__name__)

QUIET_SECONDS = 5.0  # for so long a queue that failed is not told of anything: submits need not wait for it
_quiet_until = 0.0


class InactiveWorkflow(Exception):
    """The workflow may not be run now."""


@retried
def submit(
    workflow: Workflow, trigger_data: dict, *, name: str = "", created_by=None, request_id: str = "", retry_of=None
) -> Job:
    """Accept a new job, pinned to the workflow's current revision, and wake a worker once it is committed.

    Raises InactiveWorkflow, or engine.TriggerDataRefused when the data does not fit the revision's inputs.
    """
    if workflow.deleted_at or not workflow.is_active:
        raise InactiveWorkflow(f"The workflow {workflow} is not active, so it cannot be run.")
    revision = workflow.current_revision
    engine.accept(revision.description, trigger_data)
    limits = revision.description.get("workflow", {})
    job = Job(
        workspace_id=workflow.workspace_id,
        workflow=workflow,
        revision=revision,
        name=name,
        trigger_data=trigger_data,
        created_by=created_by,
        request_id=request_id,
        retry_of=retry_of,
        timeout_seconds=limits.get("timeout_seconds", settings.JOB_TIMEOUT_SECONDS),
        max_attempts=limits.get("max_attempts", settings.JOB_MAX_ATTEMPTS),
    )
    with transaction.atomic():
        job.save(force_insert=True)
        job.state_event().save(force_insert=True)
        if settings.QUEUE_URL:
            transaction.on_commit(partial(wake_a_worker, request_id))
        else:  # the queue is in this database: one commit for both
            async_task("jobs.tasks.work", request_id)
    return job


def retry(job: Job, *, created_by=None, request_id: str = "") -> Job:
    """Submit the data of a job that is over as a new job, on the workflow's current revision, naming the first."""
    if not job.is_over:
        raise InvalidTransition(f"A {job.status} job cannot be retried: it is not over yet.")
    return submit(
        job.workflow, job.trigger_data, name=job.name, created_by=created_by, request_id=request_id, retry_of=job
    )


def wake_a_worker(request_id: str = "") -> None:
    """Tell the queue that there is work. A failure is only logged: the row is the truth, and the sweep finds it."""
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return
    try:
        # By path: the queue then needs no import of the tasks, and the tasks can import us.
        async_task("jobs.tasks.work", request_id)
    except Exception:  # whatever the broker's client raises, the job has been accepted and will run
        _quiet_until = time.monotonic() + QUIET_SECONDS
        logger.warning("The queue could not be told of a new job; the sweep will find it.", exc_info=True)
