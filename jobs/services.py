"""Submitting and retrying jobs: what takes a workflow, the engine and the queue together."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Model
from django.db.models.functions import Coalesce
from django.utils import timezone
from django_q.tasks import async_task

from aiworkflow_project.db.conflicts import retried
from aiworkflow_project.db.group_commit import GroupCommit
from aiworkflow_project.db.inserts import insert, notify
from aiworkflow_project.db.prepared import Prepared
from jobs.admission import admit
from jobs.models import InvalidTransition, Job
from workflows import engine
from workflows.models import Workflow, WorkflowRevision

logger = logging.getLogger(__name__)

QUIET_SECONDS = 5.0  # for so long a queue that failed is not told of anything: submits need not wait for it
_quiet_until = 0.0
CHANNEL = "aiworkflow_jobs"  # of PostgreSQL's NOTIFY: within one database, so that sites do not hear each other


class InactiveWorkflow(Exception):
    """The workflow may not be run now."""


class WorkflowChanged(Exception):
    """The workflow is no longer as the caller knew it."""


NO_LIMIT = -1
_as_known = Prepared(
    lambda pk, revision, limit: (
        Workflow.objects.active()
        .alias(limit=Coalesce("concurrency_limit", NO_LIMIT))
        .filter(pk=pk, current_revision_id=revision, limit=limit)
        .values("pk")
    ),
    Workflow._meta.pk,
    WorkflowRevision._meta.pk,
    Workflow._meta.get_field("concurrency_limit"),
)


def usual_control(description: dict) -> dict:
    """How jobs of a revision are run where a job does not ask for other: by its `workflow:` block, or the settings."""
    block = description.get("workflow", {})
    return {
        "priority": block.get("priority", Job._meta.get_field("priority").default),
        "timeout_seconds": block.get("timeout_seconds", settings.JOB_TIMEOUT_SECONDS),
        "max_attempts": block.get("max_attempts", settings.JOB_MAX_ATTEMPTS),
        "retry_on": ",".join(dict.fromkeys(block.get("retry_on", []))),
    }


def new_job(workflow: Workflow, trigger_data: dict, *, control: dict | None = None, **fields) -> Job:
    """An unsaved job on the workflow's current revision.

    `control` may hold priority, timeout_seconds, max_attempts, retry_on and available_at (not before). Raises
    InactiveWorkflow, or engine.TriggerDataRefused when the data does not fit the revision's inputs.
    """
    if workflow.deleted_at or not workflow.is_active:
        raise InactiveWorkflow(f"The workflow {workflow} is not active, so it cannot be run.")
    revision = workflow.current_revision
    engine.accept(revision.description, trigger_data)
    job = Job(
        workspace_id=workflow.workspace_id,
        workflow=workflow,
        revision=revision,
        trigger_data=trigger_data,
        **fields,
        **usual_control(revision.description) | (control or {}),
    )
    job.created_at = job.updated_at = timezone.now()
    if job.available_at > job.created_at:
        job.waits_for = Job.WaitsFor.TIME
    else:
        job.available_at = job.created_at
        if workflow.concurrency_limit is not None:
            job.waits_for = Job.WaitsFor.ROOM
    return job


def accept(jobs: list[Job], beside: Sequence[Model] = (), *, if_still: tuple | None = None) -> None:
    """Save new jobs of one workflow and rows of one other model beside them, all or none.

    Once that is committed, the jobs are let in and workers woken. Raises WorkflowChanged, and saves none, where the
    workflow is no longer as `_seen` told.
    """
    waits, request_id = {job.waits_for for job in jobs}, jobs[0].request_id
    ready = Job.WaitsFor.WORKER in waits
    saved = insert(
        jobs,
        [job.state_event() for job in jobs],
        beside,
        channel=CHANNEL if ready and not settings.QUEUE_URL else "",
        only_if=if_still and _as_known.exists(*if_still),
    )
    if not saved:
        raise WorkflowChanged
    # Nothing that fails from here on loses a job: the sweep finds what was not let in, and what nobody woke up for.
    if ready and settings.QUEUE_URL:
        wake_workers(len(jobs), request_id)
    if Job.WaitsFor.ROOM in waits:
        transaction.on_commit(partial(_let_in, jobs[0].workflow_id, request_id), robust=True)


def _seen(workflow: Workflow) -> tuple:
    """What of a workflow a job is made of, as `_as_known` takes it."""
    limit = NO_LIMIT if workflow.concurrency_limit is None else workflow.concurrency_limit
    return workflow.pk, workflow.current_revision_id, limit


def _accept_all(seen: tuple, submits: list[tuple[Job, list[Model]]]) -> None:
    accept([job for job, _ in submits], [row for _, rows in submits for row in rows], if_still=seen)


_accept_together = GroupCommit(_accept_all)


def _let_in(workflow_id: UUID, request_id: str) -> None:
    if jobs := admit(workflow_id):
        wake_workers(jobs, request_id)


@retried
def submit(
    workflow: Workflow,
    trigger_data: dict,
    *,
    also: Callable[[Job], list[Model]] | None = None,
    from_memory: bool = False,
    **fields,
) -> Job:
    """Accept a new job; `fields` are those of `new_job`, which says what is refused.

    What `also` makes of it is saved with it: both, or neither. A workflow `from_memory` is looked at once more while
    the job is saved: raises WorkflowChanged.
    """
    job = new_job(workflow, trigger_data, **fields)
    beside = also(job) if also else []
    seen = _seen(workflow) if from_memory else None
    if seen and not connection.in_atomic_block:  # else it could be another's transaction that saves ours
        _accept_together(seen, (job, beside))
    else:
        accept([job], beside, if_still=seen)
    return job


def retry(job: Job, **fields) -> Job:
    """Submit the data of a job that is over as a new job, on the workflow's current revision, naming the first.

    What was asked for the first alone, such as a longer time limit, is asked for the new one too.
    """
    if not job.is_over:
        raise InvalidTransition(f"A {job.status} job cannot be retried: it is not over yet.")
    again = partial(submit, job.workflow, job.trigger_data, **fields)
    try:
        return again(**as_before(job))
    except IntegrityError:
        if Job.objects.filter(pk=job.pk).exists():
            raise
        return again(**as_before(job) | {"retry_of": None})  # it was deleted meanwhile


def as_before(job: Job) -> dict:
    """What a retry of the job takes from it, as fields for `new_job`."""
    usual = usual_control(job.revision.description)
    control = {name: getattr(job, name) for name in usual if getattr(job, name) != usual[name]}
    return {"name": job.name, "retry_of": job, "control": control}


def wake_workers(jobs: int, request_id: str = "") -> None:
    """Tell workers that so many jobs wait, once that is committed.

    In this database the row itself is the message, and PostgreSQL lets us tell at once that it is there. To another
    server one is sent for each worker process that this site starts, at most.
    """
    if settings.QUEUE_URL:
        transaction.on_commit(partial(_send, min(jobs, settings.WORKERS), request_id), robust=True)
    else:
        notify(CHANNEL)


def _send(wake_ups: int, request_id: str) -> None:
    """A failure is only logged: the row is the truth, and the sweep finds it."""
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return
    try:
        for _ in range(wake_ups):
            # By path: the queue then needs no import of the tasks, and the tasks can import us.
            async_task("jobs.tasks.work", request_id)
    except Exception:  # whatever the broker's client raises, the job has been accepted and will run
        _quiet_until = time.monotonic() + QUIET_SECONDS
        logger.warning("The queue could not be told of a new job; the sweep will find it.", exc_info=True)
