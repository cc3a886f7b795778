"""What the sweep takes for lost, and what it leaves alone, however clocks are set."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from jobs import sweep
from jobs.models import Job

HOUR = timedelta(hours=1)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch, settings):
    settings.JOB_LEASE_SECONDS = 30
    monkeypatch.setattr(sweep, "_watched", {})
    monkeypatch.setattr(sweep, "time", Clock())
    return sweep.time


def set_lease(job, end):
    Job.objects.filter(pk=job.pk).update(lease_expires_at=Now() + end)


@pytest.mark.parametrize("end", [timedelta(seconds=-1), -HOUR, HOUR], ids=["out", "set forward", "set back"])
def test_a_lease_that_is_out_and_stays_so_is_taken_for_lost(make_job, clock, end):
    job = make_job(status="running")
    set_lease(job, end)

    assert sweep.sweep() == 0
    clock.now += 11
    assert sweep.sweep() == 1

    job.refresh_from_db()
    assert job.status == "pending"


@pytest.mark.parametrize("end", [-HOUR, HOUR], ids=["set forward", "set back"])
def test_a_job_whose_worker_lives_is_left_alone_when_the_clock_is_set(make_job, clock, end):
    job = make_job(status="running")
    set_lease(job, end)
    sweep.sweep()

    clock.now += 9
    set_lease(job, timedelta(seconds=30))  # its worker renews it
    clock.now += 100
    assert sweep.sweep() == 0

    job.refresh_from_db()
    assert job.status == "running"


def test_a_lease_renewed_at_the_last_moment_is_not_taken(make_job, clock):
    job = make_job(status="running")
    set_lease(job, -HOUR)
    sweep.sweep()
    clock.now += 11
    stale = Job.objects.get(pk=job.pk)
    set_lease(job, -HOUR / 2)

    assert stale.recover() is False
    assert sweep.sweep() == 0


def test_many_lost_jobs_are_put_back_in_bounded_passes(make_job, make_workflow, clock, monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 2)
    workflow = make_workflow()
    for _ in range(5):
        set_lease(make_job(workflow=workflow, status="running"), -HOUR)
    sweep.sweep()
    clock.now += 11

    assert [sweep.sweep() for _ in range(4)] == [2, 2, 1, 0]


def test_jobs_that_wait_for_long_wake_workers_and_fresh_ones_do_not(
    make_job, clock, settings, monkeypatch, django_capture_on_commit_callbacks
):
    settings.QUEUE_URL, sent = "redis://127.0.0.1:1", []
    monkeypatch.setattr("jobs.services.async_task", lambda *message: sent.append(message))
    job = make_job()
    with django_capture_on_commit_callbacks(execute=True):
        sweep.sweep()
    assert not sent

    Job.objects.filter(pk=job.pk).update(updated_at=Now() - timedelta(seconds=11))
    with django_capture_on_commit_callbacks(execute=True):
        sweep.sweep()

    assert sent
