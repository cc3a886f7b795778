"""Taking jobs out of the queue, by statements that are made once: it is done all the time, and often in vain."""

import uuid
from datetime import timedelta
from functools import cache

from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from aiworkflow_project.db.conflicts import retried
from aiworkflow_project.db.fenced import FencedUpdate
from aiworkflow_project.db.prepared import Prepared
from jobs.models import QUEUE_ORDER, Job
from workflows.models import WorkflowRevision


@retried
def claim(places: int, lease: timedelta, worker: str) -> list[Job]:
    """Start up to `places` jobs that are ready, in the queue's order, and return those that became ours.

    One conditional UPDATE each, so that of any number of racing workers one wins each job on every database. The lease
    token fences all later writes of this attempt.
    """
    jobs, token, now = _first(places)(), uuid.uuid4(), timezone.now()
    ready = [(job.pk, job.event_seq, token, worker, now) for job in jobs]
    for job in jobs:
        job.status, job.lease_token, job.worker_name = Job.Status.RUNNING, token, worker
        job.started_at = job.updated_at = now
        job.attempt, job.event_seq = job.attempt + 1, job.event_seq + 1
    started = _start(lease).each(ready, [job.state_event() for job in jobs])
    ours = [job for job, was_ready in zip(jobs, started, strict=True) if was_ready]
    for job in ours:
        job.revision = WorkflowRevision.known(job.revision_id)
    return ours


@cache
def _first(places: int) -> Prepared:
    return Prepared(
        lambda: (
            Job.objects.ready()
            .annotate(workflow_limit=F("workflow__concurrency_limit"))
            .order_by(*QUEUE_ORDER)[:places]
        )
    )


@cache
def _start(lease: timedelta) -> FencedUpdate:
    """Of a job that is ready and that nothing has happened to since it was read: each move takes an event's number."""
    return FencedUpdate(
        Job,
        lambda pk, seq, token, worker, now: (
            Job.objects.ready().filter(pk=pk, event_seq=seq),
            {"status": Job.Status.RUNNING, "attempt": F("attempt") + 1, "event_seq": F("event_seq") + 1}
            | {"lease_token": token, "lease_expires_at": Now() + lease, "worker_name": worker}
            | {"started_at": now, "updated_at": now},
        ),
        *map(Job._meta.get_field, ("id", "event_seq", "lease_token", "worker_name", "started_at")),
    )
