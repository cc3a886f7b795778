"""Many jobs in one call."""

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs import bulk
from jobs.models import Job, JobBatch, JobEvent
from workflows import engine

pytestmark = pytest.mark.django_db

DATA = {"query": "什么是人工智能？", "top_k": 5}


def statuses(*jobs) -> list[str]:
    return [Job.objects.get(pk=job.pk).status for job in jobs]


def test_a_batch_accepts_what_fits_and_says_what_does_not(make_workflow, admin):
    items = [{"trigger_data": DATA, "name": "一"}, {"trigger_data": {"问": 1}}, {"trigger_data": DATA}]

    submitted = bulk.submit_batch(make_workflow(), items, name="批", created_by=admin, request_id="r-1")

    assert list(submitted.jobs) == [0, 2]
    assert list(submitted.refused) == [1]
    jobs = submitted.batch.jobs.order_by("name")
    assert [(job.name, job.status, job.request_id, job.events.count()) for job in jobs] == [
        ("", "pending", "r-1", 1),
        ("一", "pending", "r-1", 1),
    ]
    assert submitted.batch.by_status() == {"pending": 2, "running": 0, "completed": 0, "failed": 0, "cancelled": 0}


def test_a_batch_of_which_nothing_fits_leaves_nothing(make_workflow):
    with pytest.raises(bulk.NothingAccepted) as caught:
        bulk.submit_batch(make_workflow(), [{"trigger_data": {"问": 1}}])

    assert isinstance(caught.value.refused[0], engine.TriggerDataRefused)
    assert not JobBatch.objects.exists()


def test_a_batch_is_written_with_few_queries(make_workflow, django_assert_max_num_queries):
    workflow = make_workflow()
    with django_assert_max_num_queries(20):
        bulk.submit_batch(workflow, [{"trigger_data": DATA} for _ in range(200)])


def test_cancelling_many_ends_the_pending_asks_the_running_and_leaves_the_rest(make_job):
    pending, running, over = make_job(), make_job(status="running"), make_job(status="completed")
    other = make_job(name="别动")
    mine = Job.objects.filter(name="")
    counted = bulk.may_cancel(mine)

    done = bulk.cancel_all(mine)

    assert (done.pending, done.running, done.more) == (counted.pending, counted.running, False) == (1, 1, False)
    assert statuses(pending, running, over, other) == ["cancelled", "running", "completed", "pending"]
    assert Job.objects.get(pk=running.pk).cancel_requested_at
    assert [event.data["status_str"] for event in pending.events.order_by("seq")] == ["pending", "cancelled"]
    pending.refresh_from_db()
    assert pending.event_seq == 2
    assert bulk.cancel_all(mine) == bulk.Cancelled()


def test_a_call_cancels_no_more_than_it_may_and_says_that_others_are_left(make_job, monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 2)
    workflow = make_job().workflow
    for _ in range(4):
        make_job(workflow=workflow)

    done = bulk.cancel_all(Job.objects.all(), most=3)

    assert (done.pending, done.more) == (3, True)
    assert Job.objects.pending().count() == 2


def test_a_dry_run_says_that_one_call_would_not_do(make_job, monkeypatch):
    workflow = make_job().workflow
    make_job(workflow=workflow, status="running")

    assert bulk.may_cancel(Job.objects.all()) == bulk.Cancelled(1, 1)
    monkeypatch.setattr(bulk, "CANCEL_MOST", 1)
    assert bulk.may_cancel(Job.objects.all()) == bulk.Cancelled(1, 1, more=True)


def told(figures: dict) -> dict[str, str]:
    return {name: str(number) for name, number in figures.items() if number}


def test_before_jobs_are_cancelled_each_is_counted_once(make_job):
    for status in ("pending", "pending", "running", "completed", "failed", "cancelled"):
        make_job(status=status)
    make_job(status="running", cancel_requested_at=timezone.now())

    outlook = bulk.cancel_outlook(Job.objects.all())

    assert str(outlook.jobs) == "7"
    assert told(outlook.does) == {"pending": "2", "running": "1"}
    assert told(outlook.leaves) == {"asked": "1", "over": "3"}


def test_before_jobs_are_retried_each_is_counted_once_and_so_it_is_done(make_job, make_workflow):
    failed = make_job(status="failed")
    before = make_job(status="failed", workflow=failed.workflow)
    make_job(status="cancelled", workflow=failed.workflow)
    make_job(status="running", retry_of=before)
    inactive = make_job(status="failed", workflow=make_workflow(is_active=False))
    hidden = make_workflow()
    make_job(status="failed", workflow=hidden)
    hidden.delete()

    outlook = bulk.retry_outlook(Job.objects.all())
    done = bulk.retry_all(bulk.runnable(Job.objects.all()))

    assert str(outlook.jobs) == "6"
    assert told(outlook.does) == {"retried": "2"}
    assert told(outlook.leaves) == {"unfinished": "1", "retried_before": "1", "inactive": "2"}
    assert (len(done.jobs), done.refused) == (2, {})
    assert not inactive.retries.exists()


def test_retrying_many_submits_each_that_is_over_once(make_job, make_workflow):
    workflow = make_workflow()
    failed = make_job(workflow=workflow, status="failed", name="甲", timeout_seconds=99)
    cancelled = make_job(workflow=workflow, status="cancelled")
    make_job(workflow=workflow)
    assert bulk.retriable(Job.objects.all()).count() == 2

    done = bulk.retry_all(Job.objects.all())

    assert {job.retry_of_id for job in done.jobs} == {failed.pk, cancelled.pk}
    again = Job.objects.get(retry_of=failed)
    assert (again.name, again.status, again.timeout_seconds) == ("甲", "pending", 99)
    assert bulk.retry_all(Job.objects.filter(pk__in=[failed.pk, cancelled.pk])).jobs == []


def test_what_can_not_be_retried_is_told_and_keeps_nothing_else_from_it(make_job, make_workflow):
    inactive = make_job(status="failed", workflow=make_workflow(is_active=False))
    misfit = make_job(status="failed", trigger_data={"问": 1})
    good = make_job(status="failed")

    done = bulk.retry_all(Job.objects.all())

    assert [job.retry_of_id for job in done.jobs] == [good.pk]
    assert set(done.refused) == {inactive.pk, misfit.pk}


def test_a_retry_of_many_takes_the_oldest_and_says_that_others_are_left(make_job):
    jobs = [make_job(status="failed") for _ in range(3)]
    Job.objects.filter(pk=jobs[2].pk).update(created_at=jobs[0].created_at - timedelta(hours=1))

    done = bulk.retry_all(Job.objects.all(), most=2)

    assert {job.retry_of_id for job in done.jobs} == {jobs[2].pk, jobs[0].pk}
    assert done.more


def test_pending_jobs_are_cancelled_with_few_queries(make_job, make_workflow, django_assert_max_num_queries):
    workflow = make_workflow()
    for _ in range(20):
        make_job(workflow=workflow)

    with django_assert_max_num_queries(15):
        assert bulk.cancel_all(Job.objects.all()).pending == 20

    assert {event.data["status_str"] for event in JobEvent.objects.filter(seq=2)} == {"cancelled"}
