"""What decides when a job runs: priority, its time, another attempt after a failure, and the limit of its workflow."""

import random
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from jobs import claims, models, services
from jobs.admission import admit, release_due
from jobs.models import Job, LeaseLost, Worker
from jobs.sweep import sweep
from jobs.waiting import why
from tests import descriptions

pytestmark = pytest.mark.django_db

LEASE = timedelta(seconds=30)
DATA = {"query": "什么是人工智能？", "top_k": 5}


@pytest.fixture
def submit(django_capture_on_commit_callbacks):
    def act(workflow, **fields):
        with django_capture_on_commit_callbacks(execute=True):
            return services.submit(workflow, DATA, **fields)

    return act


def claim(places=10) -> list[Job]:
    return claims.claim(places, LEASE, "here:1")


def described(**block) -> dict:
    return descriptions.PROMPT | {"workflow": block}


def wait_is_over(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(available_at=Now() - timedelta(seconds=1))


# Priority


def test_the_most_urgent_job_is_claimed_first_and_then_the_oldest(submit, make_workflow):
    workflow = make_workflow()
    plain, low, urgent, later = (
        submit(workflow, control=control) for control in ({}, {"priority": 0}, {"priority": 9}, {})
    )

    assert [job.pk for job in claim()] == [urgent.pk, plain.pk, later.pk, low.pk]


def test_a_job_takes_from_its_workflow_what_it_does_not_ask_for_itself(submit, make_workflow):
    workflow = make_workflow(described=described(priority=8, timeout_seconds=7, retry_on=["transient", "timed_out"]))

    job = submit(workflow, control={"timeout_seconds": 99})

    assert (job.priority, job.timeout_seconds, job.max_attempts) == (8, 99, 3)
    assert job.retry_on == "transient,timed_out"


def test_a_retry_asks_for_what_was_asked_for_the_first_alone(submit, make_workflow):
    workflow = make_workflow(described=described(timeout_seconds=7, priority=8))
    first = submit(workflow, control={"timeout_seconds": 99, "retry_on": "timed_out"})
    first.cancel()
    revision = workflow.current_revision
    revision.description = described(priority=2, timeout_seconds=8)
    revision.pk, revision.number, revision.content_hash = None, 2, "other"
    revision.save(force_insert=True)
    workflow.current_revision = revision
    workflow.save()

    again = services.retry(Job.objects.get(pk=first.pk))

    assert (again.timeout_seconds, again.retry_on) == (99, "timed_out")
    assert again.priority == 2  # the workflow's of now, since nobody asked for another


# Time


def test_a_job_does_not_start_before_its_time(submit, make_workflow):
    later = timezone.now() + timedelta(hours=1)
    job = submit(make_workflow(), control={"available_at": later})

    assert release_due() == 0
    assert claim() == []
    assert why(job).reason == "not_before"
    assert why(job).until == later

    wait_is_over(job)
    assert release_due() == 1
    assert [claimed.pk for claimed in claim()] == [job.pk]


def test_a_time_that_is_past_holds_nothing_up(submit, make_workflow):
    job = submit(make_workflow(), control={"available_at": timezone.now() - timedelta(days=1)})

    assert job.available_at == job.created_at
    assert [claimed.pk for claimed in claim()] == [job.pk]


def test_a_job_that_waits_for_its_time_can_be_cancelled(submit, make_workflow):
    job = submit(make_workflow(), control={"available_at": timezone.now() + timedelta(hours=1)})

    job.cancel()

    wait_is_over(job)
    assert release_due() == 0
    assert job.status == "cancelled"


# Another attempt after a failure


@pytest.mark.parametrize(
    ("retry_on", "code", "transient", "again"),
    [
        ("", "component_failed", True, False),
        ("transient", "component_failed", True, True),
        ("transient", "component_failed", False, False),
        ("component_failed", "component_failed", False, True),
        ("timed_out,crashed", "crashed", False, True),
        ("timed_out", "crashed", False, False),
    ],
)
def test_a_failure_is_tried_again_only_where_the_job_says_so(submit, make_workflow, retry_on, code, transient, again):
    submit(make_workflow(), control={"retry_on": retry_on})
    [job] = claim()

    job.fail(code, "没有回答", 0.5, transient=transient)

    assert (job.status, job.waits_for if again else "") == (("pending", "time") if again else ("failed", ""))
    assert claim() == []


def test_attempts_after_failures_are_bounded_and_the_last_failure_is_the_jobs(submit, make_workflow):
    job = submit(make_workflow(), control={"retry_on": "component_failed", "max_attempts": 2})
    [first] = claim()
    first.fail("component_failed", "第一次", 0.5)
    assert why(first).reason == "backoff"
    wait_is_over(job)
    release_due()
    [second] = claim()

    second.fail("component_failed", "第二次", 0.5)

    assert (second.status, second.attempt, second.error_message) == ("failed", 2, "第二次")
    told = [event.data for event in job.events.order_by("seq")]
    assert [(data["status_str"], data.get("reason_text")) for data in told] == [
        ("pending", None),
        ("running", None),
        ("pending", "第一次"),
        ("running", None),
        ("failed", None),
    ]


def test_a_failed_attempt_that_was_to_be_cancelled_is_not_tried_again(submit, make_workflow):
    submit(make_workflow(), control={"retry_on": "component_failed"})
    [job] = claim()
    Job.objects.get(pk=job.pk).cancel()

    job.fail("component_failed", "没有回答", 0.5)

    assert job.status == "cancelled"


def test_a_failure_that_comes_late_puts_nothing_off(submit, make_workflow):
    submit(make_workflow(), control={"retry_on": "component_failed"})
    [job] = claim()
    late = Job.objects.get(pk=job.pk)
    job.hand_back()

    with pytest.raises(LeaseLost):
        late.fail("component_failed", "没有回答", 0.5)
    assert Job.objects.get(pk=job.pk).waits_for == "worker"


def test_the_backoff_is_drawn_from_a_span_that_doubles_up_to_a_quarter_of_an_hour(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: (low, high)[1])
    assert [models.backoff(tries).total_seconds() for tries in (1, 2, 3, 7, 8, 9, 10)] == [
        5,
        10,
        20,
        320,
        640,
        900,
        900,
    ]

    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    assert models.backoff(5) == timedelta(0)


# The limit of a workflow


def test_no_more_jobs_of_a_workflow_run_at_once_than_its_limit_says(submit, make_workflow):
    limited, free = make_workflow(concurrency_limit=2), make_workflow()
    jobs = [submit(limited) for _ in range(4)]
    other = submit(free)

    first = claim()

    assert [job.pk for job in first] == [jobs[0].pk, jobs[1].pk, other.pk]
    first[0].complete({}, 0.1)
    assert admit(limited.pk) == 1
    assert [job.pk for job in claim()] == [jobs[2].pk]
    assert admit(limited.pk) == 0


def test_among_those_that_wait_for_room_the_most_urgent_comes_first(submit, make_workflow):
    workflow = make_workflow(concurrency_limit=1)
    first, _plain, urgent = (submit(workflow, control=control) for control in ({}, {}, {"priority": 9}))
    [running] = claim()
    assert running.pk == first.pk

    running.complete({}, 0.1)
    admit(workflow.pk)

    assert [job.pk for job in claim()] == [urgent.pk]


def test_a_backoff_takes_up_no_room(submit, make_workflow):
    workflow = make_workflow(concurrency_limit=1)
    failing = submit(workflow, control={"retry_on": "component_failed"})
    next_one = submit(workflow)
    [job] = claim()
    job.fail("component_failed", "没有回答", 0.5)
    admit(workflow.pk)

    assert [claimed.pk for claimed in claim()] == [next_one.pk]
    wait_is_over(failing)
    assert release_due() == 0  # its time has come, and now it waits for room
    assert Job.objects.get(pk=failing.pk).waits_for == "room"
    assert claim() == []


def test_a_lost_worker_gives_its_jobs_room_to_itself(submit, make_workflow):
    workflow = make_workflow(concurrency_limit=1)
    lost, waiting = submit(workflow), submit(workflow)
    [job] = claim()
    job.release("runner_lost", "The runner was lost.")

    assert admit(workflow.pk) == 0
    assert [claimed.pk for claimed in claim()] == [lost.pk]
    assert Job.objects.get(pk=waiting.pk).waits_for == "room"


@pytest.mark.parametrize(("limit", "in_all"), [(1, 1), (3, 3), (None, 5), (0, 0)])
def test_a_limit_that_was_changed_holds_for_all_that_have_not_started(submit, make_workflow, limit, in_all):
    workflow = make_workflow(concurrency_limit=2)
    for _ in range(5):
        submit(workflow)
    type(workflow).objects.filter(pk=workflow.pk).update(concurrency_limit=limit)

    sweep()

    assert len(claim()) == in_all


@pytest.mark.parametrize(("limit", "at_once"), [(0, 3), (1, 1), (None, 3)])
def test_a_hold_ends_with_its_workflow_and_a_limit_stays(submit, make_workflow, limit, at_once):
    workflow = make_workflow(concurrency_limit=limit)
    jobs = [submit(workflow) for _ in range(3)]

    workflow.delete()

    for _ in range(3):
        sweep()
        claimed = claim()
        assert len(claimed) <= at_once
        for job in claimed:
            job.complete({}, 0.1)
    assert not Job.objects.unfinished().filter(pk__in=[job.pk for job in jobs]).exists()


def test_a_limit_that_is_new_holds_for_jobs_that_wait_already(submit, make_workflow):
    workflow = make_workflow()
    for _ in range(3):
        submit(workflow)
    [running] = claim(1)
    type(workflow).objects.filter(pk=workflow.pk).update(concurrency_limit=2)

    sweep()

    assert len(claim()) == 1
    assert running.status == "running"


def test_the_sweep_lets_in_what_nobody_let_in(make_workflow):
    workflow = make_workflow(concurrency_limit=1)
    job = services.submit(workflow, DATA)  # whose process dies before its transaction's end is told
    assert claim() == []

    sweep()

    assert [claimed.pk for claimed in claim()] == [job.pk]


# Why a job waits


def test_a_job_that_waits_for_room_says_which_jobs_hold_it(submit, make_workflow):
    workflow = make_workflow(concurrency_limit=2)
    holders = [submit(workflow, name=name) for name in ("甲", "乙")]
    claim(1)
    submit(workflow)
    job = submit(workflow)

    wait = why(job)

    assert (wait.reason, wait.limit, wait.ahead.number) == ("limit", 2, 1)
    assert {holder.pk for holder in wait.holders} == {holder.pk for holder in holders}


def test_a_held_workflow_says_so(submit, make_workflow):
    assert why(submit(make_workflow(concurrency_limit=0))).reason == "held"


def test_a_job_says_whether_a_worker_is_alive_and_its_place_in_the_queue(submit, make_workflow):
    workflow = make_workflow()
    submit(workflow)
    job = submit(workflow)
    submit(workflow, control={"priority": 9})
    submit(workflow)
    assert why(job).reason == "no_worker"

    now = timezone.now()
    Worker.objects.create(name="a:1", processes=2, places=32, started_at=now, last_seen_at=now)

    wait = why(job)
    assert (wait.reason, wait.ahead.number, wait.workers, wait.places) == ("queue", 2, 1, 32)


@pytest.mark.parametrize("limit", [None, 3])
def test_a_job_for_which_there_is_room_says_that_it_waits_for_a_worker(submit, make_workflow, limit):
    workflow = make_workflow(concurrency_limit=1)
    _holder, job, last = (submit(workflow) for _ in range(3))
    type(workflow).objects.filter(pk=workflow.pk).update(concurrency_limit=limit)  # which no sweep has seen yet

    job, last = Job.objects.get(pk=job.pk), Job.objects.get(pk=last.pk)

    assert (why(job).reason, why(last).reason) == ("no_worker", "no_worker")
    if limit:
        submit(workflow, control={"priority": 9})
        assert why(last).reason == "limit"


def test_a_job_that_is_due_says_what_else_it_waits_for(submit, make_workflow):
    later = {"available_at": timezone.now() + timedelta(hours=1)}
    free, held = (submit(make_workflow(concurrency_limit=limit), control=later) for limit in (None, 0))
    for job in (free, held):
        wait_is_over(job)
        job.refresh_from_db()

    assert (why(free).reason, why(held).reason) == ("no_worker", "held")
    assert why(free).until is None


@pytest.mark.parametrize("status", ["running", "completed", "failed", "cancelled"])
def test_only_a_pending_job_waits(make_job, status):
    assert why(make_job(status=status)) is None
