"""Why a pending job has not started yet."""

from dataclasses import dataclass, field
from datetime import datetime

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
    if job.waits_for == Job.WaitsFor.TIME:
        return Wait("backoff" if job.attempt else "not_before", until=job.available_at)
    if job.waits_for == Job.WaitsFor.ROOM:
        same = Job.objects.filter(workflow=job.workflow_id)
        limit, ahead = job.workflow.concurrency_limit, _ahead(job, same.waiting_for_room())
        if limit == 0:
            return Wait("held", ahead=ahead, limit=0)
        holders = same.admitted().order_by("status", "started_at", "id").only("name", "status", "started_at")
        return Wait("limit", ahead=ahead, limit=limit, holders=list(holders[:HOLDERS_NAMED]))
    places = list(Worker.objects.alive().values_list("places", flat=True))
    ahead = _ahead(job, Job.objects.ready())
    return Wait("queue" if places else "no_worker", ahead=ahead, workers=len(places), places=sum(places))


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
