"""Runs jobs: one process claims as many as it has places for and follows all their runs in one loop.

No threads: `selectors` tells which runs have something to say, and the rest is done by the clock. What a run says is
written in batches; every write is fenced by the attempt and the lease token, so that a worker that was taken for dead
can't overwrite what came after it.
"""

import copy
import faulthandler
import logging
import os
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import RawValue

from django.conf import settings
from django.db import DatabaseError, DataError, close_old_connections, transaction

from aiworkflow_project.logging import request_id
from jobs import reports
from jobs.admission import admit
from jobs.claims import claim
from jobs.models import Job, JobEvent, JobStep, LeaseLost
from workflows import engine
from workflows.services import PipelineRefused

logger = logging.getLogger(__name__)

# Shared with the cluster's other processes, forked later; a plain byte, so that nobody can die holding its lock.
draining = RawValue("b", 0)

TICK = 0.1  # seconds between two looks at the clock, the queue and the cancel requests
FEW = 3  # runs under way, of which each is written at once
GATHER, GATHER_LONGEST = 0.03, 0.1  # seconds that what more of them say waits for the rest
WRITING = 0.1  # of the time, and less, unless so much would have to wait for longer
LISTEN = 0.01  # seconds from one look at what they say to the next, while something waits to be written
PLENTY = 64 * 1024  # bytes: who says so much in between is heard without a pause, since buffers are not much larger
TOGETHER = 16 * 1024 * 1024  # bytes of what several runs said that one transaction writes
GRACE = 4.0  # seconds that a run that was told to stop may take; the runner kills it after two
RUNNER_PAUSE = 1.0  # seconds between two looks for a runner, while none answers
START_PATIENCE = 20.0  # seconds to wait for a runner that does not answer
TOKENS_TOGETHER = 0.1  # seconds of tokens that make one event


_runner_was_away = False  # whether jobs were given back lately because no runner answered


def work() -> None:
    """Claim and run pending jobs until none is pending and none is running here.

    After a time without a runner nothing is claimed until one answers: the jobs wait as pending ones.
    """
    global _runner_was_away
    if _runner_was_away and engine.runner_status() is None:
        logger.warning("No runner answers yet: pending jobs wait.")
        time.sleep(RUNNER_PAUSE)  # whoever woke us sees them still pending, and would wake us again at once
        return
    _runner_was_away = False
    Supervisor().work()


def name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(eq=False)
class Attempt:
    """One job under way: its run, what the run said that is not written yet, and its clocks (monotonic seconds)."""

    job: Job
    claimed: float
    run: engine.Run | None = None
    started: float = 0.0
    over: float | None = None
    stopped: float | None = None  # when the run was told to stop, and why
    stop_code: str = ""
    lost: bool = False
    steps: dict[int, JobStep] = field(default_factory=dict)  # by position
    new: list[JobStep] = field(default_factory=list)
    ended: list[JobStep] = field(default_factory=list)
    events: list[JobEvent] = field(default_factory=list)
    news_since: float | None = None  # when the first of what is not written came
    written_bytes: int = 0  # of what the run said
    tried: int = 0  # so many of the events may be written already: the database did not say

    @property
    def is_over(self) -> bool:
        """Whether the run has given its answer, or can't give one any more."""
        return self.run is not None and (self.lost or self.run.ended or self.run.outcome is not None)

    @property
    def seconds(self) -> float:
        """How long the run took, or takes by now."""
        return round((self.over or time.monotonic()) - self.started, 6) if self.started else 0.0

    def take(self, message: dict) -> None:
        """Turn a message of the runner into rows to be written."""
        match message["kind"]:
            case "step_started":
                step = JobStep(
                    position=message["position"],
                    component=message["component"][:255],
                    component_type=message["component_type"][:255],
                    visit=message["visit"],
                    started_at=datetime.fromtimestamp(message["at"], UTC),
                    input_preview=message.get("input"),
                )
                self.steps[step.position] = step
                self.new.append(step)
                self._tell_step(step)
            case "step_finished" | "step_failed" as kind:
                step = self.steps[message["position"]]
                step.status = JobStep.Status.COMPLETED if kind == "step_finished" else JobStep.Status.FAILED
                step.completed_at = datetime.fromtimestamp(message["at"], UTC)
                step.execution_seconds = message["seconds"]
                step.output_preview = message.get("output")
                step.error_message = message.get("message", "")
                if step not in self.new:
                    self.ended.append(step)
                self._tell_step(step)
            case "token":
                self._tell_token(message["component"], message["text"])

    def _tell_step(self, step: JobStep) -> None:
        data = {
            "position_int": step.position,
            "component_name_str": step.component,
            "visit_int": step.visit,
            "status_str": step.status,
            "execution_time_seconds": step.execution_seconds,
        }
        self._tell(JobEvent(kind=JobEvent.Kind.STEP, data=data))

    def _tell(self, event: JobEvent) -> None:
        self.events.append(event)
        if self.news_since is None:
            self.news_since = time.monotonic()

    def _tell_token(self, component: str, text: str) -> None:
        last = self.events[-1] if len(self.events) > self.tried else None
        if last and last.kind == JobEvent.Kind.TOKEN and last.data["component_name_str"] == component:
            last.data["text"] += text
        else:
            data = {"component_name_str": component, "text": text}
            self._tell(JobEvent(kind=JobEvent.Kind.TOKEN, data=data))

    def has_news(self, now: float, patience: float) -> bool:
        """Whether there is something to write that has waited for so many seconds, or longer where it is tokens."""
        if self.news_since is None:
            return False
        tokens_alone = not self.new and not self.ended
        return now - self.news_since >= (TOKENS_TOGETHER if tokens_alone else patience)

    def report(self, now: float, patience: float) -> reports.Report | None:
        """What has gathered, with the result where there is one; None when that is nothing, is not all, or may wait."""
        news = (self.job, self.new, self.ended, self.events)
        if self.tried:
            return None
        if not self.is_over:
            return reports.Report(*news) if self.has_news(now, patience) else None
        if not (self.run.outcome and self.run.outcome["kind"] == "result") or any(
            step.status == JobStep.Status.RUNNING for step in self.steps.values()
        ):
            return None
        return reports.Report(*news, is_complete=True, result=self.run.outcome["result"], seconds=self.seconds)

    def write(self) -> None:
        """Write what has gathered. Raises LeaseLost when the job is no longer ours."""
        if self.events:
            self.job.record(new=self.new, ended=self.ended, events=self.events)

    @property
    def unwritten_bytes(self) -> int:
        return self._received - self.written_bytes

    @property
    def _received(self) -> int:
        return self.run.received if self.run else 0

    def was_written(self) -> None:
        self.new, self.ended, self.events, self.news_since, self.tried = [], [], [], None, 0
        self.written_bytes = self._received


class Supervisor:
    def __init__(self):
        self.places = settings.JOBS_PER_WORKER
        self.lease = timedelta(seconds=settings.JOB_LEASE_SECONDS)
        self.attempts: list[Attempt] = []
        self.selector = selectors.DefaultSelector()
        self.renewed = 0.0
        self.looked = 0.0
        self.claimed = 0.0
        self.written = 0.0
        self.gather = GATHER
        self.heard = 0  # bytes, when the runs were last listened to
        self.more_wait = True
        self.drain_by: float | None = None
        self.runner_answers = True

    def work(self) -> None:
        try:
            while True:
                self._note_drain()
                self._claim()
                if not self.attempts:
                    return
                self._start_waiting_runs()
                self._follow()
                self._keep_leases()
                self._watch_clocks()
        finally:
            faulthandler.cancel_dump_traceback_later()
            for attempt in self.attempts:  # an error of ours: the runs end with us, the leases run out
                if attempt.run:
                    attempt.run.kill()
            self.selector.close()

    # Claim

    def _claim(self) -> None:
        free = self.places - len(self.attempts)
        now = time.monotonic()
        if free <= 0 or self.drain_by is not None or not self.runner_answers:
            return
        if self.attempts and not self.more_wait and now - self.claimed < TICK:
            return
        self.claimed = now
        try:
            jobs = claim(free, self.lease, name())
        except DatabaseError:
            logger.warning("The database could not be asked for jobs.", exc_info=True)
            close_old_connections()
            return
        self.more_wait = len(jobs) == free
        if jobs and not self.attempts:
            self._lease_is_good(now)
        for job in jobs:
            with request_id(job.request_id):
                logger.info("Job %s: attempt %d starts.", job.pk, job.attempt)
            self.attempts.append(Attempt(job, claimed=now))

    def _start_waiting_runs(self) -> None:
        global _runner_was_away
        self.runner_answers = True
        for attempt in [attempt for attempt in self.attempts if attempt.run is None]:
            if attempt.stop_code:
                continue
            try:
                self._start(attempt)
            except engine.RunnerUnavailable:
                self.runner_answers = False
                if time.monotonic() - attempt.claimed > START_PATIENCE:
                    logger.error("No runner answers: job %s goes back to the queue.", attempt.job.pk)
                    _runner_was_away = True
                    self._settle(attempt, attempt.job.hand_back)
                continue
            except engine.TriggerDataRefused as refused:
                self._settle(attempt, attempt.job.fail, "input_invalid", str(refused), 0.0)
            except PipelineRefused as refused:
                self._settle(attempt, attempt.job.fail, "pipeline_refused", str(refused), 0.0)

    def _start(self, attempt: Attempt) -> None:
        job = attempt.job
        # Once more: the operator may have tightened the policy since the revision was saved.
        problems = [problem for problem in engine.static_check(job.revision.pipeline_yaml) if problem.is_error]
        if problems:
            raise PipelineRefused(problems)
        attempt.run = engine.start_run(
            job.revision.pipeline_yaml,
            job.revision.description,
            engine.accept(job.revision.description, job.trigger_data),
            seconds=job.timeout_seconds,
            documents_dir=settings.DATA_DIR / "documents" / str(job.workspace_id),
            # Whatever ended the first attempt, that of others that shared its process or its own: not once more.
            alone=job.attempt > 1,
            labels={"job": str(job.pk), "attempt": job.attempt, "request_id": job.request_id},
        )
        attempt.started = time.monotonic()
        self.selector.register(attempt.run, selectors.EVENT_READ, attempt)

    # Follow

    def _follow(self) -> None:
        """Read what the runs have to say, write it, and conclude those that are over."""
        self._listen(self._patience)
        patience, now = self._patience, time.monotonic()
        if now - self.written < patience:
            return
        self._report(now, patience)
        for attempt in list(self.attempts):
            if attempt.is_over:  # again on each round, until the database has taken it
                self._conclude(attempt)
            elif attempt.has_news(now, patience):
                self._settle(attempt)

    @property
    def _patience(self) -> float:
        """Seconds that what a run says may wait for what others say, while there are others."""
        wait = len(self.attempts) > FEW and not all(attempt.is_over for attempt in self.attempts)
        return self.gather if wait else 0.0

    def _listen(self, patience: float) -> None:
        seconds = TICK
        if patience and any(attempt.events and not attempt.tried for attempt in self.attempts):
            # What comes now is not written at once anyhow, and to wake for each word of it would take the processor
            # from those that speak.
            seconds = LISTEN
            if self.heard < PLENTY:
                time.sleep(LISTEN)
                seconds = 0
        self.heard = 0
        for key, _events in self.selector.select(seconds):
            attempt = key.data
            before = attempt.run.received
            try:
                for message in attempt.run.receive():
                    attempt.take(message)
            except engine.RunnerLost:
                attempt.lost = True
            self.heard += attempt.run.received - before
            if attempt.is_over:
                attempt.over = time.monotonic()
                self.selector.unregister(attempt.run)

    def _report(self, now: float, patience: float) -> None:
        """Write together what is plain. After an error each attempt goes the careful way."""
        plain = [(attempt, report) for attempt in self.attempts if (report := attempt.report(now, patience))]
        if not plain:
            return
        self.written = now
        for some in _portions(plain):
            try:
                written = reports.write([report for _, report in some])
            except DatabaseError:
                logger.warning("The database did not take what %d jobs did: one by one.", len(some), exc_info=True)
                close_old_connections()
                for attempt, _ in some:
                    attempt.tried = len(attempt.events)
                continue
            for attempt, report in some:
                if report in written:
                    self._was_written(attempt, is_over=report.is_complete)
                else:
                    self._lose(attempt)
        self.gather = min(max(GATHER, (time.monotonic() - now) / WRITING), GATHER_LONGEST)

    def _conclude(self, attempt: Attempt) -> None:
        job, outcome = attempt.job, attempt.run.outcome
        if outcome and outcome["kind"] == "result":
            self._settle(attempt, job.complete, outcome["result"], attempt.seconds)
        elif attempt.stop_code == "cancelled":
            self._settle(attempt, job.stopped, attempt.seconds)
        elif attempt.lost:
            logger.error("The runner was lost during job %s.", job.pk)
            self._settle(attempt, job.release, "runner_lost", "The runner that ran the job was lost.")
        elif outcome["code"] == "resident_ended":
            self._settle(attempt, job.hand_back, "resident_ended", outcome["message"])
        elif attempt.stop_code == "timed_out" or outcome["code"] == "timed_out":
            self._settle(attempt, job.fail, "timed_out", _over_the_limit(job), attempt.seconds)
        else:
            where = f"{outcome['component']}: " if outcome.get("component") else ""
            told = (outcome["code"], where + outcome["message"], attempt.seconds, outcome.get("transient", False))
            self._settle(attempt, job.fail, *told)

    def _settle(self, attempt: Attempt, finish=None, *args) -> None:
        """Write what has gathered and, with `finish`, make the attempt's last move, in one transaction.

        A database that does not answer leaves the attempt as it is, and it is tried again on the next round, until
        the watchdog ends us before the leases are out. What it can't store at all makes the job fail.
        """
        job, claimed = attempt.job, copy.copy(attempt.job)
        with request_id(job.request_id):
            try:
                with transaction.atomic():
                    attempt.write()
                    if finish:
                        finish(*args)
            except LeaseLost:
                self._lose(attempt)
            except DataError as refused:
                self._not_stored(attempt, finish, refused)
            except DatabaseError:
                logger.warning("The database did not take what job %s did.", job.pk, exc_info=True)
                close_old_connections()
                attempt.job = claimed  # a move that was rolled back has told ours that the lease is gone
                attempt.tried = len(attempt.events)
            else:
                self._was_written(attempt, is_over=finish is not None)

    def _was_written(self, attempt: Attempt, *, is_over: bool) -> None:
        attempt.was_written()
        if is_over:
            job = attempt.job
            with request_id(job.request_id):
                logger.info("Job %s: %s.", job.pk, job.status)
            self._drop(attempt)
            self._let_the_next_in(job)

    def _let_the_next_in(self, job: Job) -> None:
        """Where the workflow has a limit, there is room again. The sweep does it too, a little later."""
        if job.workflow_limit is None:
            return
        try:
            admit(job.workflow_id)
            self.more_wait = True
        except DatabaseError:
            logger.warning("The next job of a limited workflow could not be let in.", exc_info=True)
            close_old_connections()

    def _not_stored(self, attempt: Attempt, finish, refused: DataError) -> None:
        logger.error("The database can't store what job %s did.", attempt.job.pk, exc_info=refused)
        if finish == attempt.job.fail:  # not even that: the lease runs out, and the sweep finds the job
            self._drop(attempt)
            return
        attempt.was_written()
        self._settle(attempt, attempt.job.fail, "result_not_stored", f"The database: {refused}"[:500], attempt.seconds)

    def _lose(self, attempt: Attempt) -> None:
        logger.warning("Job %s is no longer ours: attempt %d is dropped.", attempt.job.pk, attempt.job.attempt)
        self._drop(attempt)

    def _drop(self, attempt: Attempt) -> None:
        if attempt.run:
            if not attempt.is_over:
                self.selector.unregister(attempt.run)
            attempt.run.kill()
        self.attempts.remove(attempt)

    # Clocks

    def _keep_leases(self) -> None:
        """Renew our leases, and learn which jobs we lost and which are to be cancelled."""
        now = time.monotonic()
        if not self.attempts or now - self.looked < 5 * TICK:
            return
        self.looked = now
        by_id = {attempt.job.pk: attempt for attempt in self.attempts}
        mine = Job.objects.running().filter(
            pk__in=by_id, lease_token__in={attempt.job.lease_token for attempt in self.attempts}
        )
        try:
            if now - self.renewed > self.lease.total_seconds() / 4:
                mine.renew(self.lease)
                self._lease_is_good(now)
            found = dict(mine.values_list("pk", "cancel_requested_at"))
        except DatabaseError:
            logger.warning("The leases could not be renewed.", exc_info=True)
            close_old_connections()
            return
        for job_id, attempt in by_id.items():
            if attempt.is_over:
                continue  # its last write is fenced, and says for itself whether the job was still ours
            if job_id not in found:
                self._lose(attempt)
            elif found[job_id] and not attempt.stop_code:
                self._stop(attempt, "cancelled")

    def _lease_is_good(self, since: float) -> None:
        """Re-arm the watchdog: a thread in C that ends this process, whatever hangs, before the leases are out."""
        self.renewed = since
        left = 0.8 * self.lease.total_seconds() - (time.monotonic() - since)
        faulthandler.dump_traceback_later(max(left, 0.001), exit=True)

    def _watch_clocks(self) -> None:
        now = time.monotonic()
        for attempt in list(self.attempts):
            if attempt.is_over:
                continue
            if attempt.stopped is not None and now - attempt.stopped > GRACE:
                self._end_by_force(attempt)
            elif attempt.run and not attempt.stop_code and now - attempt.started > attempt.job.timeout_seconds + 1:
                self._stop(attempt, "timed_out")  # the run's own alarm should have rung
            elif self.drain_by is not None and now > self.drain_by:
                self._settle(attempt, attempt.job.hand_back)

    def _stop(self, attempt: Attempt, code: str) -> None:
        attempt.stop_code = code
        if attempt.run is None:
            self._settle(attempt, attempt.job.stopped, 0.0)
            return
        attempt.stopped = time.monotonic()
        attempt.run.stop()

    def _end_by_force(self, attempt: Attempt) -> None:
        job = attempt.job
        if attempt.stop_code == "cancelled":
            self._settle(attempt, job.stopped, attempt.seconds)
        else:
            self._settle(attempt, job.fail, "timed_out", _over_the_limit(job), attempt.seconds)

    def _note_drain(self) -> None:
        if draining.value and self.drain_by is None:
            self.drain_by = time.monotonic() + settings.DRAIN_SECONDS


def _over_the_limit(job: Job) -> str:
    return f"The run was ended at its time limit of {job.timeout_seconds} s."


def _portions(plain: list[tuple[Attempt, reports.Report]]) -> Iterator[list[tuple[Attempt, reports.Report]]]:
    """In the same order, each of `TOGETHER` bytes at most, or of one report: all of it is in memory several times, and
    is one parameter on PostgreSQL, which takes no more than a gigabyte."""
    portion, size = [], 0
    for attempt, report in plain:
        size += attempt.unwritten_bytes
        if portion and size > TOGETHER:
            yield portion
            portion, size = [], attempt.unwritten_bytes
        portion.append((attempt, report))
    yield portion
