"""The life of jobs against a model of it: whatever people, workers and the sweep do, in whatever order.

Hypothesis makes up the stories. Claims and readings are kept for ever, so they are used late, twice, and after
the job was taken over or deleted. After each act the rows must be what the model says.
"""

import copy
import itertools
import math
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from unittest import mock

import pytest
from django.db.models import Count, F
from django.db.models.functions import Now
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accounts.models import Workspace
from jobs import claims
from jobs.admission import admit_all
from jobs.bulk import cancel_all, retry_all, submit_batch
from jobs.models import InvalidTransition, Job, JobBatch, JobEvent, JobStep, LeaseLost, Worker
from jobs.services import InactiveWorkflow, retry, submit
from jobs.sweep import start_what_is_due, sweep
from jobs.waiting import why
from jobs.worker import Attempt, Supervisor
from tests import commits, descriptions
from workflows.models import Workflow, WorkflowRevision

LEASE = timedelta(seconds=50)  # longer than a story takes on a slow machine
HOUR = timedelta(hours=1)
DATA = {"query": "什么是人工智能？", "top_k": 5}
FINAL = {"completed", "failed", "cancelled"}
LEGAL = {
    ("pending", "running"),
    ("pending", "cancelled"),
    ("running", "pending"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "cancelled"),
}

WITHOUT_PATIENCE = (time.monotonic(), 0.0)  # now, and the seconds that news may wait
ARGUMENTS = {
    "complete": lambda result: (result, 0.5),
    "fail": lambda result: ("component_failed", "没有回答", 0.5, False),
    "fail for now": lambda result: ("component_failed", "没有回答", 0.5, True),
    "stopped": lambda result: (0.5,),
    "release": lambda result: ("runner_lost", "The runner was lost."),
    "hand_back": lambda result: (),
}
MOVES = {"fail for now": "fail"}  # where the word is not the method's name

# What a job may ask for. The times, in minutes from now, are no sums of those by which time moves on.
CONTROL = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.sampled_from([0, 5, 9]),
        "max_attempts": st.integers(1, 3),
        "retry_on": st.sampled_from(["", "timed_out", "transient", "timed_out,component_failed"]),
        "available_at": st.sampled_from([-10, 10, 95]),
    },
)
MINUTES = st.sampled_from([7, 31, 121])
BACKOFF = [timedelta(minutes=10), timedelta(minutes=15), timedelta(minutes=15)]


@dataclass
class Known:
    """What the model knows of one job."""

    name: str
    workflow: uuid.UUID
    available_at: datetime
    waits_for: str
    priority: int
    max_attempts: int
    retry_on: str
    retry_of: uuid.UUID | None = None
    batch: uuid.UUID | None = None
    limit_seen: int | None = None  # the workflow's, by its worker
    status: str = "pending"
    attempt: int = 0
    spared: int = 0
    tokens: list = field(default_factory=list)  # one per attempt
    held: Job | None = None  # by its worker
    overdue: bool = False
    asked: bool = False  # to be cancelled
    result: dict | None = None
    error_code: str = ""
    story: list = field(default_factory=list)  # what its events tell
    steps: dict = field(default_factory=dict)  # (attempt, position) → status
    end: dict | None = None  # the row, as it was when the job was over

    def move(self, status, **told):
        if self.status == "running":
            for place in self.open_steps():
                self.steps[place] = "stopped"
        self.status, self.overdue = status, False
        self.story.append(("state", {"status_str": status, "attempt_int": self.attempt, **told}))

    def fail(self, code):
        self.error_code = code
        self.move("failed", error_code_str=code)

    def give_up(self, code, *, spared=False):
        if self.asked:
            self.move("cancelled")
        elif spared:
            self.spared += 1
            self.move("pending", reason_code_str=code)
        elif self.tries < self.max_attempts:
            self.move("pending", reason_code_str=code)
        else:
            self.fail(code)

    def fail_or_try_again(self, code, transient):
        reasons = self.retry_on.split(",")
        if (code in reasons or (transient and "transient" in reasons)) and self.tries < self.max_attempts:
            self.give_up(code)
            self.waits_for = "time"
        else:
            self.fail(code)

    @property
    def tries(self):
        return self.attempt - self.spared

    @property
    def control(self):
        return {"priority": self.priority, "max_attempts": self.max_attempts, "retry_on": self.retry_on}

    def waits(self, for_what):
        return self.status == "pending" and self.waits_for == for_what

    @property
    def is_due(self):
        return self.waits("time") and self.available_at <= timezone.now()

    def open_steps(self):
        return [place for place, status in self.steps.items() if status == "running"]


class Claim(NamedTuple):
    """What a worker keeps of a job that it claimed."""

    job: Job
    pk: uuid.UUID
    attempt: int


class Seen(NamedTuple):
    """A job as somebody read it, maybe long ago."""

    job: Job
    pk: uuid.UUID


def seen(job):
    return Seen(job, job.pk)


PICK = st.integers(0, 11)  # one of the jobs that run
somebody_works = precondition(lambda self: any(known.status == "running" for known in self.jobs.values()))


class Life(RuleBasedStateMachine):
    workflows = Bundle("workflows")
    readings = Bundle("readings")

    def __init__(self):
        super().__init__()
        self.jobs: dict[uuid.UUID, Known] = {}  # in the order of their ages
        self.claims: list[Claim] = []  # all that there ever were
        self.inactive = set()
        self.limits: dict[uuid.UUID, int | None] = {}
        self.most: dict[uuid.UUID, float] = {}  # so many jobs of each workflow may have been let in at most
        self.batches: set[uuid.UUID] = set()
        self.numbers = itertools.count(1)

    @initialize(target=workflows)
    def begin(self):
        workspace = Workspace.objects.get_or_create(
            pk=Workspace.DEFAULT_ID, defaults={"name": "Default", "slug": "default"}
        )[0]
        now = timezone.now()
        Worker.objects.create(name="here:1", processes=1, places=3, started_at=now, last_seen_at=now + HOUR)
        workflows = [
            self._workflow(workspace, None, max_attempts=3, retry_on=["transient"]),
            self._workflow(workspace, 2, max_attempts=2, retry_on=["component_failed"]),
            self._workflow(workspace, 1, max_attempts=1, priority=7),
        ]
        for workflow in workflows:
            self.submit(workflow)
        self.claim(1)
        return multiple(*workflows)

    def _workflow(self, workspace, limit, **block):
        workflow = Workflow.objects.create(
            workspace=workspace, name=f"最多 {block['max_attempts']}", concurrency_limit=limit
        )
        workflow.current_revision = WorkflowRevision.objects.create(
            workflow=workflow,
            number=1,
            content_hash="x",
            pipeline_yaml=descriptions.PROMPT_YAML,
            description=descriptions.PROMPT | {"workflow": block},
        )
        workflow.save()
        self.limits[workflow.pk] = limit
        self.most[workflow.pk] = math.inf if limit is None else limit
        return workflow.pk

    # People

    @rule(target=readings, workflow=workflows, control=CONTROL)
    def submit_with_control(self, workflow, control):
        return self.submit(workflow, control)

    @rule(target=readings, workflow=workflows)
    def submit(self, workflow, control=None):
        workflow = Workflow.objects.select_related("current_revision").get(pk=workflow)
        name, control = f"第 {next(self.numbers)} 个", _by_the_clock(control or {})
        return self._accepted(workflow, lambda: [submit(workflow, DATA, name=name, control=control)], [name], [control])

    @rule(target=readings, workflow=workflows, controls=st.lists(CONTROL, min_size=1, max_size=3))
    def submit_a_batch(self, workflow, controls):
        workflow = Workflow.objects.select_related("current_revision").get(pk=workflow)
        names = [f"第 {next(self.numbers)} 个" for _ in controls]
        controls = [_by_the_clock(control) for control in controls]
        items = [
            {"trigger_data": DATA, "name": name, "control": control}
            for name, control in zip(names, controls, strict=True)
        ]

        def act():
            submitted = submit_batch(workflow, items)
            self.batches.add(submitted.batch.pk)
            return list(submitted.jobs.values())

        return self._accepted(workflow, act, names, controls)

    @rule(target=readings, first=readings)
    def retry(self, first):
        job = Job.objects.filter(pk=first.pk).first()
        if job is None:
            return multiple()
        known = self.jobs[job.pk]
        if known.status not in FINAL:
            with pytest.raises(InvalidTransition):
                retry(job)
            return multiple()
        return self._accepted(job.workflow, lambda: [retry(job)], [known.name], [known.control], retry_of=job.pk)

    @rule(target=readings, workflow=workflows)
    def retry_all(self, workflow):
        retried = {known.retry_of for known in self.jobs.values()}
        firsts = [(pk, known) for pk, known in self._jobs_of(workflow) if known.status in FINAL and pk not in retried]

        done = retry_all(Job.objects.filter(workflow=workflow), most=2)

        chosen = firsts[:2]
        assert done.more is (len(firsts) > 2)
        if workflow in self.inactive:
            assert (done.jobs, set(done.refused)) == ([], {pk for pk, _known in chosen})
            return multiple()
        assert ([job.retry_of_id for job in done.jobs], done.refused) == ([pk for pk, _known in chosen], {})
        for job, (pk, known) in zip(done.jobs, chosen, strict=True):
            self._knows(job, known.name, known.control, retry_of=pk)
        self._let_in_after_a_submit(workflow, done.jobs)
        return multiple(*map(seen, done.jobs))

    def _accepted(self, workflow, act: Callable[[], list[Job]], names, controls, retry_of=None):
        if workflow.pk in self.inactive:
            with pytest.raises(InactiveWorkflow):
                act()
            return multiple()
        jobs = act()
        for job, name, control in zip(jobs, names, controls, strict=True):
            self._knows(job, name, control, retry_of=retry_of)
        self._let_in_after_a_submit(workflow.pk, jobs)
        return multiple(*map(seen, jobs))

    def _let_in_after_a_submit(self, workflow, jobs):
        if any(self.jobs[job.pk].waits_for == "room" for job in jobs):
            self._admit(workflow)

    def _knows(self, job, name, control, retry_of=None):
        block = job.revision.description["workflow"]
        later = control.get("available_at", job.created_at) > job.created_at
        limit = self.limits[job.workflow_id]
        known = Known(
            name,
            job.workflow_id,
            control["available_at"] if later else job.created_at,
            "time" if later else "worker" if limit is None else "room",
            control.get("priority", block.get("priority", 5)),
            control.get("max_attempts", block["max_attempts"]),
            control.get("retry_on", ",".join(block.get("retry_on", []))),
            retry_of,
            job.batch_id,
        )
        known.move("pending")
        self.jobs[job.pk] = known

    def _jobs_of(self, workflow):
        return [(pk, known) for pk, known in self.jobs.items() if known.workflow == workflow]

    @rule(workflow=workflows, limit=st.sampled_from([None, 0, 1, 2, 3]))
    def change_limit(self, workflow, limit):
        """What runs, runs on; what was let in and has not started is taken out when the limit is next looked at."""
        if not Workflow.objects.kept().filter(pk=workflow).update(concurrency_limit=limit):
            return
        self.limits[workflow] = limit
        let_in = Job.objects.admitted().filter(workflow=workflow).count()
        self.most[workflow] = math.inf if limit is None else max(limit, let_in)

    @rule(workflow=workflows, active=st.booleans())
    def switch_workflow(self, workflow, active):
        if Workflow.objects.kept().filter(pk=workflow).update(is_active=active):
            (self.inactive.discard if active else self.inactive.add)(workflow)

    @rule(workflow=workflows)
    def delete_workflow(self, workflow):
        if Workflow.objects.kept().count() > 1:  # else the story is over
            first_time = Workflow.objects.kept().filter(pk=workflow).exists()
            Workflow.objects.get(pk=workflow).delete()
            self.inactive.add(workflow)
            if first_time and self.limits[workflow] == 0:  # nobody could let its jobs go any more
                self.limits[workflow], self.most[workflow] = None, math.inf

    @precondition(lambda self: self.jobs)
    @rule(target=readings, pick=PICK)
    def look(self, pick):
        return seen(Job.objects.get(pk=list(self.jobs)[pick % len(self.jobs)]))

    @rule(reading=readings)
    def cancel(self, reading):
        known = self.jobs.get(reading.pk)
        if known is None:
            with pytest.raises(Job.DoesNotExist):
                reading.job.cancel()
        elif known.status == "pending":
            reading.job.cancel()
            known.move("cancelled")
        elif known.status == "running":
            reading.job.cancel()
            known.asked = True
        else:
            with pytest.raises(InvalidTransition):
                reading.job.cancel()

    @rule(workflow=workflows)
    def cancel_all(self, workflow):
        mine = [known for _pk, known in self._jobs_of(workflow)]
        pending = [known for known in mine if known.status == "pending"]
        running = [known for known in mine if known.status == "running" and not known.asked]

        done = cancel_all(Job.objects.filter(workflow=workflow))

        assert (done.pending, done.running, done.more) == (len(pending), len(running), False)
        for known in pending:
            known.move("cancelled")
        for known in running:
            known.asked = True

    @precondition(lambda self: any(known.status == "pending" for known in self.jobs.values()))
    @rule(pick=PICK)
    def ask_why_it_waits(self, pick):
        waiting = [pk for pk, known in self.jobs.items() if known.status == "pending"]
        pk = waiting[pick % len(waiting)]
        known, wait = self.jobs[pk], why(Job.objects.get(pk=pk))

        def ahead(**where):
            them = [(self._place(one), one) for one in self.jobs if self._waits(one, **where)]
            return len([one for place, one in them if place < self._place(pk) and one != pk])

        if known.waits("time") and not known.is_due:
            assert (wait.reason, wait.until) == ("backoff" if known.attempt else "not_before", known.available_at)
            return
        limit = self.limits[known.workflow]
        let_in = [one for one, other in self._jobs_of(known.workflow) if other.status == "running" or self._waits(one)]
        for_room = ahead(for_what="room", workflow=known.workflow)
        if known.waits("worker") or limit is None or (limit and len(let_in) + for_room < limit):
            assert (wait.reason, wait.ahead.number, wait.places) == ("queue", ahead(), 3)
        elif limit == 0:
            assert (wait.reason, wait.ahead.number) == ("held", for_room)
        else:
            assert (wait.reason, wait.limit, wait.ahead.number) == ("limit", limit, for_room)
            assert {holder.pk for holder in wait.holders} == set(let_in)

    def _waits(self, pk, for_what="worker", workflow=None):
        known = self.jobs[pk]
        return known.waits(for_what) and workflow in (None, known.workflow)

    def _place(self, pk):
        """The most urgent first, then the oldest."""
        known = self.jobs[pk]
        return -known.priority, known.available_at, pk

    @rule(reading=readings)
    def rename(self, reading):
        name = f"改名 {next(self.numbers)}"
        if reading.pk not in self.jobs:
            with pytest.raises(Job.DoesNotExist):
                reading.job.rename(name)
            return
        reading.job.rename(name)
        self.jobs[reading.pk].name = name

    @rule(reading=readings)
    def delete(self, reading):
        job = copy.copy(reading.job)  # for Django takes its key away
        if not job.is_over:  # as the doors ask
            return
        job.delete()
        if self.jobs.pop(reading.pk, None):
            for known in self.jobs.values():
                if known.retry_of == reading.pk:
                    known.retry_of = None

    # Workers

    @rule(places=st.integers(1, 3))
    def claim(self, places):
        ready = sorted((pk for pk in self.jobs if self._waits(pk)), key=self._place)

        jobs = claims.claim(places, LEASE, "here:1")

        assert [job.pk for job in jobs] == ready[:places]
        for job in jobs:
            known = self.jobs[job.pk]
            assert job.lease_token not in known.tokens
            known.attempt += 1
            known.tokens.append(job.lease_token)
            known.move("running")
            assert (job.status, job.attempt) == ("running", known.attempt)
            known.held, known.limit_seen = job, self.limits[known.workflow]
            # Twice: a worker's object changes with its moves, a delivery that was kept does not.
            self.claims += [Claim(kept, job.pk, job.attempt) for kept in (job, copy.copy(job))]

    def _running(self, pick) -> Known:
        running = [known for known in self.jobs.values() if known.status == "running"]
        return running[pick % len(running)]

    @somebody_works
    @rule(pick=PICK)
    def renew(self, pick):
        known = self._running(pick)

        assert Job.objects.running().filter(pk=known.held.pk, lease_token=known.held.lease_token).renew(LEASE) == 1
        known.overdue = False

    @somebody_works
    @rule(
        pick=PICK,
        how=st.sampled_from(["", "complete", "fail", "fail for now", "stopped", "release", "hand_back"]),
        words=st.integers(0, 2),
        starts=st.integers(0, 2),
        ends=st.sampled_from(["", "completed", "failed"]),
        commit=st.sampled_from(["works", "is refused", "goes through unheard"]),
        together=st.booleans(),
    )
    def write(self, pick, how, words, starts, ends, commit, together):
        """News, and maybe the attempt's last move, in one transaction; once more, with more news, after an error.

        Where that is possible, `together` with those of other attempts.
        """
        known = self._running(pick)
        result = {"答": next(self.numbers)}
        new, ended, events = self._news(known, words, starts, ends)
        since = 0.0 if new or ended or events else None
        attempt = Attempt(known.held, claimed=0.0, new=new, ended=ended, events=events, news_since=since)
        worker = Supervisor()
        worker.attempts.append(attempt)
        if together and how == "complete":
            attempt.run = mock.Mock(outcome={"kind": "result", "result": result}, received=100)
            attempt.started, attempt.over = 1.0, 1.5
            of_it = [*JobStep.objects.filter(job=known.held.pk, attempt=known.attempt), *new, *ended]
            attempt.steps = {step.position: step for step in of_it}
        together = together and how in ("", "complete") and attempt.report(*WITHOUT_PATIENCE) is not None

        def settle(*, carefully=True):
            if together:
                worker._report(*WITHOUT_PATIENCE)
            if carefully and attempt in worker.attempts:
                worker._settle(attempt, *([_move(attempt.job, how), *ARGUMENTS[how](result)] if how else []))

        def happened():
            for step in [*new, *ended]:
                known.steps[known.attempt, step.position] = step.status
            known.story += [(event.kind, event.data) for event in events]
            if how == "complete":
                known.result = result
                known.move("completed")
            elif how in ("fail", "fail for now"):
                known.fail_or_try_again("component_failed", how == "fail for now")
                if known.status == "pending":
                    self._check_backoff(known, attempt.job.pk)
            elif how == "stopped":
                known.move("cancelled")
            elif how == "release":
                known.give_up("runner_lost")
            elif how == "hand_back":
                known.give_up("handed_back", spared=True)

        unheard = bool(how) and commit == "goes through unheard"
        if commit != "works" and (events or how):
            with commits.failing(unheard=commit == "goes through unheard"):
                settle(carefully=not together)
            assert worker.attempts == [attempt]
            if commit == "is refused":
                self.all_is_as_the_model_says()
            if unheard:
                happened()
            self._somebody_else_submits()
            if commit == "is refused" or not how:
                attempt.take({"kind": "token", "component": "提示", "text": "还有"})
        settle()

        worker.selector.close()
        assert worker.attempts == ([] if how else [attempt])
        known.held = attempt.job
        if not unheard:
            happened()
        # A worker that did not hear that its move was made leaves it to the sweep.
        if how and known.limit_seen is not None and not unheard:
            self._admit(known.workflow)

    def _check_backoff(self, known, pk):
        known.available_at = Job.objects.get(pk=pk).available_at
        late = timezone.now() + BACKOFF[known.tries - 1] - known.available_at
        assert timedelta(minutes=-1) < late < timedelta(minutes=1)

    def _news(self, known, words, starts, ends):
        steps = known.steps if known else {}
        mine = {position: status for (attempt, position), status in steps.items() if attempt == known.attempt}
        now = timezone.now()
        new = [
            JobStep(position=len(mine) + n, component="提示", component_type="x.Y", started_at=now)
            for n in range(1, starts + 1)
        ]
        ended = [
            JobStep(position=position, status=ends, completed_at=now, execution_seconds=0.1)
            for position, status in mine.items()
            if ends and status == "running"
        ]
        events = [JobEvent(kind="step", data={"position_int": step.position}) for step in [*new, *ended]]
        events += [JobEvent(kind="token", data={"component_name_str": "提示", "text": f"字{n}"}) for n in range(words)]
        return new, ended, events

    def _somebody_else_submits(self):
        workflow = Workflow.objects.active().order_by("created_at").first()
        if workflow:
            name = f"第 {next(self.numbers)} 个"
            self._accepted(workflow, lambda: [submit(workflow, DATA, name=name)], [name], [{}])

    @rule()
    def all_that_is_late_arrives(self):
        """Whoever lost a lease, or read a job long ago, acts on: nothing of it counts."""
        for claim in self.claims:
            known = self.jobs.get(claim.pk)
            if known and known.status == "running" and known.attempt == claim.attempt:
                continue
            new, ended, events = self._news(None, 1, 1, "")
            for write in (
                lambda job=claim.job, news=(new, ended, events): job.record(new=news[0], ended=news[1], events=news[2]),
                *[lambda job=claim.job, how=how: _move(job, how)(*ARGUMENTS[how]({"答": "晚"})) for how in ARGUMENTS],
            ):
                with pytest.raises(LeaseLost):
                    write()
            assert claim.job.recover() is False
        for job in Job.objects.all():
            if self.jobs[job.pk].status in FINAL:
                with pytest.raises(InvalidTransition):
                    copy.copy(job).cancel()
            if not self.jobs[job.pk].overdue:
                assert job.recover() is False

    # Time, and the sweep

    @somebody_works
    @rule(pick=PICK)
    def let_a_lease_run_out(self, pick):
        known = self._running(pick)
        Job.objects.filter(pk=known.held.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
        known.overdue = True

    @rule(reading=readings)
    def recover(self, reading):
        """One job that the sweep read long ago."""
        known = self.jobs.get(reading.pk)
        as_read = Job.objects.filter(pk=reading.pk, lease_expires_at=reading.job.lease_expires_at)
        read_now = known and known.overdue and reading.job.lease_token == known.tokens[-1] and as_read.exists()

        assert reading.job.recover() is bool(read_now)
        if read_now:
            known.give_up("worker_lost")

    @rule()
    def sweep(self):
        overdue = [known for known in self.jobs.values() if known.overdue]

        assert sweep() == len(overdue)
        for known in overdue:
            known.give_up("worker_lost")
        for workflow in self.limits:
            self._admit(workflow)
        self.who_is_held_back_by_a_limit_is_so_for_a_reason()

    @rule()
    def sweep_twice_at_once(self):
        overdue = [known for known in self.jobs.values() if known.overdue]
        first, second = list(Job.objects.overdue()), list(Job.objects.overdue())

        assert len(first) == len(overdue)
        assert all(job.recover() for job in first)
        assert not any(job.recover() for job in second)
        for known in overdue:
            known.give_up("worker_lost")

    @rule(minutes=MINUTES)
    def time_moves_on(self, minutes):
        """For those that wait."""
        Job.objects.unfinished().update(available_at=F("available_at") - timedelta(minutes=minutes))
        for known in self.jobs.values():
            if known.status not in FINAL:
                known.available_at -= timedelta(minutes=minutes)

    @rule()
    def start_what_is_due(self):
        due = [known for known in self.jobs.values() if known.is_due]

        start_what_is_due()

        for known in due:
            known.waits_for = "worker" if self.limits[known.workflow] is None else "room"
        for workflow in {known.workflow for known in due if known.waits_for == "room"}:
            self._admit(workflow)
        assert not Job.objects.due().exists()

    @rule()
    def admit_all(self):
        assert admit_all() == sum(self._admit(workflow) for workflow in self.limits)
        self.who_is_held_back_by_a_limit_is_so_for_a_reason()

    def _admit(self, workflow) -> int:
        """Let in as many as there is room for; where the limit was lowered, take those out that have not started."""
        limit = self.limits[workflow]
        mine = [pk for pk, _known in self._jobs_of(workflow)]
        running = len([pk for pk in mine if self.jobs[pk].status == "running"])
        ready, outside = ([pk for pk in mine if self._waits(pk, what)] for what in ("worker", "room"))
        if limit is None:
            limit = math.inf
        elif running + len(ready) > limit:
            outside, ready = ready + outside, []
        room = max(limit - running - len(ready), 0)
        places = sorted(outside, key=self._place)
        for place, pk in enumerate(places):
            self.jobs[pk].waits_for = "worker" if place < room else "room"
        return min(room, len(places))

    def who_is_held_back_by_a_limit_is_so_for_a_reason(self):
        """After a look at all limits: each is used up where jobs wait for it, and only running jobs exceed it."""
        for workflow, limit in self.limits.items():
            mine = Job.objects.filter(workflow=workflow)
            let_in = mine.admitted().count()
            if mine.waiting_for_room().exists():
                assert limit is not None
                assert let_in >= limit
            if limit is not None and let_in > limit:
                assert not mine.ready().exists()

    # What always holds

    @invariant()
    def all_is_as_the_model_says(self):
        self.the_rows_are_what_the_model_says()
        self.events_tell_the_story_without_a_gap_or_a_repeat()
        self.no_step_runs_on_when_its_attempt_is_over()
        self.the_sweep_sees_the_jobs_whose_lease_is_out()
        self.no_workflow_has_more_jobs_let_in_than_its_limit()

    def the_rows_are_what_the_model_says(self):
        rows = {row["id"]: row for row in Job.objects.values()}
        assert rows.keys() == self.jobs.keys()
        for pk, known in self.jobs.items():
            row = rows[pk]
            assert (row["status"], row["attempt"], row["spared_attempts"]) == (
                known.status,
                known.attempt,
                known.spared,
            )
            assert row["attempt"] - row["spared_attempts"] <= row["max_attempts"] == known.max_attempts
            assert (row["name"], row["retry_of_id"], row["batch_id"]) == (known.name, known.retry_of, known.batch)
            assert {name: row[name] for name in known.control} == known.control
            assert row["available_at"] == known.available_at
            if known.status == "pending":
                assert row["waits_for"] == known.waits_for
            assert (row["result"], row["error_code"]) == (known.result, known.error_code)
            assert bool(row["error_message"]) == bool(known.error_code)
            assert bool(row["cancel_requested_at"]) == known.asked
            assert row["lease_token"] == (known.tokens[-1] if known.status == "running" else None)
            assert bool(row["lease_expires_at"]) == (known.status == "running")
            self._check_times(row, known)
            self._check_the_end(row, known)

    def _check_times(self, row, known):
        over = known.status in FINAL
        assert bool(row["completed_at"]) == over
        if known.status == "pending":
            assert row["started_at"] is None
        if known.status == "running" or (over and known.status != "cancelled"):
            assert row["started_at"] is not None
        times = [row[name] for name in ("created_at", "started_at", "completed_at", "updated_at") if row[name]]
        if known.status != "pending":
            assert times == sorted(times)

    def _check_the_end(self, row, known):
        if known.status not in FINAL:
            return
        row = {name: value for name, value in row.items() if name not in ("name", "updated_at", "retry_of_id")}
        known.end = known.end or row
        assert row == known.end

    def events_tell_the_story_without_a_gap_or_a_repeat(self):
        told = defaultdict(list)
        for event in JobEvent.objects.order_by("seq"):
            told[event.job_id].append(event)
        assert told.keys() == self.jobs.keys()
        last = dict(Job.objects.values_list("pk", "event_seq"))
        for pk, known in self.jobs.items():
            events = told[pk]
            assert [event.seq for event in events] == list(range(1, last[pk] + 1))
            assert [(event.kind, _without_texts(event)) for event in events] == known.story
            states = [event.data["status_str"] for event in events if event.kind == "state"]
            assert states[0] == "pending"
            assert set(itertools.pairwise(states)) <= LEGAL

    def no_step_runs_on_when_its_attempt_is_over(self):
        steps = defaultdict(dict)
        for step in JobStep.objects.select_related("job"):
            steps[step.job_id][step.attempt, step.position] = step.status
            if step.status == "running":
                assert (step.job.status, step.job.attempt) == ("running", step.attempt)
            assert bool(step.completed_at) == (step.status != "running")
        for pk, known in self.jobs.items():
            assert steps[pk] == known.steps

    def the_sweep_sees_the_jobs_whose_lease_is_out(self):
        overdue = {pk for pk, known in self.jobs.items() if known.overdue}
        assert set(Job.objects.overdue().values_list("pk", flat=True)) == overdue

    def no_workflow_has_more_jobs_let_in_than_its_limit(self):
        """Where a limit was lowered below what had been let in by then, their number only falls, down to the limit."""
        let_in = dict(Job.objects.admitted().values_list("workflow").annotate(Count("pk")))
        for workflow, limit in self.limits.items():
            number = let_in.get(workflow, 0)
            assert number <= self.most[workflow]
            if limit is not None:
                self.most[workflow] = max(limit, number)

    def teardown(self):
        try:
            self._every_job_comes_to_an_end()
        finally:
            Job.objects.all().delete()
            JobBatch.objects.all().delete()
            Worker.objects.all().delete()
            Workflow.objects.update(current_revision=None)
            WorkflowRevision.objects.all().delete()
            Workflow.objects.all().delete()

    def _every_job_comes_to_an_end(self):
        everything = len(self.jobs)
        self.claim(everything)
        Job.objects.running().update(lease_expires_at=Now() - timedelta(seconds=1))
        for known in self.jobs.values():
            known.overdue = known.status == "running"
        self.sweep()
        self.claim(everything)
        self.inactive = set(Workflow.objects.values_list("pk", flat=True))  # nobody submits any more
        Workflow.objects.update(is_active=False)
        self._let_go_of_what_people_hold()
        while any(known.status in ("pending", "running") for known in self.jobs.values()):
            self.time_moves_on(121)
            self.start_what_is_due()
            self.claim(everything)
            assert any(known.status == "running" for known in self.jobs.values()), "jobs wait for ever"
            self.write(0, "", 1, 1, "", "goes through unheard", together=True)
            self.write(0, "complete", 1, 0, "completed", "is refused", together=True)
            while any(known.status == "running" for known in self.jobs.values()):
                self.write(0, "complete", 0, 0, "completed", "works", together=False)
        self.all_that_is_late_arrives()
        self.all_is_as_the_model_says()
        assert not Job.objects.unfinished().exists()

    def _let_go_of_what_people_hold(self):
        Workflow.objects.filter(concurrency_limit=0).update(concurrency_limit=1)
        for workflow, limit in self.limits.items():
            if limit == 0:
                self.limits[workflow], self.most[workflow] = 1, math.inf
        self.sweep()


def _by_the_clock(control):
    if "available_at" not in control:
        return control
    return control | {"available_at": timezone.now() + timedelta(minutes=control["available_at"])}


def _move(job, how):
    return getattr(job, MOVES.get(how, how))


def _without_texts(event) -> dict:
    if event.kind != "state":
        return event.data
    return {name: value for name, value in event.data.items() if not name.endswith("_text")}


@pytest.mark.django_db(transaction=True)
@mock.patch("jobs.sweep.PATIENCE", 0)
@mock.patch("jobs.models.BACKOFF_FIRST", 600)
@mock.patch("random.uniform", lambda low, high: high)  # so that no backoff is over before the story says so
def test_whatever_happens_a_job_lives_by_the_table_of_moves():
    run_state_machine_as_test(Life)
