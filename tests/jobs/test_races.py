"""Two at once: whatever happens in the middle of a move, it ends as if the one had come after the other.

First each move is stopped before each of its statements while others move the same job: every meeting that a database
allows. Then threads with connections of their own really race.
"""

import copy
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.utils import timezone

from jobs import claims, services
from jobs.admission import admit
from jobs.models import InvalidTransition, Job, JobEvent, JobStep, LeaseLost
from jobs.sweep import sweep

LEASE = timedelta(seconds=30)
ROUNDS = 30
REFUSALS = (InvalidTransition, LeaseLost, Job.DoesNotExist)


POSITIONS = itertools.count(2)


def record(job):
    step = JobStep(position=next(POSITIONS), component="提示", component_type="x.Y", started_at=timezone.now())
    job.record(new=[step], ended=[], events=[JobEvent(kind="step", data={}), JobEvent(kind="token", data={})])


def delete(job):
    if not job.is_over:  # as the doors ask
        raise InvalidTransition
    job.delete()


MOVES = {
    "claim": lambda job: len(claims.claim(1, LEASE, "the other")),
    "renew": lambda job: Job.objects.running().filter(pk=job.pk, lease_token=job.lease_token).renew(LEASE),
    "record": record,
    "complete": lambda job: job.complete({"答": 1}, 0.5),
    "release": lambda job: job.release("runner_lost", "The runner was lost."),
    "hand_back": lambda job: job.hand_back(),
    "recover": lambda job: job.recover(),
    "sweep": lambda job: sweep(),
    "cancel": lambda job: job.cancel(),
    "rename": lambda job: job.rename("改名"),
    "delete": delete,
}
MEANWHILE = [
    *[(name,) for name in MOVES if name not in ("renew", "sweep", "rename")],
    ("hand_back", "claim"),
    ("recover", "claim"),
    ("cancel", "hand_back"),
    ("complete", "delete"),
]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    """The sweep takes a lease that is out for lost at once."""
    monkeypatch.setattr("jobs.sweep.PATIENCE", 0)


@pytest.fixture
def begin(make_workflow, make_job):
    """Makes a job of one of the states in which races begin; the worker's lease is out, and it does not know."""
    workflow = make_workflow()

    def make(state):
        if state in ("pending", "completed"):
            return make_job(workflow=workflow, status=state)
        job = make_job(workflow=workflow, status="running", max_attempts=1 if state == "running, the last time" else 3)
        job.record(
            new=[JobStep(position=1, component="提示", component_type="x.Y", started_at=timezone.now())],
            ended=[],
            events=[JobEvent(kind="step", data={})],
        )
        asked = {"cancel_requested_at": timezone.now()} if state == "running, to be cancelled" else {}
        Job.objects.filter(pk=job.pk).update(lease_expires_at=Now() - timedelta(seconds=1), **asked)
        return Job.objects.get(pk=job.pk)

    return make


def act(name, job):
    """What the mover is told: an answer or a refusal. It works on the job as it was read before the race."""
    try:
        return MOVES[name](copy.copy(job))
    except REFUSALS as refusal:
        return type(refusal).__name__


def what_is_left(job):
    """All that can be seen of a job, but for texts and times."""
    row = Job.objects.filter(pk=job.pk).first()
    if row is None:
        return None
    events = [(event.seq, event.kind, event.data.get("status_str")) for event in row.events.order_by("seq")]
    assert [seq for seq, _, _ in events] == list(range(1, row.event_seq + 1))
    steps = list(row.steps.order_by("position").values_list("status", flat=True))
    told = (row.status, row.name, row.attempt, row.spared_attempts, row.error_code, row.result)
    return told, row.cancel_requested_at is not None, events, steps


class Interruption:
    """Lets `others` act before the nth statement of a move; `free` are the statements before which they can.

    As soon as a transaction has written to the row, others have to wait for its end.
    """

    def __init__(self, number=None, others=None):
        self.number, self.others = number, others
        self.free, self.answers = [], None
        self._counted = itertools.count(1)
        self._outside, self._holds_the_row = len(connection.savepoint_ids), False

    def __call__(self, execute, sql, params, many, context):
        if self.answers is not None or "SAVEPOINT" in sql:
            return execute(sql, params, many, context)
        number = next(self._counted)
        if len(connection.savepoint_ids) == self._outside:
            self._holds_the_row = False
        if not self._holds_the_row:
            self.free.append(number)
        if number == self.number:
            self.answers = []
            self.answers = self.others()
        done = execute(sql, params, many, context)
        if not sql.startswith("SELECT") and context["cursor"].rowcount:
            self._holds_the_row = True
        return done


@pytest.mark.django_db
@pytest.mark.parametrize("meanwhile", MEANWHILE, ids=" and ".join)
@pytest.mark.parametrize(
    "state", ["pending", "running", "running, the last time", "running, to be cancelled", "completed"]
)
def test_a_move_that_meets_others_ends_as_if_they_had_come_one_after_the_other(begin, state, meanwhile):
    for name in MOVES:
        one_by_one = [in_order(begin(state), name, meanwhile, place) for place in range(len(meanwhile) + 1)]
        for number in meeting_points(begin(state), name):
            outcome = interrupted(begin(state), name, meanwhile, number)
            assert outcome in one_by_one, f"{name}, interrupted before statement {number}"


def in_order(job, name, meanwhile, place):
    """How it ends when `name` acts before the others, after them, or between them."""
    order = [*meanwhile[:place], None, *meanwhile[place:]]
    answers = [act(other or name, job) for other in order]
    return answers.pop(place), answers, clear(job)


def meeting_points(job, name):
    alone = Interruption()
    with connection.execute_wrapper(alone):
        act(name, job)
    clear(job)
    return alone.free


def interrupted(job, name, meanwhile, number):
    interruption = Interruption(number, lambda: [act(other, job) for other in meanwhile])
    with connection.execute_wrapper(interruption):
        answer = act(name, job)
    return answer, interruption.answers, clear(job)


def clear(job):
    left = what_is_left(job)
    Job.objects.all().delete()
    return left


RACES = [
    ("pending", "claim", "claim"),
    ("pending", "claim", "cancel"),
    ("running", "complete", "recover"),
    ("running", "complete", "cancel"),
    ("running", "hand_back", "cancel"),
    ("running", "record", "recover"),
    ("running", "renew", "sweep"),
    ("running", "recover", "cancel"),
    ("running", "sweep", "sweep"),
    ("running, the last time", "release", "cancel"),
    ("running, the last time", "sweep", "complete"),
    ("completed", "delete", "rename"),
]


@pytest.mark.parametrize(("state", "one", "other"), RACES, ids=lambda name: name)
def test_of_two_threads_that_race_one_comes_first(on_disk, begin, state, one, other):
    one_by_one = [in_order(begin(state), one, (other,), place) for place in (0, 1)]
    together = threading.Barrier(2, timeout=30)

    def race(name, job):
        together.wait()
        return act_at_last(name, job)

    def leave(_):
        together.wait()
        connection.close()

    with ThreadPoolExecutor(2) as threads:
        try:
            for _ in range(ROUNDS):
                job = begin(state)
                answer, others_answer = threads.map(race, (one, other), (job, job))
                assert (answer, [others_answer], clear(job)) in one_by_one
        finally:
            list(threads.map(leave, range(2)))


def act_at_last(name, job):
    while True:
        try:
            return act(name, job)
        except OperationalError:  # a deadlock that the database ended: workers and clients try again
            continue


def test_a_limit_holds_while_many_submit_claim_finish_and_sweep(on_disk, make_workflow):
    workflow = make_workflow(concurrency_limit=3)
    together = threading.Barrier(4, timeout=30)
    running_at_once, finished = [], []

    def submitter():
        for _ in range(10):
            services.submit(workflow, {"query": "问", "top_k": 1})

    def worker():
        until = time.monotonic() + 30
        while len(finished) < 20 and time.monotonic() < until:
            try:
                for job in claims.claim(4, LEASE, "here:1"):
                    running_at_once.append(Job.objects.running().count())
                    job.complete({}, 0.1)
                    finished.append(job.pk)
                    admit(workflow.pk)
                sweep()
            except OperationalError:
                continue

    def run(act):
        together.wait()
        try:
            act()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run, (submitter, submitter, worker, worker)))

    assert len(finished) == len(set(finished)) == 20
    assert max(running_at_once) <= 3
