"""How much each workflow's jobs take up: exact while there is time, and fairly estimated when there is not."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs import sizes
from jobs.management import columns
from jobs.models import Job, JobEvent, JobStep
from jobs.retention import Amount, Amounts

pytestmark = pytest.mark.django_db


@pytest.fixture
def fill(make_job, make_workflow):
    """Makes a workflow with jobs that ended `days` ago, each with two events."""

    def make(*days, **fields):
        workflow = make_workflow(**fields)
        for ago in days:
            job = make_job(
                workflow=workflow, status="completed", completed_at=timezone.now() - timedelta(days=ago, minutes=1)
            )
            job.events.create(seq=2, kind="token", data={"文": "字"})
            job.steps.create(attempt=1, position=1, component="a", component_type="b", started_at=timezone.now())
        return workflow

    return make


class Clock:
    """Moves on by a second whenever it is looked at."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1
        return self.now


def test_a_report_in_time_is_exact_and_the_largest_comes_first(fill, monkeypatch):
    monkeypatch.setattr(sizes, "CHUNK", 2)
    small, large = fill(1), fill(1, 8, 31, 32)

    report = sizes.report(seconds=60)

    assert [(size.workflow, size.jobs, size.steps_due, size.jobs_due) for size in report.sizes] == [
        (large, 4, 3, 2),
        (small, 1, 0, 0),
    ]
    assert report.total == Amounts(*(Amount.of(model.objects.all()) for model in (Job, JobStep, JobEvent)))
    assert (report.jobs, report.measured, report.is_estimate) == (5, 5, False)


def test_each_workflow_is_measured_by_its_own_days(fill, settings):
    settings.RETENTION_JOBS_DAYS = 0
    ever, own = fill(8, 4000), fill(8, 4000, keep_jobs_days=5)

    due = {size.workflow: (size.jobs_due, size.steps_due) for size in sizes.report(seconds=60).sizes}

    assert due == {ever: (0, 2), own: (2, 2)}


def test_what_was_not_measured_in_time_is_estimated_after_what_was(fill, monkeypatch):
    monkeypatch.setattr(sizes, "CHUNK", 2)
    monkeypatch.setattr(sizes, "time", Clock())
    fill(*[1] * 10)

    report = sizes.report(seconds=2.5)  # two chunks

    assert (report.jobs, report.measured, report.is_estimate) == (10, 4, True)
    (size,) = report.sizes
    assert size.is_estimate
    assert size.amounts == Amounts(*(Amount.of(model.objects.all()) for model in (Job, JobStep, JobEvent)))


def test_a_workflow_of_which_nothing_was_measured_is_counted_all_the_same(fill, monkeypatch):
    fill(1, 31)

    (size,) = sizes.report(seconds=0).sizes

    assert (size.jobs, size.jobs_due, size.amounts) == (2, 1, None)


def test_a_workspace_s_report_is_of_its_own_workflows(fill, make_workspace):
    other = make_workspace("other")
    fill(1)
    theirs = fill(1, workspace=other)

    report = sizes.report(other, seconds=60)

    assert ([size.workflow for size in report.sizes], report.measured) == ([theirs], 1)


def test_the_number_of_queries_depends_on_chunks_and_not_on_workflows(fill):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            sizes.report(seconds=60)
        return len(captured)

    fill(1)
    for_one = queries()
    for _ in range(5):
        fill(1)

    assert queries() == for_one


def test_the_command_writes_a_straight_table_under_chinese_names(fill):
    fill(1, 31, name="每日汇总与问答")
    fill(1, name="plain", keep_jobs_days=0)
    out = io.StringIO()

    call_command("job_sizes", stdout=out)

    head, *rows, total = out.getvalue().splitlines()
    assert {columns.cells(line) for line in (head, *rows)} == {columns.cells(head)}
    assert rows[0].split()[:6] == ["每日汇总与问答", "1.0.0", "30", "d/7", "d", "2"]
    assert "ever/7 d" in rows[1]
    assert total.startswith("3 jobs, ")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(CommandError):
        call_command("job_sizes", "--seconds", seconds)
