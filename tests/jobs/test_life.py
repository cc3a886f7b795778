"""The life of jobs against a model of it: whatever people, workers and the sweep do, in whatever order.

Hypothesis makes up the stories. Claims and readings are kept for ever, so they are used late, twice, and after
the job was taken over or deleted. After each act the rows must be what the model says.
"""

import copy
import itertools
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple
from unittest import mock

import pytest
from django.db import OperationalError, connection
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
from jobs.models import InvalidTransition, Job, JobEvent, JobStep, LeaseLost
from jobs.services import InactiveWorkflow, retry, submit
from jobs.sweep import sweep
from jobs.worker import Attempt, Supervisor
from tests import descriptions
from workflows.models import Workflow, WorkflowRevision

LEASE = timedelta(seconds=30)
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

ARGUMENTS = {
    "complete": lambda result: (result, 0.5),
    "fail": lambda result: ("component_failed", "没有回答", 0.5),
    "stopped": lambda result: (0.5,),
    "release": lambda result: ("runner_lost", "The runner was lost."),
    "hand_back": lambda result: (),
}


@dataclass
class Known:
    """What the model knows of one job."""

    name: str
    max_attempts: int
    retry_of: uuid.UUID | None = None
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
        elif self.attempt - self.spared < self.max_attempts:
            self.move("pending", reason_code_str=code)
        else:
            self.fail(code)

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
        self.numbers = itertools.count(1)

    @initialize(target=workflows)
    def begin(self):
        workspace = Workspace.objects.get_or_create(
            pk=Workspace.DEFAULT_ID, defaults={"name": "Default", "slug": "default"}
        )[0]
        workflows = [self._workflow(workspace, attempts) for attempts in (3, 2, 1)]
        for workflow in workflows:
            self.submit(workflow)
        self.claim(1)
        return multiple(*workflows)

    def _workflow(self, workspace, max_attempts):
        workflow = Workflow.objects.create(workspace=workspace, name=f"最多 {max_attempts}")
        workflow.current_revision = WorkflowRevision.objects.create(
            workflow=workflow,
            number=1,
            content_hash="x",
            pipeline_yaml=descriptions.PROMPT_YAML,
            description=descriptions.PROMPT | {"workflow": {"max_attempts": max_attempts}},
        )
        workflow.save()
        return workflow.pk

    # People

    @rule(target=readings, workflow=workflows)
    def submit(self, workflow):
        workflow = Workflow.objects.select_related("current_revision").get(pk=workflow)
        name = f"第 {next(self.numbers)} 个"
        return self._accepted(workflow, lambda: submit(workflow, DATA, name=name), name)

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
        return self._accepted(job.workflow, lambda: retry(job), known.name, retry_of=job.pk)

    def _accepted(self, workflow, act, name, retry_of=None):
        if workflow.pk in self.inactive:
            with pytest.raises(InactiveWorkflow):
                act()
            return multiple()
        job = act()
        known = Known(name, workflow.current_revision.description["workflow"]["max_attempts"], retry_of)
        known.move("pending")
        self.jobs[job.pk] = known
        return seen(job)

    @rule(workflow=workflows, active=st.booleans())
    def switch_workflow(self, workflow, active):
        if Workflow.objects.kept().filter(pk=workflow).update(is_active=active):
            (self.inactive.discard if active else self.inactive.add)(workflow)

    @rule(workflow=workflows)
    def delete_workflow(self, workflow):
        if Workflow.objects.kept().count() > 1:  # else the story is over
            Workflow.objects.get(pk=workflow).delete()
            self.inactive.add(workflow)

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
        pending = [pk for pk, known in self.jobs.items() if known.status == "pending"]

        jobs = Job.objects.claim(places, LEASE, "here:1")

        assert [job.pk for job in jobs] == pending[:places]
        for job in jobs:
            known = self.jobs[job.pk]
            assert job.lease_token not in known.tokens
            known.attempt += 1
            known.tokens.append(job.lease_token)
            known.move("running")
            assert (job.status, job.attempt) == ("running", known.attempt)
            known.held = job
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
        how=st.sampled_from(["", "complete", "fail", "stopped", "release", "hand_back"]),
        words=st.integers(0, 2),
        starts=st.integers(0, 2),
        ends=st.sampled_from(["", "completed", "failed"]),
        commit=st.sampled_from(["works", "is refused", "goes through unheard"]),
    )
    def write(self, pick, how, words, starts, ends, commit):
        """News, and maybe the attempt's last move, in one transaction; once more, with more news, after an error."""
        known = self._running(pick)
        result = {"答": next(self.numbers)}
        new, ended, events = self._news(known, words, starts, ends)
        attempt = Attempt(known.held, claimed=0.0, new=new, ended=ended, events=events)
        worker = Supervisor()
        worker.attempts.append(attempt)

        def settle():
            worker._settle(attempt, *([getattr(attempt.job, how), *ARGUMENTS[how](result)] if how else []))

        if commit != "works" and (events or how):
            really_commit = connection.commit

            def fail():
                if commit == "goes through unheard":
                    really_commit()
                raise OperationalError("gone")

            with mock.patch.object(connection, "commit", fail):
                settle()
            assert worker.attempts == [attempt]
            if commit == "is refused":
                self.all_is_as_the_model_says()
            self._somebody_else_submits()
            if commit == "is refused" or not how:
                attempt.take({"kind": "token", "component": "提示", "text": "还有"})
        settle()

        worker.selector.close()
        assert worker.attempts == ([] if how else [attempt])
        known.held = attempt.job
        for step in [*new, *ended]:
            known.steps[known.attempt, step.position] = step.status
        known.story += [(event.kind, event.data) for event in events]
        if how == "complete":
            known.result = result
            known.move("completed")
        elif how == "fail":
            known.fail("component_failed")
        elif how == "stopped":
            known.move("cancelled")
        elif how == "release":
            known.give_up("runner_lost")
        elif how == "hand_back":
            known.give_up("handed_back", spared=True)

    def _news(self, known, words, starts, ends):
        mine = {position: status for (attempt, position), status in known.steps.items() if attempt == known.attempt}
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
            self._accepted(workflow, lambda: submit(workflow, DATA, name=name), name)

    @rule()
    def all_that_is_late_arrives(self):
        """Whoever lost a lease, or read a job long ago, acts on: nothing of it counts."""
        for claim in self.claims:
            known = self.jobs.get(claim.pk)
            if known and known.status == "running" and known.attempt == claim.attempt:
                continue
            new, ended, events = self._news(Known("", 0, attempt=claim.attempt), 1, 1, "")
            for write in (
                lambda job=claim.job, news=(new, ended, events): job.record(new=news[0], ended=news[1], events=news[2]),
                *[lambda job=claim.job, how=how: getattr(job, how)(*ARGUMENTS[how]({"答": "晚"})) for how in ARGUMENTS],
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

    @rule()
    def sweep_twice_at_once(self):
        overdue = [known for known in self.jobs.values() if known.overdue]
        first, second = list(Job.objects.overdue()), list(Job.objects.overdue())

        assert len(first) == len(overdue)
        assert all(job.recover() for job in first)
        assert not any(job.recover() for job in second)
        for known in overdue:
            known.give_up("worker_lost")

    # What always holds

    @invariant()
    def all_is_as_the_model_says(self):
        self.the_rows_are_what_the_model_says()
        self.events_tell_the_story_without_a_gap_or_a_repeat()
        self.no_step_runs_on_when_its_attempt_is_over()
        self.the_sweep_sees_the_jobs_whose_lease_is_out()

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
            assert (row["name"], row["retry_of_id"]) == (known.name, known.retry_of)
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

    def teardown(self):
        try:
            self._every_job_comes_to_an_end()
        finally:
            Job.objects.all().delete()
            Workflow.objects.update(current_revision=None)
            WorkflowRevision.objects.all().delete()
            Workflow.objects.all().delete()

    def _every_job_comes_to_an_end(self):
        everything = len(self.jobs)
        self.claim(everything)
        Job.objects.running().update(lease_expires_at=Now() - timedelta(seconds=1))
        for known in self.jobs.values():
            known.overdue = known.status == "running"
        self.all_that_is_late_arrives()
        self.all_is_as_the_model_says()
        self.sweep()
        self.claim(everything)
        self.inactive = set(Workflow.objects.values_list("pk", flat=True))  # nobody submits any more
        Workflow.objects.update(is_active=False)
        while any(known.status == "running" for known in self.jobs.values()):
            self.write(0, "", 1, 1, "", "goes through unheard")
            self.write(0, "complete", 1, 0, "completed", "is refused")
        self.all_that_is_late_arrives()
        self.all_is_as_the_model_says()
        assert not Job.objects.unfinished().exists()


def _without_texts(event) -> dict:
    if event.kind != "state":
        return event.data
    return {name: value for name, value in event.data.items() if not name.endswith("_text")}


@pytest.mark.django_db(transaction=True)
@mock.patch("jobs.sweep.PATIENCE", 0)
def test_whatever_happens_a_job_lives_by_the_table_of_moves():
    run_state_machine_as_test(Life)
