"""How much the jobs of each workflow take up, and what retention would delete of it: measured, or estimated in time.

Jobs are counted by an index that has all it takes. Their texts, steps and events are measured job by job in the order
of their ids, which are random: what was measured when the time is over is a fair sample of all.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Count, Q

from jobs.models import Job, JobEvent, JobStep
from jobs.retention import Amount, Amounts, Policy, total_bytes
from workflows.models import Workflow

CHUNK = 500  # jobs measured at a time


@dataclass(frozen=True)
class Size:
    """One workflow's part. `amounts` is None where none of its jobs was measured."""

    workflow: Workflow
    policy: Policy
    jobs: int
    jobs_due: int
    steps_due: int  # jobs that are to lose their steps and events
    amounts: Amounts | None
    is_estimate: bool


@dataclass(frozen=True)
class Report:
    sizes: list[Size]  # the largest first
    jobs: int
    measured: int  # of these jobs; the rest is estimated after them

    @property
    def is_estimate(self) -> bool:
        return self.measured < self.jobs

    @property
    def total(self) -> Amounts:
        return sum((size.amounts for size in self.sizes if size.amounts), Amounts())


def report(workspace=None, *, seconds: float) -> Report:
    """The workflows that have jobs, of one workspace or of all, deleted ones too; it measures for `seconds`."""
    workflows = Workflow.objects.defer("description", "tags")
    jobs = Job.objects.all()
    if workspace:
        workflows, jobs = workflows.in_workspace(workspace), jobs.in_workspace(workspace)
    counts = _count(workflows)
    measured = _measure(jobs, seconds)
    sizes = [_size(*counted, *measured.get(counted[0].pk, (0, Amounts()))) for counted in counts]
    sizes.sort(key=lambda size: (size.amounts.total.bytes if size.amounts else 0, size.jobs), reverse=True)
    return Report(sizes, sum(size.jobs for size in sizes), sum(number for number, _amounts in measured.values()))


def _size(workflow, policy, jobs, jobs_due, steps_due, measured: int, amounts: Amounts) -> Size:
    if measured and measured < jobs:
        amounts = _scaled(amounts, jobs / measured)
    return Size(workflow, policy, jobs, jobs_due, steps_due, amounts if measured else None, measured < jobs)


def _scaled(amounts: Amounts, factor: float) -> Amounts:
    return Amounts(
        *(
            Amount(round(part.rows * factor), round(part.bytes * factor))
            for part in (amounts.jobs, amounts.steps, amounts.events)
        )
    )


def _count(workflows) -> Iterator[tuple[Workflow, Policy, int, int, int]]:
    """Each workflow with jobs: how many there are, and how many are due. One query for each policy in use."""
    alike = defaultdict(dict)
    for workflow in workflows:
        alike[Policy.of(workflow)][workflow.pk] = workflow
    for policy, group in alike.items():
        counted = (
            Job.objects.filter(workflow__in=list(group))
            .order_by()
            .values_list("workflow")
            .annotate(
                jobs=Count("workflow"),
                jobs_due=Count("workflow", filter=policy.ended_too_long_ago),
                steps_due=Count("workflow", filter=policy.steps_are_due),
            )
        )
        for pk, *numbers in counted:
            yield group[pk], policy, *numbers


def _measure(jobs, seconds: float) -> dict:
    """By workflow, the number of jobs that were measured in time, and what they take up."""
    until = time.monotonic() + seconds
    measured = defaultdict(lambda: (0, Amounts()))
    chunk = Q()
    while time.monotonic() < until:
        ids = jobs.filter(chunk).order_by("pk").values_list("pk", flat=True)
        last = next(iter(ids[CHUNK - 1 : CHUNK]), None)
        within = chunk & Q(pk__lte=last) if last else chunk
        for pk, amounts in _amounts(jobs.filter(within)):
            number, so_far = measured[pk]
            measured[pk] = number + amounts.jobs.rows, so_far + amounts
        if last is None:
            break
        chunk = Q(pk__gt=last)
    return measured


def _amounts(jobs) -> Iterator[tuple[object, Amounts]]:
    for part, queryset, workflow in (
        ("jobs", jobs, "workflow"),
        ("steps", JobStep.objects.filter(job__in=jobs), "job__workflow"),
        ("events", JobEvent.objects.filter(job__in=jobs), "job__workflow"),
    ):
        counted = (
            queryset.order_by().values_list(workflow).annotate(rows=Count("pk"), bytes=total_bytes(queryset.model))
        )
        for pk, rows, number in counted:
            yield pk, Amounts(**{part: Amount(rows, number)})
