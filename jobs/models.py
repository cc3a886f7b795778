"""What a job is: one run of a revision, its steps and events, and the table of moves it may make."""

import random
import uuid
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiworkflow_project.db.conflicts import retried
from aiworkflow_project.db.inserts import insert
from jobs import search
from jobs.lifetimes import NEAR, LivedLong
from workflows.fields import AnyTextField, JSONTextField


class InvalidTransition(Exception):
    """A job was asked to make a move that its state does not allow."""


class LeaseLost(Exception):
    """The job is no longer this worker's: it ended, was taken over, or was put back. Write nothing more."""


LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
BACKOFF_FIRST, BACKOFF_LONGEST = 5.0, 900.0  # seconds

# The order of a queue: the most urgent first, then who has waited longest.
QUEUE_ORDER = ("-priority", "available_at", "id")


class JobQuerySet(models.QuerySet):
    def in_workspace(self, workspace):
        return self.filter(workspace=workspace)

    def named_like(self, text: str):
        """Those whose name contains `text`, in any case."""
        return search.named_like(self, text)

    def pending(self):
        return self.filter(status=Job.Status.PENDING)

    def running(self):
        return self.filter(status=Job.Status.RUNNING)

    def ready(self):
        """Pending jobs that any worker with a free place may claim."""
        return self.pending().filter(waits_for=Job.WaitsFor.WORKER)

    def waiting_for_room(self):
        """Pending jobs that would exceed their workflow's limit."""
        return self.pending().filter(waits_for=Job.WaitsFor.ROOM)

    def waiting_for_time(self):
        """Pending jobs that are not to start yet: their time, or the end of a backoff, is to come."""
        return self.pending().filter(waits_for=Job.WaitsFor.TIME)

    def due(self):
        """Those of them whose time has come. By priorities, since that is what the index has before the time."""
        return self.waiting_for_time().filter(priority__in=Job.PRIORITIES, available_at__lte=Now())

    def admitted(self):
        """Jobs that take up the room of their workflow: they run, or nothing but a free worker keeps them from it."""
        return self.filter(
            models.Q(status=Job.Status.RUNNING) | models.Q(status=Job.Status.PENDING, waits_for=Job.WaitsFor.WORKER)
        )

    def unfinished(self):
        return self.filter(status__in=[Job.Status.PENDING, Job.Status.RUNNING])

    def overdue(self):
        """Running jobs whose worker has not renewed its lease in time, by the database's clock.

        A lease that ends later than any can was given before that clock was set back, and is out too.
        """
        too_far = Now() + 2 * timedelta(seconds=settings.JOB_LEASE_SECONDS)
        return self.running().filter(models.Q(lease_expires_at__lt=Now()) | models.Q(lease_expires_at__gt=too_far))

    def renew(self, lease: timedelta) -> int:
        return self.update(lease_expires_at=Now() + lease)


class JobBatch(models.Model):
    """Jobs that were submitted together."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey("accounts.Workspace", on_delete=models.PROTECT, related_name="+")
    workflow = models.ForeignKey(
        "workflows.Workflow", on_delete=models.PROTECT, related_name="+", verbose_name=_("workflow")
    )
    name = models.CharField(_("name"), max_length=255, blank=True, default="")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        db_table = "ai_workflow_job_batch"
        verbose_name = _("batch")
        verbose_name_plural = _("batches")

    def __str__(self):
        return self.name or str(self.id)[:8]

    def by_status(self) -> dict[str, int]:
        """How many jobs it has in each state."""
        counted = self.jobs.values_list("status").annotate(number=models.Count("id"))
        return dict.fromkeys(Job.Status.values, 0) | dict(counted)


class Job(models.Model):
    """One run of a workflow's revision on given trigger data.

    The row is the truth and the queue only wakes workers up. Every move is one conditional UPDATE; whoever
    loses the race gets InvalidTransition (a person) or LeaseLost (a worker) and writes nothing.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("pending")
        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    class WaitsFor(models.TextChoices):
        """What a pending job waits for. Only the first kind is looked at when a worker claims."""

        WORKER = "worker", _("a worker")
        TIME = "time", _("its time")
        ROOM = "room", _("room within its workflow's limit")

    FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
    PRIORITIES = range(10)
    REACHED_FROM = {
        Status.PENDING: [Status.RUNNING],  # its worker or its runner was lost, and attempts are left
        Status.RUNNING: [Status.PENDING],
        Status.COMPLETED: [Status.RUNNING],
        Status.FAILED: [Status.RUNNING],
        Status.CANCELLED: [Status.PENDING, Status.RUNNING],
    }

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(
        "accounts.Workspace", on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("workspace")
    )
    workflow = models.ForeignKey(
        "workflows.Workflow", on_delete=models.PROTECT, related_name="jobs", db_index=False, verbose_name=_("workflow")
    )
    revision = models.ForeignKey(
        "workflows.WorkflowRevision", on_delete=models.PROTECT, related_name="jobs", verbose_name=_("revision")
    )
    name = models.CharField(_("name"), max_length=255, blank=True, default="")
    trigger_data = JSONTextField(_("trigger data"))
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.PENDING)
    result = JSONTextField(_("result"), null=True)
    error_code = models.CharField(_("error code"), max_length=40, blank=True, default="")
    error_message = AnyTextField(_("error"), blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("created by")
    )
    retry_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="retries", verbose_name=_("retry of")
    )
    batch = models.ForeignKey(
        JobBatch, on_delete=models.SET_NULL, null=True, blank=True, related_name="jobs", verbose_name=_("batch")
    )
    request_id = models.CharField(_("request id"), max_length=64, blank=True, default="")
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)
    started_at = models.DateTimeField(_("started"), null=True, editable=False)
    completed_at = models.DateTimeField(_("completed"), null=True, editable=False)
    execution_seconds = models.FloatField(_("duration"), null=True, editable=False)

    priority = models.PositiveSmallIntegerField(
        _("priority"),
        default=5,
        db_default=5,
        validators=[MinValueValidator(PRIORITIES.start), MaxValueValidator(PRIORITIES.stop - 1)],
    )
    timeout_seconds = models.PositiveIntegerField(
        _("time limit"), validators=[MinValueValidator(1), MaxValueValidator(86_400)]
    )
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    max_attempts = models.PositiveSmallIntegerField(
        _("attempts at most"), validators=[MinValueValidator(1), MaxValueValidator(10)]
    )
    retry_on = models.CharField(_("tried again after"), max_length=255, blank=True, default="", db_default="")
    waits_for = models.CharField(
        _("waits for"), max_length=10, choices=WaitsFor.choices, default=WaitsFor.WORKER, db_default="worker"
    )
    # From when on it may be tried: its creation, the time that was asked for, or the end of a backoff. The database's
    # own default, for a release that does not know the column, is a constant: MatrixOne takes no expression there.
    available_at = models.DateTimeField(_("not before"), default=timezone.now, db_default=LONG_AGO)
    # Attempts that do not count towards max_attempts: a planned stop ended them, not a fault.
    spared_attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    worker_name = models.CharField(_("worker"), max_length=120, blank=True, default="")
    cancel_requested_at = models.DateTimeField(_("cancel asked for"), null=True, editable=False)
    event_seq = models.PositiveIntegerField(default=1, editable=False)  # the last event's number
    # True once retention took its steps and events, until then NULL: a column that may be null is added at once to a
    # table of any size, on every database.
    steps_pruned = models.BooleanField(null=True, editable=False)

    objects = JobQuerySet.as_manager()
    near = NEAR

    class Meta:
        db_table = "ai_workflow_job"
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status="running", lease_token__isnull=False, lease_expires_at__isnull=False)
                | (~models.Q(status="running") & models.Q(lease_token=None, lease_expires_at=None)),
                name="a_running_job_has_a_lease",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["pending", "running"], completed_at=None)
                | models.Q(status__in=["completed", "failed", "cancelled"], completed_at__isnull=False),
                name="a_job_that_is_over_has_an_end",
            ),
        ]
        # Each list order ends in the tie-breaker: without it SQLite sorts everything that a filter matches.
        # By `fields`: MariaDB has no indexes on expressions, and would be left without.
        indexes = [
            models.Index(fields=["workspace", "-created_at", "-id"], name="job_by_age"),
            models.Index(fields=["workspace", "status", "-created_at", "-id"], name="job_by_status"),
            models.Index(fields=["workspace", "workflow", "-created_at", "-id"], name="job_by_workflow"),
            models.Index(
                fields=["workflow", "status", "waits_for", "-priority", "available_at", "id"], name="job_for_room"
            ),
            models.Index(fields=["workflow", "steps_pruned", "completed_at"], name="job_to_prune"),
            models.Index(fields=["workspace", "-updated_at", "-id"], name="job_by_change"),
            models.Index(fields=["workspace", "-completed_at", "-id"], name="job_by_end"),
            models.Index(fields=["status", "waits_for", "-priority", "available_at", "id"], name="job_ready"),
            models.Index(fields=["workspace", "-started_at", "-id"], name="job_by_start"),
            models.Index(fields=["workspace", "-execution_seconds", "-id"], name="job_by_duration"),
            models.Index(fields=["workspace", "-name", "-id"], name="job_by_name"),
            models.Index(fields=["workspace", "-status", "-id"], name="job_by_state"),
            models.Index(
                fields=["workspace", "workflow", "status", "-created_at", "-id"], name="job_by_workflow_status"
            ),
            models.Index(fields=["status", "lease_expires_at"], name="job_lease"),
            models.Index(
                fields=["workspace", "-updated_at"], name="job_that_lived_long", condition=models.Q(LivedLong())
            ),
        ]

    def __str__(self):
        return self.name or f"{str(self.id)[:8]}"

    @property
    def is_over(self) -> bool:
        return self.status in self.FINAL

    def state_event(self, lost: tuple[str, str] | None = None, *, status: str = "") -> "JobEvent":
        """The (unsaved) event that says which state the job is in, or will be, under its current event number.

        `lost` is the code and the text that say why a job is pending again.
        """
        data = {"status_str": status or self.status, "attempt_int": self.attempt}
        if self.error_code:
            data |= {"error_code_str": self.error_code, "error_message_text": self.error_message}
        if lost:
            data |= {"reason_code_str": lost[0], "reason_text": lost[1]}
        return JobEvent(job_id=self.pk, seq=self.event_seq, kind=JobEvent.Kind.STATE, data=data)

    @retried
    def rename(self, name: str) -> None:
        Job.objects.filter(pk=self.pk).update(name=name, updated_at=timezone.now())
        self.refresh_from_db()

    # Moves of people and of the sweep: by state alone.

    @retried
    def cancel(self) -> None:
        """Cancel a pending job at once; of a running one, ask its worker to stop it.

        Raises InvalidTransition when the job is over. Asking twice is harmless.
        """
        now = timezone.now()
        while not self._move(Job.objects.pending(), Job.Status.CANCELLED, **self.ending(now)):
            asked = (
                Job.objects.running()
                .filter(pk=self.pk)
                .update(cancel_requested_at=Coalesce("cancel_requested_at", now), updated_at=now)
            )
            self.refresh_from_db()
            if asked:
                return
            if self.is_over:
                said = _("A %(status)s job cannot be cancelled.")
                raise InvalidTransition(said % {"status": self.get_status_display()})
            # It was neither, so it was put back between the two: once more.

    @retried
    def recover(self) -> bool:
        """Take an overdue job from its lost worker: back to pending while attempts are left, else failed.

        A job that was to be cancelled becomes cancelled. Returns False when the job has moved on meanwhile, or its
        lease was renewed since the job was read.
        """
        lost = Job.objects.overdue().filter(
            lease_token=self.lease_token, attempt=self.attempt, lease_expires_at=self.lease_expires_at
        )
        return self._give_up(lost, "worker_lost", "The worker that ran the job was lost.")

    # Moves of the worker that holds the lease: by state, attempt and token.

    def mine(self):
        """The job's row, for as long as this attempt at it is under way: the fence of all that its worker writes."""
        return Job.objects.running().filter(attempt=self.attempt, lease_token=self.lease_token)

    def release(self, code: str, reason: str) -> None:
        """Give the job up without an answer (its runner died): pending again while attempts are left, else failed."""
        if not self._give_up(self.mine(), code, reason):
            raise LeaseLost

    def hand_back(self, code: str = "handed_back", reason: str = "The worker was stopped as planned.") -> None:
        """Give the job back to the queue for no fault of its own; the attempt does not count."""
        if not self._give_up(self.mine(), code, reason, spared=True):
            raise LeaseLost

    def record(self, *, new: list["JobStep"], ended: list["JobStep"], events: list["JobEvent"]) -> None:
        """Write what happened in this attempt: steps that are new, steps that ended, and events, numbered on.

        May be asked again for the same and more, when a database error left open whether it was written. Raises
        LeaseLost, and writes nothing, when the job is no longer ours.
        """
        with transaction.atomic(savepoint=False):
            ours = self.mine().filter(pk=self.pk).update(event_seq=models.F("event_seq") + len(events))
            if ours:
                self._write(new, ended, events)
        if not ours:
            raise LeaseLost

    def _write(self, new, ended, events) -> None:
        last = Job.objects.values_list("event_seq", flat=True).get(pk=self.pk)
        # While we hold the lease nobody else tells of the job. What is there already we wrote, in a transaction whose
        # commit went through although we heard of an error: it is not written twice.
        told = max(last - len(events) - self.event_seq, 0)
        if told:
            last, events = last - told, events[told:]
            Job.objects.filter(pk=self.pk).update(event_seq=last)
            known = set(self.steps.filter(attempt=self.attempt).values_list("position", flat=True))
            ended = [*ended, *(step for step in new if step.position in known)]
            new = [step for step in new if step.position not in known]
        for seq, event in enumerate(events, start=last - len(events) + 1):
            event.job_id, event.seq = self.pk, seq
        insert(events)
        for step in new:
            step.job_id, step.attempt = self.pk, self.attempt
        insert(new)
        self.end_steps(ended)
        self.event_seq = last

    def end_steps(self, ended: list["JobStep"]) -> None:
        """Write how steps of this attempt ended. By position: their keys are not read back when they are inserted."""
        for step in ended:
            self.steps.filter(attempt=self.attempt, position=step.position).update(**step.ending())

    def complete(self, result, seconds: float) -> None:
        self._finish(Job.Status.COMPLETED, seconds, result=result)

    def fail(self, code: str, message: str, seconds: float, transient: bool = False) -> None:
        """The run failed: that is the end, or, where `retry_on` names such an error, the attempt's only.

        Then the job is pending again, and not before a backoff is over.
        """
        if self._is_retried_after(code, transient) and self._tries < self.max_attempts:
            if not self._give_up(self.mine(), code, message, delay=backoff(self._tries)):
                raise LeaseLost
        else:
            self._finish(Job.Status.FAILED, seconds, error_code=code, error_message=message)

    def _is_retried_after(self, code: str, transient: bool) -> bool:
        reasons = self.retry_on.split(",")
        return code in reasons or (transient and "transient" in reasons)

    @property
    def _tries(self) -> int:
        """Attempts that count."""
        return self.attempt - self.spared_attempts

    def stopped(self, seconds: float) -> None:
        """The run was ended because somebody asked for cancel."""
        self._finish(Job.Status.CANCELLED, seconds)

    def _finish(self, status: Status, seconds: float, **changes) -> None:
        with transaction.atomic(savepoint=False):
            ended = self.ending(timezone.now())
            moved = self._move(self.mine(), status, **ended, execution_seconds=seconds, **changes)
            if moved:
                self._stop_open_steps()
        if not moved:  # raised out here, so that it does not spoil a caller's transaction
            raise LeaseLost

    def _give_up(self, candidates, code: str, reason: str, *, spared=False, delay: timedelta | None = None) -> bool:
        now, tries = timezone.now(), self._tries
        # Cancel may be asked for at any moment, and is never taken back: each UPDATE looks for itself, and one fits.
        unasked, asked = candidates.filter(cancel_requested_at=None), candidates.exclude(cancel_requested_at=None)
        with transaction.atomic(savepoint=False):
            if spared or tries < self.max_attempts:
                back = {"lease_token": None, "lease_expires_at": None, "started_at": None}
                if spared:
                    back["spared_attempts"] = models.F("spared_attempts") + 1
                if delay is not None:
                    back |= {"waits_for": Job.WaitsFor.TIME, "available_at": Now() + delay}
                moved = self._move(unasked, Job.Status.PENDING, lost=(code, reason), **back)
            else:
                failure = {"error_code": code, "error_message": f"{reason} It was tried {tries} times."}
                moved = self._move(unasked, Job.Status.FAILED, **self.ending(now), **failure)
            moved = moved or self._move(asked, Job.Status.CANCELLED, **self.ending(now))
            if moved:
                self._stop_open_steps()
        return moved

    def _stop_open_steps(self) -> None:
        self.steps.filter(attempt=self.attempt, status=JobStep.Status.RUNNING).update(
            status=JobStep.Status.STOPPED, completed_at=timezone.now()
        )

    @staticmethod
    def ending(now) -> dict:
        """What every end of a job sets."""
        return {"completed_at": now, "lease_token": None, "lease_expires_at": None}

    def _move(self, candidates, status: Status, *, lost: tuple[str, str] | None = None, **changes) -> bool:
        """Move to `status` in one UPDATE that succeeds only from an allowed state, and record the event."""
        with transaction.atomic(savepoint=False):
            moved = candidates.filter(pk=self.pk, status__in=self.REACHED_FROM[status]).update(
                status=status,
                updated_at=timezone.now(),
                event_seq=models.F("event_seq") + 1,
                **changes,
            )
            if moved:
                self.refresh_from_db()
                self.state_event(lost).save(force_insert=True)
        return bool(moved)


def backoff(tries: int) -> timedelta:
    """How long to wait before the next attempt: at random up to 5 s, 10 s, 20 s, …, at most 15 minutes.

    Exponential with full jitter, so that jobs that failed together do not come back together (M. Brooker, "Exponential
    Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    longest = min(BACKOFF_LONGEST, BACKOFF_FIRST * 2 ** (tries - 1))
    return timedelta(seconds=random.uniform(0, longest))  # noqa: S311 - nobody is kept out by it


class JobStep(models.Model):
    """One component's turn in an attempt."""

    class Status(models.TextChoices):
        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")
        FAILED = "failed", _("failed")
        STOPPED = "stopped", _("stopped")  # the attempt ended around it

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="steps", db_index=False)
    attempt = models.PositiveSmallIntegerField(_("attempt"))
    position = models.PositiveIntegerField(_("position"))  # 1, 2, … in the order in which the steps started
    component = models.CharField(_("component"), max_length=255)
    component_type = models.CharField(_("type"), max_length=255)
    visit = models.PositiveIntegerField(_("visit"), default=1)  # the component's nth turn in this attempt
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.RUNNING)
    started_at = models.DateTimeField(_("started"))
    completed_at = models.DateTimeField(_("completed"), null=True)
    execution_seconds = models.FloatField(_("duration"), null=True)
    input_preview = JSONTextField(_("input"), null=True)
    output_preview = JSONTextField(_("output"), null=True)
    error_message = AnyTextField(_("error"), blank=True, default="")

    class Meta:
        db_table = "ai_workflow_job_step"
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        constraints = [models.UniqueConstraint(fields=["job", "attempt", "position"], name="one_step_per_position")]

    def __str__(self):
        return f"{self.position}. {self.component}"

    def ending(self) -> dict:
        """The fields that are known only when the step has ended."""
        return {
            "status": self.status,
            "completed_at": self.completed_at,
            "execution_seconds": self.execution_seconds,
            "output_preview": self.output_preview,
            "error_message": self.error_message,
        }


class JobEvent(models.Model):
    """What a job's followers are told, in order: `seq` counts 1, 2, 3, … without a gap within the job."""

    class Kind(models.TextChoices):
        STATE = "state"
        STEP = "step"
        TOKEN = "token"  # noqa: S105 - a piece of text, not a secret

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events", db_index=False)
    seq = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    data = JSONTextField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        db_table = "ai_workflow_job_event"
        constraints = [models.UniqueConstraint(fields=["job", "seq"], name="one_event_per_number")]

    def __str__(self):
        return f"{self.seq} {self.kind}"


class WorkerQuerySet(models.QuerySet):
    SILENCE = timedelta(seconds=30)

    def alive(self):
        return self.filter(last_seen_at__gte=Now() - self.SILENCE)

    def eldest(self):
        """The name of the one that has been alive for longest, or None: who does what one is enough for."""
        return self.alive().order_by("started_at", "name").values_list("name", flat=True).first()


class Worker(models.Model):
    """A `manage.py qcluster` that reported lately; its row is for people to see, and no job depends on it."""

    name = models.CharField(_("name"), max_length=120, primary_key=True)  # host:pid
    processes = models.PositiveSmallIntegerField(_("processes"))
    places = models.PositiveIntegerField(_("places"))  # runs that it can supervise at once
    started_at = models.DateTimeField(_("started"))
    last_seen_at = models.DateTimeField(_("last seen"))

    objects = WorkerQuerySet.as_manager()

    class Meta:
        db_table = "ai_workflow_worker"
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self):
        return self.name
