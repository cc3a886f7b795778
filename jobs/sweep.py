"""Recovers what was lost: jobs whose worker died, jobs that were not let in, and wake-ups that never arrived.

Run by the loop of `manage.py qcluster` itself, so that a stuck queue can't stop it. Safe to run twice at once, since
every move is a conditional UPDATE, and bounded per pass.
"""

import logging
import time
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now

from aiworkflow_project.logging import request_id
from jobs.admission import admit_all, release_due
from jobs.models import Job
from jobs.services import wake_workers

logger = logging.getLogger(__name__)

BATCH = 100
WATCHED_AT_MOST = 10_000
WAITED_TOO_LONG = timedelta(seconds=10)
PATIENCE = 1 / 3  # of a lease; a live worker renews within a quarter of one

# Leases that are out by the database's clock, and since when we have seen them so, by our own clock that nobody sets.
_watched: dict[tuple[UUID, UUID, datetime], float] = {}


def sweep() -> int:
    """Put back the jobs of lost workers, let in and wake workers for jobs that wait; returns how many were put back."""
    recovered = 0
    for job in Job.objects.filter(pk__in=_lost()).defer("trigger_data", "result"):
        with request_id(job.request_id):
            if job.recover():
                recovered += 1
                logger.warning("Job %s: its worker %s was lost; it is %s.", job.pk, job.worker_name, job.status)
    let_in = admit_all()
    if recovered or let_in or Job.objects.ready().filter(updated_at__lt=Now() - WAITED_TOO_LONG).exists():
        wake_workers(settings.WORKERS)
    return recovered


def start_what_is_due() -> None:
    """Let in the jobs whose time has come, and wake workers for them."""
    if released := release_due():
        wake_workers(released)


def _lost() -> list[UUID]:
    """Jobs whose lease is out and was not renewed while we watched, for longer than a live worker leaves it.

    When the database's clock is set forward all leases seem out at once; their workers renew them within a quarter of
    a lease, and go on undisturbed.
    """
    global _watched
    now = time.monotonic()
    out = Job.objects.overdue().order_by("lease_expires_at").values_list("pk", "lease_token", "lease_expires_at")
    _watched = {lease: _watched.get(lease, now) for lease in out[:WATCHED_AT_MOST]}
    patience = PATIENCE * settings.JOB_LEASE_SECONDS
    return [pk for (pk, _token, _end), since in _watched.items() if now - since >= patience][:BATCH]
