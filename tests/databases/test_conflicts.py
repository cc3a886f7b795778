"""What loses to another transaction is written again, as a whole."""

import re
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction

from aiworkflow_project.db.conflicts import TRIES, retried
from jobs import claims, services
from jobs.models import Job
from workflows.services import save

pytestmark = pytest.mark.django_db(transaction=True)  # a conflict within a test's own transaction could not be retried


class Lost(Exception):
    sqlstate = "40P01"


DEADLOCKS = [Lost(), Exception(1213, "Deadlock found"), Exception(1205, "Lock wait timeout exceeded")]


class Losing:
    """Makes the first writes fail as a database does: nothing of the statement, and of its transaction, is done."""

    def __init__(self, cause, statement="ai_workflow", times=1):
        self.cause, self.statement, self.times = cause, statement, times

    def __call__(self, execute, sql, params, many, context):
        if self.times and re.search(r"(UPDATE|INSERT INTO) \W", sql) and re.search(self.statement, sql):
            self.times -= 1
            raise OperationalError(str(self.cause)) from self.cause
        return execute(sql, params, many, context)


def claim(job):
    [mine] = claims.claim(1, timedelta(seconds=60), "here")
    return mine


def recover(job):
    claim(job)
    Job.objects.running().update(lease_expires_at="2020-01-01T00:00Z")
    assert Job.objects.get(pk=job.pk).recover()


@pytest.mark.parametrize("cause", DEADLOCKS, ids=["postgresql", "deadlock", "timeout"])
def test_a_conflict_costs_nothing_but_time(make_job, cause):
    job = make_job()

    with connection.execute_wrapper(Losing(cause, times=TRIES - 1)):
        job.cancel()

    assert job.status == "cancelled"
    assert [event.seq for event in job.events.order_by("seq")] == [1, 2]


@pytest.mark.parametrize(
    "write",
    [claim, recover, lambda job: job.rename("新"), lambda job: services.submit(job.workflow, job.trigger_data)],
    ids=["claim", "recover", "rename", "submit"],
)
@pytest.mark.parametrize("table", [r"ai_workflow_job\b", "ai_workflow_job_event"])
def test_each_write_of_a_job_is_tried_again(make_job, write, table):
    job = make_job(trigger_data={"query": "天气", "top_k": 1})

    with connection.execute_wrapper(Losing(Lost(), table)):
        write(job)

    for found in Job.objects.all():
        assert [event.seq for event in found.events.order_by("seq")] == list(range(1, found.event_seq + 1))


@pytest.mark.parametrize("lost", ["INTO .ai_workflow_revision", "SET .current_revision_id"])
def test_a_workflow_is_saved_whole_after_a_conflict_in_the_middle(make_workflow, monkeypatch, lost):
    workflow = make_workflow()
    checked = type("Checked", (), {"valid": True, "problems": [], "description": {}})
    monkeypatch.setattr("workflows.engine.check", lambda text: checked)

    with connection.execute_wrapper(Losing(Lost(), lost)):
        save(workflow, "components: {}", by=None)

    workflow.refresh_from_db()
    assert (workflow.current_revision.number, workflow.current_revision.pipeline_yaml) == (2, "components: {}")
    assert workflow.revisions.count() == 2


def test_tries_are_bounded_and_other_errors_are_not_tried_again():
    def failing(error, cause):
        tried = []

        @retried
        def write():
            tried.append(1)
            raise error from cause

        with pytest.raises(OperationalError):
            write()
        return len(tried)

    assert failing(OperationalError(), Lost()) == TRIES
    assert failing(OperationalError(), Exception(2006, "gone away")) == failing(OperationalError(), None) == 1


def test_within_a_transaction_the_whole_is_for_the_caller_to_repeat(make_job):
    job = make_job()

    with (
        connection.execute_wrapper(Losing(Lost())),
        pytest.raises(OperationalError),
        transaction.atomic(),
    ):
        job.cancel()

    job.refresh_from_db()
    assert job.status == "pending"
