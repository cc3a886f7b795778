"""Why a pending job has not started yet."""

from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone

from aiworkflow_project.db.counts import COUNT_AT_MOST, Count, capped
from jobs.models import Job, Worker

HOLDERS_NAMED = 10


@dataclass(frozen=True)
class Wait:
    """`reason` is one of: not_before, backoff, limit, held, no_worker, queue.

    `ahead` is how many of those that wait for the same come first; `holders` are jobs that take up the workflow's room,
    ten of them at most.
    """

    reason: str | None
    until: datetime | None = None
    ahead: Count | None = None
    limit: int | None = None
    holders: list[Job] = field(default_factory=list)
    workers: int | None = None
    places: int | None = None


def why(job: Job) -> Wait | None:
    """What keeps a pending job from starting; None for a job that is not pending. A fixed number of bounded queries."""
    if job.status != Job.Status.PENDING:
        return None
    if job.waits_for == Job.WaitsFor.TIME and job.available_at > timezone.now():
        return Wait("backoff" if job.attempt else "not_before", until=job.available_at)
    if job.waits_for != Job.WaitsFor.WORKER and (wait := _for_room(job)):
        return wait
    places = list(Worker.objects.alive().values_list("places", flat=True))
    ahead = _ahead(job, Job.objects.ready())
    return Wait("queue" if places else "no_worker", ahead=ahead, workers=len(places), places=sum(places))


def _for_room(job: Job) -> Wait | None:
    """None where there is room for it: the next sweep, which is a worker's, lets it in."""
    same, limit = Job.objects.filter(workflow=job.workflow_id), job.workflow.concurrency_limit
    if limit is None:
        return None
    ahead = _ahead(job, same.waiting_for_room())
    if limit == 0:
        return Wait("held", ahead=ahead, limit=0)
    admitted = same.admitted()
    if capped(admitted).number + ahead.number < limit:
        return None
    holders = admitted.order_by("status", "started_at", "id").only("name", "status", "started_at")
    return Wait("limit", ahead=ahead, limit=limit, holders=list(holders[:HOLDERS_NAMED]))


def _ahead(job: Job, waiting) -> Count:
    """By ranges of the index, each counted no further than needed."""
    as_urgent = waiting.filter(priority=job.priority)
    before = [
        waiting.filter(priority__gt=job.priority),
        as_urgent.filter(available_at__lt=job.available_at),
        as_urgent.filter(available_at=job.available_at, pk__lt=job.pk),
    ]
    counts = [capped(jobs) for jobs in before]
    total = sum(one.number for one in counts)
    return Count(min(total, COUNT_AT_MOST), total > COUNT_AT_MOST or any(one.more for one in counts))
