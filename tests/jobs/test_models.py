"""The table of moves: who wins a race, and that a final state never changes."""

import uuid
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models.functions import Now

from jobs import claims
from jobs.models import InvalidTransition, Job, JobEvent, JobStep, LeaseLost

pytestmark = pytest.mark.django_db

LEASE = timedelta(seconds=30)


def claim_one(worker="here:1") -> Job:
    [job] = claims.claim(1, LEASE, worker)
    return job


def let_the_lease_run_out(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_expires_at=Now() - timedelta(seconds=1))


def events(job: Job) -> list[tuple[int, str]]:
    return [(event.seq, event.data.get("status_str", event.kind)) for event in job.events.order_by("seq")]


def test_a_job_is_claimed_once(make_job):
    job = make_job()

    first, second = claims.claim(5, LEASE, "a:1"), claims.claim(5, LEASE, "b:2")

    assert [claimed.pk for claimed in first] == [job.pk]
    assert second == []
    assert (first[0].status, first[0].attempt, first[0].worker_name) == ("running", 1, "a:1")


def test_claims_take_the_oldest_first_and_no_more_than_there_are_places(make_job):
    old, middle, young = make_job(), make_job(), make_job()

    assert [job.pk for job in claims.claim(2, LEASE, "a:1")] == [old.pk, middle.pk]
    assert [job.pk for job in claims.claim(2, LEASE, "a:1")] == [young.pk]


def test_a_pending_job_is_cancelled_at_once_and_is_never_claimed(make_job):
    job = make_job()

    job.cancel()

    assert job.status == "cancelled"
    assert job.completed_at is not None
    assert claims.claim(1, LEASE, "a:1") == []


def test_cancelling_a_running_job_only_asks_its_worker(make_job):
    make_job()
    job = claim_one()

    job.cancel()
    job.cancel()  # asking twice is harmless

    assert job.status == "running"
    assert job.cancel_requested_at is not None


@pytest.mark.parametrize("end", ["complete", "fail", "stopped"])
def test_a_final_state_never_changes(make_job, end):
    make_job()
    job = claim_one()
    stale = Job.objects.get(pk=job.pk)
    {
        "complete": lambda: job.complete({"a": 1}, 0.5),
        "fail": lambda: job.fail("x", "y", 0.5),
        "stopped": lambda: job.stopped(0.5),
    }[end]()
    status = job.status

    with pytest.raises(InvalidTransition):
        job.cancel()
    for late in (
        lambda: stale.complete({"late": 1}, 1),
        lambda: stale.fail("late", "late", 1),
        lambda: stale.stopped(1),
    ):
        with pytest.raises(LeaseLost):
            late()
    with pytest.raises(LeaseLost):
        stale.hand_back()
    assert stale.recover() is False

    job.refresh_from_db()
    assert job.status == status
    assert job.result == ({"a": 1} if end == "complete" else None)


def test_a_worker_that_was_taken_for_dead_writes_nothing(make_job):
    make_job()
    slow = claim_one("slow:1")
    let_the_lease_run_out(slow)
    assert Job.objects.get(pk=slow.pk).recover()
    fast = claim_one("fast:2")

    for write in (
        lambda: slow.complete({"by": "slow"}, 1),
        lambda: slow.release("runner_lost", "…"),
        lambda: slow.record(new=[], ended=[], events=[JobEvent(kind="token", data={"text": "late"})]),
    ):
        with pytest.raises(LeaseLost):
            write()
    fast.complete({"by": "fast"}, 1)

    job = Job.objects.get(pk=slow.pk)
    assert (job.status, job.attempt, job.result) == ("completed", 2, {"by": "fast"})
    assert events(job) == [(1, "pending"), (2, "running"), (3, "pending"), (4, "running"), (5, "completed")]


def test_a_claim_from_before_the_database_was_restored_does_not_count(make_job):
    make_job()
    before = claim_one()
    back = {"status": "pending", "attempt": 0, "event_seq": 1, "lease_token": None, "lease_expires_at": None}
    Job.objects.filter(pk=before.pk).update(**back)
    before.events.filter(seq__gt=1).delete()
    after = claim_one()

    assert before.attempt == after.attempt  # so that only the token tells them apart
    with pytest.raises(LeaseLost):
        before.complete({"by": "before"}, 1)
    after.complete({"by": "after"}, 1)


def test_a_job_that_was_deleted_is_nobodys(make_job):
    make_job()
    job = claim_one()
    let_the_lease_run_out(job)
    Job.objects.get(pk=job.pk).delete()

    assert job.recover() is False
    with pytest.raises(LeaseLost):
        job.release("runner_lost", "…")
    with pytest.raises(LeaseLost):
        job.hand_back()


def test_news_that_was_rolled_back_is_written_again_under_keys_that_are_free(make_job):
    make_job()
    job = claim_one()
    event = JobEvent(kind="token", data={"text": "字"})
    with suppress(DatabaseError), transaction.atomic():
        job.record(new=[], ended=[], events=[event])
        raise DatabaseError
    make_job()  # whose event may take the key

    job.record(new=[], ended=[], events=[event])

    assert events(job) == [(1, "pending"), (2, "running"), (3, "token")]


def test_a_job_is_not_recovered_while_its_lease_lasts(make_job):
    make_job()
    job = claim_one()

    assert list(Job.objects.overdue()) == []
    assert job.recover() is False
    assert Job.objects.get(pk=job.pk).status == "running"


def test_a_renewed_lease_is_not_overdue(make_job):
    make_job()
    job = claim_one()
    let_the_lease_run_out(job)
    assert Job.objects.overdue().count() == 1

    Job.objects.filter(pk=job.pk).renew(LEASE)

    assert Job.objects.overdue().count() == 0


def test_a_job_that_kills_its_workers_fails_after_its_last_attempt(make_job):
    make_job(max_attempts=2)

    for _ in range(2):
        job = claim_one()
        let_the_lease_run_out(job)
        assert Job.objects.get(pk=job.pk).recover()

    job.refresh_from_db()
    assert (job.status, job.error_code, job.attempt) == ("failed", "worker_lost", 2)
    assert "2 times" in job.error_message


def test_a_planned_stop_does_not_use_up_an_attempt(make_job):
    make_job(max_attempts=1)
    claim_one().hand_back()

    job = claim_one()
    job.complete({}, 1)

    assert (job.status, job.attempt) == ("completed", 2)


@pytest.mark.parametrize("give_up", ["recover", "release", "hand_back"])
def test_a_job_that_was_to_be_cancelled_is_cancelled_when_its_worker_is_lost(make_job, give_up):
    make_job()
    job = claim_one()
    Job.objects.get(pk=job.pk).cancel()
    let_the_lease_run_out(job)
    job.refresh_from_db()

    {"recover": job.recover, "release": lambda: job.release("x", "y"), "hand_back": job.hand_back}[give_up]()

    assert Job.objects.get(pk=job.pk).status == "cancelled"


def test_what_happens_is_numbered_without_a_gap(make_job, django_assert_max_num_queries):
    make_job()
    job = claim_one()
    step = JobStep(position=1, component="提示", component_type="x.Y", started_at=job.started_at)
    with django_assert_max_num_queries(8):
        job.record(new=[step], ended=[], events=[JobEvent(kind="step", data={}), JobEvent(kind="token", data={})])
    step.status, step.execution_seconds = JobStep.Status.COMPLETED, 0.25
    job.record(new=[], ended=[step], events=[JobEvent(kind="step", data={})])

    job.complete({"答": "好"}, 1)

    assert [seq for seq, _ in events(job)] == [1, 2, 3, 4, 5, 6]
    [stored] = job.steps.all()
    assert (stored.component, stored.status, stored.execution_seconds, stored.attempt) == ("提示", "completed", 0.25, 1)


def test_steps_that_a_lost_attempt_left_open_are_marked_as_stopped(make_job):
    make_job()
    job = claim_one()
    job.record(
        new=[JobStep(position=1, component="a", component_type="x.Y", started_at=job.started_at)],
        ended=[],
        events=[JobEvent(kind="step", data={})],
    )
    let_the_lease_run_out(job)

    Job.objects.get(pk=job.pk).recover()

    assert job.steps.get().status == "stopped"


def test_the_database_refuses_a_running_job_without_a_lease(make_job):
    job = make_job()

    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(status="running")
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(lease_token=uuid.uuid4())


@pytest.mark.parametrize("value", [{"b": 1, "a": 2}, {"zh": "人工智能\u0000🙂"}, {"big": 2**63, "small": 1e-300}, {}])
def test_json_comes_back_as_it_went_in(make_job, value):
    make_job()
    claim_one().complete(value, 1)

    stored = Job.objects.get().result

    assert stored == value
    assert list(stored) == list(value)
