"""Many jobs in one call: batches, and cancelling and retrying whatever a filter finds."""

from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Exists, F, Model, OuterRef
from django.utils import timezone

from aiworkflow_project.db.conflicts import locked, retried
from aiworkflow_project.db.counts import Count, capped
from aiworkflow_project.db.inserts import insert
from jobs.models import Job, JobBatch
from jobs.services import InactiveWorkflow, accept, as_before, new_job
from workflows import engine
from workflows.models import Workflow

BATCH_MOST = 1_000  # jobs that one call makes
CANCEL_MOST = 10_000  # jobs that one call cancels
CHUNK = 500  # rows locked at once


class NothingAccepted(Exception):
    """Not one of a batch's items could be accepted; `refused` has the reasons by place in the batch."""

    def __init__(self, refused: dict[int, engine.TriggerDataRefused]):
        super().__init__("None of the items fits the workflow's inputs.")
        self.refused = refused


@dataclass(frozen=True)
class Submitted:
    """A batch: its jobs and the refused items, each by its place, counted from 0."""

    batch: JobBatch
    jobs: dict[int, Job]
    refused: dict[int, engine.TriggerDataRefused]


@retried
def submit_batch(
    workflow: Workflow,
    items: list[dict],
    *,
    name: str = "",
    created_by=None,
    also: Callable[[Submitted], list[Model]] | None = None,
    **common,
) -> Submitted:
    """Accept those of at most 1,000 `items` that fit, in one transaction, as the jobs of one batch.

    An item is what `new_job` takes for one job; `common` is the same for all. What `also` makes of the batch is saved
    with it. Raises InactiveWorkflow, or NothingAccepted.
    """
    batch = JobBatch(workspace_id=workflow.workspace_id, workflow=workflow, name=name, created_by=created_by)
    jobs, refused = {}, {}
    for number, item in enumerate(items):
        try:
            jobs[number] = new_job(workflow, **{"batch": batch, "created_by": created_by, **common, **item})
        except engine.TriggerDataRefused as error:
            refused[number] = error
    if not jobs:
        raise NothingAccepted(refused)
    submitted = Submitted(batch, jobs, refused)
    with transaction.atomic():
        batch.save(force_insert=True)
        accept(list(jobs.values()))
        if also:
            insert(also(submitted))
    return submitted


@dataclass(frozen=True)
class Outlook:
    """What a call would do with the jobs that a QuerySet finds: `does`, and why the others would be left as they are.

    Each figure is counted to 10,000 at most.
    """

    jobs: Count
    does: dict[str, Count]
    leaves: dict[str, Count]


@dataclass
class Cancelled:
    """`pending` jobs were cancelled and `running` ones asked to stop; `more` says that others are left."""

    pending: int = 0
    running: int = 0
    more: bool = False


def may_cancel(jobs) -> Cancelled:
    """What `cancel_all` would do, counted to the end: `more` says that it takes more than one call."""
    pending, running = jobs.pending().count(), _unasked(jobs).count()
    return Cancelled(pending, running, more=pending + running > CANCEL_MOST)


def cancel_outlook(jobs) -> Outlook:
    """What `cancel_all` would do, with the reasons: bounded, for a person to look at first."""
    return Outlook(
        jobs=capped(jobs),
        does={"pending": capped(jobs.pending()), "running": capped(_unasked(jobs))},
        leaves={
            "asked": capped(jobs.running().exclude(cancel_requested_at=None)),
            "over": capped(jobs.filter(status__in=Job.FINAL)),
        },
    )


def cancel_all(jobs, most: int = CANCEL_MOST) -> Cancelled:
    """Cancel a QuerySet's pending jobs and ask its running ones to stop, `most` of them."""
    done = Cancelled()
    while done.pending + done.running < most:
        pending = _cancel_pending(jobs, min(CHUNK, most - done.pending))
        running = _unasked(jobs).update(cancel_requested_at=timezone.now(), updated_at=timezone.now())
        done.pending, done.running = done.pending + pending, done.running + running
        if not pending and not running:  # not before: a job may be claimed, or put back, between the two
            return done
    done.more = jobs.pending().exists() or _unasked(jobs).exists()
    return done


def _unasked(jobs):
    return jobs.running().filter(cancel_requested_at=None)


@retried
def _cancel_pending(jobs, most: int) -> int:
    with transaction.atomic():
        found = list(_some_locked(jobs.pending(), "attempt", "event_seq", "error_code", most=most))
        now = timezone.now()
        ended = {"status": Job.Status.CANCELLED, "completed_at": now, "updated_at": now}
        Job.objects.filter(pk__in=[job.pk for job in found]).update(event_seq=F("event_seq") + 1, **ended)
        for job in found:
            job.status, job.event_seq = Job.Status.CANCELLED, job.event_seq + 1
        insert([job.state_event() for job in found])
    return len(found)


def _some_locked(jobs, *fields: str, most: int):
    """Some of the jobs, which nobody else moves within this transaction. In one order, so that two such calls queue."""
    return locked(jobs).order_by("pk").only("status", *fields)[:most]


@dataclass
class Retried:
    """The new jobs; why some could not be retried, by the first job's id; `more` are left for another call."""

    jobs: list[Job] = field(default_factory=list)
    refused: dict = field(default_factory=dict)
    more: bool = False


def retriable(jobs):
    """Those of a QuerySet's jobs that are over and were not retried yet."""
    return jobs.filter(~_retried_before(), status__in=Job.FINAL)


def _retried_before() -> Exists:
    return Exists(Job.objects.filter(retry_of=OuterRef("pk")))


def runnable(jobs):
    """Those of a QuerySet's jobs whose workflow takes new ones."""
    return jobs.filter(workflow__in=Workflow.objects.active())


def retry_outlook(jobs) -> Outlook:
    """What `retry_all` would do with the runnable ones, with the reasons: bounded, for a person to look at first.

    Whether a job's data still fits is known only when it is submitted.
    """
    over = jobs.filter(status__in=Job.FINAL)
    return Outlook(
        jobs=capped(jobs),
        does={"retried": capped(runnable(retriable(jobs)))},
        leaves={
            "unfinished": capped(jobs.unfinished()),
            "retried_before": capped(over.filter(_retried_before())),
            "inactive": capped(retriable(jobs).exclude(workflow__in=Workflow.objects.active())),
        },
    )


@retried
def retry_all(
    jobs, *, most: int = BATCH_MOST, also: Callable[[Retried], list[Model]] | None = None, **fields
) -> Retried:
    """Submit each of a QuerySet's retriable jobs again, the oldest first, `most` of them, in one transaction."""
    done = Retried()
    with transaction.atomic():
        chosen = list(retriable(jobs).order_by("created_at", "id").values_list("pk", flat=True)[:most])
        # Once more, of what is locked by now: somebody may be retrying the same.
        list(_some_locked(Job.objects.filter(pk__in=chosen), most=most))
        firsts = retriable(Job.objects.filter(pk__in=chosen)).select_related("workflow__current_revision", "revision")
        by_workflow: dict = {}
        for first in firsts.order_by("created_at", "id").defer("result", "error_message"):
            try:
                job = new_job(first.workflow, first.trigger_data, **as_before(first), **fields)
                by_workflow.setdefault(first.workflow_id, []).append(job)
            except (InactiveWorkflow, engine.TriggerDataRefused) as error:
                done.refused[first.pk] = error
        for group in by_workflow.values():
            accept(group)
            done.jobs += group
        done.more = len(chosen) == most and retriable(jobs).exclude(pk__in=chosen).exists()
        if also:
            insert(also(done))
    return done
