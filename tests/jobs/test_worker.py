"""The worker's loop against runs that say what the test wants: what is written, and what is not."""

import itertools
import socket
import threading
import time

import pytest
from django.db import DatabaseError, DataError, connection, transaction
from django.db.models.functions import Now

from jobs import reports, worker
from jobs.models import Job
from tests import commits
from workflows import engine
from workflows.fields import JSONTextField
from workflows.models import WorkflowRevision

pytestmark = pytest.mark.django_db


class ScriptedRun:
    """An engine.Run whose messages come from a test instead of from the runner's socket."""

    def __init__(self, *batches, ends=True, received=100):
        self.inner, self.outer = socket.socketpair()
        self.batches = list(batches)
        self.outcome, self.ended, self.told_to_stop, self.killed = None, False, False, False
        if batches:
            self.outer.send(b"!")
        self.ends, self.received = ends, received

    def fileno(self):
        return self.inner.fileno()

    def receive(self):
        messages = self.batches.pop(0)
        if isinstance(messages, Exception):
            raise messages
        if not self.batches:
            self.inner.recv(1)
            self.ended = self.ends
        self.outcome = next((m for m in messages if m["kind"] in ("result", "error")), None)
        return messages

    def say(self, *messages):
        self.batches.append(list(messages))
        self.outer.send(b"!")

    def stop(self):
        self.told_to_stop = True

    def kill(self):
        self.killed = True


def started(position=1):
    return {
        "kind": "step_started",
        "position": position,
        "component": "提示",
        "component_type": "x.Prompt",
        "visit": 1,
        "at": time.time(),
        "input": {"query": "你好"},
    }


def finished(position=1):
    return {"kind": "step_finished", "position": position, "at": time.time(), "seconds": 0.01, "output": {"text": "好"}}


def token(text):
    return {"kind": "token", "component": "llm", "text": text}


RESULT = {"kind": "result", "result": {"text": "好"}}


@pytest.fixture
def runs(monkeypatch):
    """The runs that the worker will be given, in order; `make` may be replaced to raise."""

    class Waiting(list):
        told: list[dict]  # with what each was started

    waiting = Waiting()
    waiting.told = []

    def start_run(*args, **kwargs):
        waiting.told.append(kwargs)
        run = waiting.pop(0)
        if isinstance(run, Exception):
            raise run
        return run

    monkeypatch.setattr(engine, "start_run", start_run)
    monkeypatch.setattr(engine, "static_check", lambda text: [])
    monkeypatch.setattr(engine, "accept", lambda description, data: data)
    monkeypatch.setattr(worker.faulthandler, "dump_traceback_later", lambda *args, **kwargs: None)
    return waiting


def test_a_run_becomes_steps_events_and_a_result(make_job, runs):
    job = make_job()
    runs.append(ScriptedRun([started(), finished(), RESULT]))

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.result, job.attempt) == ("completed", {"text": "好"}, 1)
    step = job.steps.get()
    assert (step.component, step.status, step.input_preview, step.output_preview) == (
        "提示", "completed", {"query": "你好"}, {"text": "好"},
    )  # fmt: skip
    assert [event.kind for event in job.events.order_by("seq")] == ["state", "state", "step", "step", "state"]


def test_one_worker_follows_several_runs_at_once(make_job, runs):
    slow, quick = make_job(), make_job()
    waiting = ScriptedRun()
    runs.extend([waiting, ScriptedRun([RESULT])])
    threading.Timer(0.5, lambda: waiting.say(RESULT)).start()

    worker.work()

    slow.refresh_from_db(), quick.refresh_from_db()
    assert (slow.status, quick.status) == ("completed", "completed")
    assert quick.completed_at < slow.completed_at


def test_tokens_that_come_together_are_one_event(make_job, runs):
    job = make_job()
    runs.append(ScriptedRun([token("你"), token("好"), token("！"), RESULT]))

    worker.work()

    [event] = job.events.filter(kind="token")
    assert event.data == {"component_name_str": "llm", "text": "你好！"}


def test_a_failed_run_says_which_component_and_why(make_job, runs):
    job = make_job()
    runs.append(
        ScriptedRun([{"kind": "error", "code": "component_failed", "message": "ValueError: 坏", "component": "llm"}])
    )

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.error_code, job.error_message) == ("failed", "component_failed", "llm: ValueError: 坏")


def test_a_lost_runner_puts_the_job_back_and_it_runs_again(make_job, runs):
    job = make_job()
    runs.extend([ScriptedRun([started()], engine.RunnerLost()), ScriptedRun([RESULT])])

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.attempt) == ("completed", 2)
    assert job.steps.get(attempt=1).status == "stopped"


def test_a_cancelled_run_is_told_to_stop_and_its_late_error_does_not_count(make_job, runs):
    job = make_job()
    run = ScriptedRun()
    runs.append(run)

    def cancel_then_die(self):
        self.told_to_stop = True
        self.say({"kind": "error", "code": "crashed", "message": "…"})

    run.stop = cancel_then_die.__get__(run)
    original = worker.Supervisor._keep_leases

    def ask_for_cancel(self):
        Job.objects.get(pk=job.pk).cancel()
        worker.Supervisor._keep_leases = original
        original(self)

    worker.Supervisor._keep_leases = ask_for_cancel
    try:
        worker.work()
    finally:
        worker.Supervisor._keep_leases = original

    job.refresh_from_db()
    assert (job.status, job.error_code, run.told_to_stop) == ("cancelled", "", True)


def test_a_run_whose_lease_was_lost_is_ended_and_writes_nothing(make_job, runs):
    job = make_job()
    run = ScriptedRun()
    runs.append(run)

    def take_over():
        Job.objects.filter(pk=job.pk).update(lease_expires_at=Now() - worker.timedelta(seconds=1))
        assert Job.objects.get(pk=job.pk).recover()
        Job.objects.filter(pk=job.pk).update(status="cancelled", completed_at=Now())
        run.say(RESULT)

    original = worker.Supervisor._start

    def start_and_lose(self, attempt):
        original(self, attempt)
        take_over()

    worker.Supervisor._start = start_and_lose
    try:
        worker.work()
    finally:
        worker.Supervisor._start = original

    job.refresh_from_db()
    assert (job.status, job.result, run.killed) == ("cancelled", None, True)


def test_a_job_whose_shared_process_ended_goes_back_uncharged_and_runs_alone_from_then_on(make_job, runs):
    job = make_job(max_attempts=1)
    ended = {"kind": "error", "code": "resident_ended", "message": "…", "component": None, "transient": False}
    runs.extend([ScriptedRun([started(), ended]), ScriptedRun([RESULT])])

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.attempt, job.spared_attempts) == ("completed", 2, 1)
    assert [told["alone"] for told in runs.told] == [False, True]
    reasons = [event.data.get("reason_code_str") for event in job.events.filter(kind="state").order_by("seq")]
    assert reasons == [None, None, "resident_ended", None, None]


def written_in_vain(write):
    """What it writes is rolled back."""

    def refuse(found):
        with transaction.atomic():
            write(found)
            raise DatabaseError("the database is away")

    return refuse


@pytest.mark.django_db(transaction=True)  # the worker closes a connection that failed it
def test_an_answer_that_the_database_did_not_take_is_written_on_the_next_round(make_job, runs, monkeypatch):
    job = make_job()
    runs.append(ScriptedRun([started(), finished(), RESULT]))
    complete, refusals = Job.complete, iter([True, True])

    def complete_later(self, *args):
        complete(self, *args)
        if next(refusals, False):  # after the move: it is rolled back, and must be possible once more
            raise DatabaseError("the database is away")

    monkeypatch.setattr(Job, "complete", complete_later)
    monkeypatch.setattr(reports, "write", written_in_vain(reports.write))

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.result) == ("completed", {"text": "好"})
    assert job.steps.count() == 1
    assert [event.seq for event in job.events.order_by("seq")] == [1, 2, 3, 4, 5]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_takes_nothing_is_asked_now_and_then(make_job, make_workflow, runs, monkeypatch):
    workflow = make_workflow()
    for _ in range(6):
        make_job(workflow=workflow)
        runs.append(ScriptedRun([started(), finished(), RESULT]))
    complete, asked, until = Job.complete, [], time.monotonic() + 1

    def complete_later(self, *args):
        asked.append(self.pk)
        if time.monotonic() < until:
            raise DatabaseError("the database is away")
        complete(self, *args)

    monkeypatch.setattr(Job, "complete", complete_later)
    monkeypatch.setattr(reports, "write", written_in_vain(reports.write))

    worker.work()

    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}
    assert len(asked) <= 6 * 15


def heard_nothing_of(write):
    """At the first call it has written, but the answer is lost."""
    calls = itertools.count(1)

    def unheard(*args, **kwargs):
        call = next(calls)
        assert call < 10, "it is tried for ever"
        if call > 1:
            return write(*args, **kwargs)
        with commits.failing(unheard=True):
            return write(*args, **kwargs)

    return unheard


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("careful", [False, True])
def test_news_whose_commit_went_through_unheard_is_not_written_twice(make_job, runs, monkeypatch, careful):
    job = make_job()
    runs.append(ScriptedRun([started(), token("你")], [token("好"), finished(), RESULT]))
    monkeypatch.setattr(reports, "write", heard_nothing_of(reports.write))
    if careful:
        monkeypatch.setattr(worker.Supervisor, "_settle", heard_nothing_of(worker.Supervisor._settle))

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.result) == ("completed", {"text": "好"})
    assert job.steps.get().status == "completed"
    kinds = [event.data.get("text", event.kind) for event in job.events.order_by("seq")]
    assert kinds == ["state", "state", "step", "你", "好", "step", "state"]


@pytest.mark.django_db(transaction=True)
def test_a_result_whose_commit_went_through_unheard_stays_as_it_is(make_job, runs, monkeypatch):
    job = make_job()
    runs.append(ScriptedRun([started(), finished(), RESULT]))
    monkeypatch.setattr(reports, "write", heard_nothing_of(reports.write))

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.result, job.attempt) == ("completed", {"text": "好"}, 1)
    assert [event.seq for event in job.events.order_by("seq")] == [1, 2, 3, 4, 5]


@pytest.mark.django_db(transaction=True)
def test_one_answer_that_can_not_be_stored_does_not_keep_the_others_from_it(make_job, runs, monkeypatch):
    good, bad, better = make_job(), make_job(), make_job()
    runs.extend([ScriptedRun([RESULT]), ScriptedRun([{"kind": "result", "result": "坏"}]), ScriptedRun([RESULT])])
    stored = JSONTextField.get_prep_value

    def refuse_some(self, value):
        if value == "坏":
            raise DataError("it is too much")
        return stored(self, value)

    monkeypatch.setattr(JSONTextField, "get_prep_value", refuse_some)

    worker.work()

    for job in (good, bad, better):
        job.refresh_from_db()
    assert [job.status for job in (good, bad, better)] == ["completed", "failed", "completed"]
    assert (bad.error_code, bad.error_message) == ("result_not_stored", "The database: it is too much")


def test_a_job_that_was_taken_over_is_dropped_and_the_others_written(make_job, runs, monkeypatch):
    ours, lost = make_job(), make_job()
    lost_run = ScriptedRun([started()], [finished(), RESULT])
    runs.extend([ScriptedRun([started(), finished(), RESULT]), lost_run])
    write = reports.write

    def take_over(found):
        Job.objects.filter(pk=lost.pk).update(attempt=2)
        return write(found)

    monkeypatch.setattr(reports, "write", take_over)

    worker.work()

    ours.refresh_from_db(), lost.refresh_from_db()
    assert (ours.status, lost.status) == ("completed", "running")
    assert lost_run.killed
    assert lost_run.batches, "it was to be ended at once"
    assert (lost.steps.count(), lost.events.count()) == (0, 2)


def test_a_step_that_the_answer_overtook_is_marked_as_stopped(make_job, runs):
    job = make_job()
    runs.append(ScriptedRun([started(), RESULT]))

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.steps.get().status) == ("completed", "stopped")


def test_many_runs_are_written_in_few_transactions(make_job, make_workflow, runs, django_assert_max_num_queries):
    workflow = make_workflow()
    jobs = [make_job(workflow=workflow) for _ in range(20)]
    runs.extend(ScriptedRun([started(), finished(), RESULT]) for _ in jobs)
    WorkflowRevision.known(jobs[0].revision_id)  # known from an earlier job

    # To claim: 4, and a look that finds no more. To write: one for each job, and 2. Transactions begin and end. On
    # PostgreSQL one statement claims, and one writes.
    with django_assert_max_num_queries(4 if connection.vendor == "postgresql" else 32):
        worker.work()

    assert {job.status for job in Job.objects.all()} == {"completed"}
    for job in jobs:
        assert [event.seq for event in job.events.order_by("seq")] == [1, 2, 3, 4, 5]
        assert job.steps.get().status == "completed"


@pytest.fixture
def written(monkeypatch):
    """The reports that the worker writes, each with the moment of it."""
    noted, write = [], reports.write

    def note(some):
        noted.extend((report, time.monotonic()) for report in some)
        return write(some)

    monkeypatch.setattr(reports, "write", note)
    return noted


def test_of_many_runs_the_short_ones_are_written_once_when_they_are_over(make_job, make_workflow, runs, written):
    workflow = make_workflow()
    speaking = [ScriptedRun(ends=False) for _ in range(30)]
    for run in speaking:
        make_job(workflow=workflow)
        runs.append(run)

    def speak():
        for run in speaking:
            run.say(started())
            time.sleep(0.01)
            run.say(finished(), RESULT)

    speaker = threading.Thread(target=speak)
    speaker.start()
    worker.work()
    speaker.join()

    of_many = [report.is_complete for report, _ in written[:25]]
    assert of_many.count(False) <= 3  # where the machine was busy
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


def test_of_many_runs_a_long_one_is_told_of_soon(make_job, make_workflow, runs, written):
    workflow = make_workflow()
    speaking = [ScriptedRun([started()], ends=False) for _ in range(8)]
    for run in speaking:
        make_job(workflow=workflow)
        runs.append(run)
    ends = []

    def end():
        time.sleep(0.8)
        ends.append(time.monotonic())
        for run in speaking:
            run.say(finished(), RESULT)

    speaker = threading.Thread(target=end)
    speaker.start()
    worker.work()
    speaker.join()

    assert len([report for report, at in written if not report.is_complete and at < ends[0]]) == 8
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


def test_the_last_of_many_runs_do_not_wait_for_others_to_be_written(make_job, make_workflow, runs, monkeypatch):
    for name in ("GATHER", "GATHER_LONGEST"):
        monkeypatch.setattr(worker, name, 60.0)
    workflow = make_workflow()
    speaking = [ScriptedRun(ends=False) for _ in range(8)]
    for run in speaking:
        make_job(workflow=workflow)
        runs.append(run)
    speaking[0].say(started(), finished(), RESULT)  # is written at once: nothing was before
    began = time.monotonic()

    def end():
        time.sleep(0.5)
        for run in speaking[1:]:
            run.say(started(), finished(), RESULT)

    speaker = threading.Thread(target=end)
    speaker.start()
    worker.work()
    speaker.join()

    assert time.monotonic() - began < 30
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


def test_large_answers_are_written_few_at_a_time(make_job, make_workflow, runs, monkeypatch):
    workflow = make_workflow()
    jobs = [make_job(workflow=workflow) for _ in range(8)]
    runs += [ScriptedRun([started(), finished(), RESULT], received=7 * 1024 * 1024) for _ in jobs[1:]]
    runs.insert(3, ScriptedRun([started(), finished(), RESULT], received=40 * 1024 * 1024))
    together = []
    write = reports.write

    def noted(some):
        together.append(len(some))
        return write(some)

    monkeypatch.setattr(reports, "write", noted)
    worker.work()

    assert together == [2, 1, 1, 2, 2]
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


def test_a_drain_hands_back_what_does_not_end_in_time(make_job, runs, monkeypatch, settings):
    settings.DRAIN_SECONDS = 0
    job = make_job()
    run = ScriptedRun()
    runs.append(run)
    monkeypatch.setattr(worker, "draining", type("Flag", (), {"value": 0})())
    original = worker.Supervisor._start

    def start_and_drain(self, attempt):
        original(self, attempt)
        worker.draining.value = 1

    monkeypatch.setattr(worker.Supervisor, "_start", start_and_drain)

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.spared_attempts, run.killed) == ("pending", 1, True)


def test_no_job_is_claimed_while_draining(make_job, runs, monkeypatch):
    job = make_job()
    monkeypatch.setattr(worker, "draining", type("Flag", (), {"value": 1})())

    worker.work()

    job.refresh_from_db()
    assert job.status == "pending"


def test_a_job_waits_for_a_runner_that_is_starting(make_job, runs):
    job = make_job()
    runs.extend([engine.RunnerUnavailable(), engine.RunnerUnavailable(), ScriptedRun([RESULT])])

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.attempt) == ("completed", 1)


def test_a_pipeline_that_the_policy_no_longer_allows_is_not_run(make_job, runs, monkeypatch):
    job = make_job()
    monkeypatch.setattr(engine, "static_check", lambda text: [engine.Problem("component_not_allowed", "不允许")])

    worker.work()

    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "pipeline_refused")
    assert "不允许" in job.error_message
