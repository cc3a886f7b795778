"""Taking jobs out of the queue, by statements that are made once: it is done all the time, and often in vain."""

import uuid
from datetime import timedelta
from functools import cache

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from aiworkflow_project.db.conflicts import retried
from aiworkflow_project.db.inserts import insert
from aiworkflow_project.db.prepared import Prepared, PreparedUpdate
from jobs.models import QUEUE_ORDER, Job
from workflows.models import WorkflowRevision

_ID, _TOKEN, _WORKER, _STARTED = map(Job._meta.get_field, ("id", "lease_token", "worker_name", "started_at"))


@retried
def claim(places: int, lease: timedelta, worker: str) -> list[Job]:
    """Start up to `places` jobs that are ready, in the queue's order, and return those that became ours.

    One conditional UPDATE, so that of any number of racing workers one wins each job on every
    database. The lease token fences all later writes of this attempt.
    """
    candidates = [row["id"] for row in _first(places)()]
    if not candidates:
        return []
    token = uuid.uuid4()
    with transaction.atomic():
        if not _start(len(candidates), lease)(token, worker, timezone.now(), *candidates):
            return []
        jobs = _started(token)
        for job in jobs:
            job.revision = WorkflowRevision.known(job.revision_id)
        insert([job.state_event() for job in jobs])
    return jobs


@cache
def _first(places: int) -> Prepared:
    return Prepared(lambda: Job.objects.ready().order_by(*QUEUE_ORDER).values("id")[:places])


@cache
def _start(number: int, lease: timedelta) -> PreparedUpdate:
    return PreparedUpdate(
        lambda token, worker, now, *ids: (
            Job.objects.ready().filter(id__in=ids),
            {"status": Job.Status.RUNNING, "attempt": F("attempt") + 1, "event_seq": F("event_seq") + 1}
            | {"lease_token": token, "lease_expires_at": Now() + lease, "worker_name": worker}
            | {"started_at": now, "updated_at": now},
        ),
        *(_TOKEN, _WORKER, _STARTED, *[_ID] * number),
    )  # fmt: skip


_started = Prepared(
    lambda token: (
        Job.objects.running()
        .filter(lease_token=token)
        .annotate(workflow_limit=F("workflow__concurrency_limit"))
        .order_by(*QUEUE_ORDER)
    ),
    _TOKEN,
)
