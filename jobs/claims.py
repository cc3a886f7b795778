"""Taking jobs out of the queue, by statements that are made once: it is done all the time, and often in vain."""

import uuid
from datetime import timedelta
from functools import cache

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from aiworkflow_project.db.conflicts import retried
from aiworkflow_project.db.fenced import FencedUpdate
from aiworkflow_project.db.inserts import insert
from aiworkflow_project.db.prepared import Prepared, PreparedUpdate
from jobs.models import QUEUE_ORDER, Job, JobQuerySet
from workflows.models import WorkflowRevision


@retried
def claim(places: int, lease: timedelta, worker: str) -> list[Job]:
    """Start up to `places` jobs that are ready, in the queue's order, and return those that became ours.

    By a conditional UPDATE, so that of any number of racing workers one wins each job on every database. The lease
    token fences all later writes of this attempt.
    """
    how = _by_one_statement if connection.vendor == "postgresql" else _in_a_transaction
    return how(places, lease, uuid.uuid4(), worker, timezone.now())


def _by_one_statement(places, lease, token, worker, now) -> list[Job]:
    jobs = _first(places)()
    ready = [(job.pk, job.event_seq, token, worker, now) for job in jobs]
    for job in jobs:
        job.revision = WorkflowRevision.known(job.revision_id)
        job.status, job.lease_token, job.worker_name = Job.Status.RUNNING, token, worker
        job.started_at = job.updated_at = now
        job.attempt, job.event_seq = job.attempt + 1, job.event_seq + 1
    started = _start(lease).each(ready, [job.state_event() for job in jobs])
    return [job for job, was_ready in zip(jobs, started, strict=True) if was_ready]


def _in_a_transaction(places, lease, token, worker, now) -> list[Job]:
    """Where that is fewer statements than one for each job."""
    ids = [row["id"] for row in _first_ids(places)()]
    if not ids:
        return []
    with transaction.atomic():
        if not _start_all(len(ids), lease)(token, worker, now, *ids):
            return []
        jobs = _started(len(ids))(token, *ids)
        for job in jobs:
            job.revision = WorkflowRevision.known(job.revision_id)
        insert([job.state_event() for job in jobs])
    return jobs


def _in_order(jobs: JobQuerySet) -> JobQuerySet:
    return jobs.annotate(workflow_limit=F("workflow__concurrency_limit")).order_by(*QUEUE_ORDER)


def _starting(lease, token, worker, now) -> dict:
    return (
        {"status": Job.Status.RUNNING, "attempt": F("attempt") + 1, "event_seq": F("event_seq") + 1}
        | {"lease_token": token, "lease_expires_at": Now() + lease, "worker_name": worker}
        | {"started_at": now, "updated_at": now}
    )


_ID, _SEQ, _TOKEN, _WORKER, _STARTED = map(
    Job._meta.get_field, ("id", "event_seq", "lease_token", "worker_name", "started_at")
)


@cache
def _first(places: int) -> Prepared:
    return Prepared(lambda: _in_order(Job.objects.ready())[:places])


@cache
def _start(lease: timedelta) -> FencedUpdate:
    """Of a job that is ready and that nothing has happened to since it was read: each move takes an event's number."""
    return FencedUpdate(
        Job,
        lambda pk, seq, *started: (Job.objects.ready().filter(pk=pk, event_seq=seq), _starting(lease, *started)),
        *(_ID, _SEQ, _TOKEN, _WORKER, _STARTED),
    )


@cache
def _first_ids(places: int) -> Prepared:
    return Prepared(lambda: Job.objects.ready().order_by(*QUEUE_ORDER).values("id")[:places])


@cache
def _start_all(number: int, lease: timedelta) -> PreparedUpdate:
    return PreparedUpdate(
        lambda token, worker, now, *ids: (Job.objects.ready().filter(id__in=ids), _starting(lease, token, worker, now)),
        *(_TOKEN, _WORKER, _STARTED, *[_ID] * number),
    )


@cache
def _started(number: int) -> Prepared:
    return Prepared(
        lambda token, *ids: _in_order(Job.objects.running().filter(id__in=ids, lease_token=token)),
        *(_TOKEN, *[_ID] * number),
    )
