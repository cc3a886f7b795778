"""Recovers what was lost: jobs whose worker died, and wake-ups that never arrived.

Run by the loop of `manage.py qcluster` itself, so that a stuck queue can't stop it. Safe to run twice at once, since
every move is a conditional UPDATE, and bounded per pass.
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now

from aiworkflow_project.logging import request_id
from jobs.models import Job
from jobs.services import wake_a_worker

logger = logging.getLogger(__name__)

BATCH = 100
WAITED_TOO_LONG = timedelta(seconds=10)


def sweep() -> int:
    """Put back the jobs of lost workers, wake workers for jobs that wait, and return how many jobs were put back."""
    recovered = 0
    for job in Job.objects.overdue().order_by("lease_expires_at")[:BATCH]:
        with request_id(job.request_id):
            if job.recover():
                recovered += 1
                logger.warning("Job %s: its worker %s was lost; it is %s.", job.pk, job.worker_name, job.status)
    if recovered or Job.objects.pending().filter(updated_at__lt=Now() - WAITED_TOO_LONG).exists():
        for _ in range(settings.WORKERS):
            wake_a_worker()
    return recovered
