"""Deletes what was kept for long enough: jobs that are over, and earlier their steps and events.

Everything is done in small batches, each a short transaction that finds its rows by an index and deletes them by their
keys, so that nobody waits for long. Two that prune at once, or one that is broken off, do no harm.
"""

import logging
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from itertools import chain
from uuid import UUID

from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Coalesce, Now

from accounts.models import KeptAnswer
from aiworkflow_project.db.conflicts import retried
from jobs.models import Job, JobBatch, JobEvent, JobStep
from workflows.models import Workflow

logger = logging.getLogger(__name__)

BATCH = 500  # rows of one transaction


class StoredBytes(models.Func):
    """The bytes of the text in some columns of a row, 0 where they are null."""

    output_field = models.BigIntegerField()
    arity = 1
    function = "OCTET_LENGTH"

    def as_sqlite(self, compiler, connection, **context):  # it has the function since 3.43
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context)

    @classmethod
    def of(cls, *columns: str):
        return reduce(operator.add, (Coalesce(cls(models.F(column)), 0) for column in columns))


BYTES = {
    Job: StoredBytes.of("name", "trigger_data", "result", "error_message"),
    JobStep: StoredBytes.of("component", "component_type", "input_preview", "output_preview", "error_message"),
    JobEvent: StoredBytes.of("data"),
}


@dataclass(frozen=True)
class Amount:
    """Rows, and the bytes of the text in them. Numbers, times and indexes come on top."""

    rows: int = 0
    bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.rows + other.rows, self.bytes + other.bytes)

    @classmethod
    def of(cls, queryset) -> "Amount":
        return cls(**queryset.order_by().aggregate(rows=models.Count("pk"), bytes=total_bytes(queryset.model)))


def total_bytes(model):
    return Coalesce(models.Sum(BYTES[model]), 0, output_field=models.BigIntegerField())


@dataclass(frozen=True)
class Amounts:
    """How much of each table."""

    jobs: Amount = Amount()
    steps: Amount = Amount()
    events: Amount = Amount()

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(self.jobs + other.jobs, self.steps + other.steps, self.events + other.events)

    def __bool__(self):
        return self != Amounts()

    @property
    def total(self) -> Amount:
        return self.jobs + self.steps + self.events


@dataclass(frozen=True)
class Policy:
    """For how many days after its end a job is kept, and its steps and events; 0 keeps for ever."""

    jobs_days: int
    steps_days: int

    @classmethod
    def of(cls, workflow: Workflow, *, jobs_days: int | None = None, steps_days: int | None = None) -> "Policy":
        """The workflow's own numbers, and where it has none those given, or else the site's."""
        rest = (
            settings.RETENTION_JOBS_DAYS if jobs_days is None else jobs_days,
            settings.RETENTION_STEPS_DAYS if steps_days is None else steps_days,
        )
        own = workflow.keep_jobs_days, workflow.keep_steps_days
        return cls(*(days if mine is None else mine for mine, days in zip(own, rest, strict=True)))

    @property
    def ended_too_long_ago(self) -> models.Q:
        """Which jobs go."""
        return _ended_before(self.jobs_days)

    @property
    def steps_are_due(self) -> models.Q:
        """Which jobs lose their steps and events: those that go lose them first."""
        days = [days for days in (self.jobs_days, self.steps_days) if days]
        return models.Q(steps_pruned=None) & _ended_before(min(days, default=0))


def _ended_before(days: int) -> models.Q:
    """By the database's clock: a machine whose own is wrong must not delete what is young."""
    return models.Q(completed_at__lt=Now() - timedelta(days=days)) if days else models.Q(pk__in=[])


def due(workflow: Workflow, policy: Policy) -> Amounts:
    """What `prune` would delete now, counted to the row; it reads all that is due."""
    losing = Job.objects.filter(policy.steps_are_due, workflow=workflow)
    return Amounts(
        jobs=Amount.of(Job.objects.filter(policy.ended_too_long_ago, workflow=workflow)),
        steps=Amount.of(JobStep.objects.filter(job__in=losing)),
        events=Amount.of(JobEvent.objects.filter(job__in=losing)),
    )


def prune(workflow: Workflow, policy: Policy) -> Iterator[Amounts]:
    """Delete what is due of a workflow, a batch at each step, and yield what went: nothing, where nothing was found."""
    while jobs := _some(workflow, policy.steps_are_due):
        yield from _take_from(jobs)
    # As a list: `= TRUE` would be written without the `=`, and an index not be used beyond the workflow.
    while jobs := _some(workflow, policy.ended_too_long_ago, steps_pruned__in=[True]):
        yield Amounts(jobs=(gone := _delete_jobs(jobs)))
        if not gone.rows:  # somebody else prunes, and took them
            break
    yield Amounts()


def prune_site() -> Iterator[Amounts]:
    """As `prune`, for every workflow there is, or was; and the site's own leftovers."""
    workflows = Workflow.objects.only("keep_jobs_days", "keep_steps_days").order_by("pk")
    total = Amounts()
    for amounts in chain.from_iterable(prune(workflow, Policy.of(workflow)) for workflow in workflows):
        total += amounts
        yield amounts
    yield from _prune_leftovers()
    if total:
        logger.info(
            "Pruned %d jobs, %d steps and %d events, %d bytes.",
            *(total.jobs.rows, total.steps.rows, total.events.rows, total.total.bytes),
        )


def _prune_leftovers() -> Iterator[Amounts]:
    """Answers kept for requests with an Idempotency-Key, and batches none of whose jobs is left."""
    a_day_ago = Now() - KeptAnswer.KEPT
    for old in (
        KeptAnswer.objects.filter(created_at__lt=a_day_ago),
        JobBatch.objects.filter(created_at__lt=a_day_ago, jobs=None),
    ):
        while some := list(old.values_list("pk", flat=True)[:BATCH]):
            old.model.objects.filter(pk__in=some).delete()
            yield Amounts()


def _some(workflow: Workflow, which: models.Q, **more) -> list[UUID]:
    # In the index's own order: without one PostgreSQL reads the table from its start while much of it is due.
    jobs = Job.objects.filter(which, workflow=workflow, **more).order_by("workflow_id", "steps_pruned", "completed_at")
    return list(jobs.values_list("pk", flat=True)[:BATCH])


def _take_from(jobs: list[UUID]) -> Iterator[Amounts]:
    """Delete the steps and events of jobs. Whoever still follows one meets an end of the events, not a hole in them."""
    while amount := _delete(JobEvent.objects.filter(job__in=jobs).order_by("job_id", "seq")):
        yield Amounts(events=amount)
    while amount := _delete(JobStep.objects.filter(job__in=jobs).order_by("job_id", "attempt", "position")):
        yield Amounts(steps=amount)
    _mark(jobs)
    yield Amounts()


@retried
def _delete(queryset) -> Amount | None:
    """Delete a batch, and return how much went; None when there was nothing left."""
    model = queryset.model
    found = dict(queryset.annotate(stored_bytes=BYTES[model]).values_list("pk", "stored_bytes")[:BATCH])
    if not found:
        return None
    rows, _by_model = model.objects.filter(pk__in=found).delete()
    return Amount(rows, sum(found.values()) if rows else 0)


@retried
def _mark(jobs: Iterable[UUID]) -> None:
    Job.objects.filter(pk__in=jobs).update(steps_pruned=True)


@retried
def _delete_jobs(jobs: list[UUID]) -> Amount:
    over = Job.objects.filter(pk__in=jobs, status__in=Job.FINAL)
    with transaction.atomic():
        # Locked first, so that nobody names one as the job it retries while it goes; see services.retry.
        found = dict(
            over.select_for_update().order_by("pk").annotate(stored_bytes=BYTES[Job]).values_list("pk", "stored_bytes")
        )
        over.filter(pk__in=found).only("pk").delete()
    return Amount(len(found), sum(found.values()))
