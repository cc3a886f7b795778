"""A workflow that was submitted to a moment ago is not looked up again, and no job is made of what is no longer so."""

import pytest
from django.db import connection

from jobs.models import Job, JobEvent
from tests import descriptions
from workflows.models import Workflow, WorkflowRevision

pytestmark = pytest.mark.django_db


@pytest.fixture
def submit(api):
    def post(workflow, data=None, **headers):
        body = {"ai_workflow_def_id": str(workflow.pk), "trigger_data_json": data or {"query": "问", "top_k": 1}}
        return api.post("/api/v1/ai_workflow_job", body, format="json", headers=headers)

    return post


def elsewhere(workflow, **changes):
    """As another process changes it: ours is not told."""
    assert Workflow.objects.filter(pk=workflow.pk).update(**changes) == 1


def the_only_job() -> Job:
    [job] = Job.objects.all()
    assert [event.seq for event in job.events.all()] == [1]
    return job


@pytest.mark.django_db(transaction=True)
def test_the_second_submit_asks_for_no_workflow(make_workflow, submit, django_assert_num_queries):
    workflow = make_workflow()
    assert submit(workflow).status_code == 201

    # The job and its event. Elsewhere the workflow is looked at in between, and a transaction begins and ends.
    with django_assert_num_queries(1 if connection.vendor == "postgresql" else 5):
        assert submit(workflow).status_code == 201
    assert Job.objects.count() == JobEvent.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_what_is_kept_for_a_key_goes_with_the_job(make_workflow, submit, django_assert_num_queries):
    workflow = make_workflow()
    assert submit(workflow).status_code == 201

    # Whether the key was used before, and then as without one; where it is not one statement, one more.
    with django_assert_num_queries(2 if connection.vendor == "postgresql" else 7):
        first = submit(workflow, **{"Idempotency-Key": "k-1"})
    with django_assert_num_queries(1):
        again = submit(workflow, **{"Idempotency-Key": "k-1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert (again["Idempotency-Replayed"], again["Location"]) == ("true", first["Location"])


@pytest.fixture
def known(make_workflow, submit):
    """A workflow that this process remembers, without jobs."""
    workflow = make_workflow()
    assert submit(workflow).status_code == 201
    Job.objects.all().delete()
    return workflow


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k-1"}], ids=["plain", "keyed"])
@pytest.mark.parametrize(
    ("changes", "error"),
    [({"is_active": False}, "inactive"), ({"deleted_at": "2026-01-01T00:00Z", "holds_name": None}, "does_not_exist")],
    ids=["deactivated", "deleted"],
)
def test_what_was_closed_elsewhere_takes_no_job(known, submit, changes, error, headers):
    elsewhere(known, **changes)

    for _ in range(2):
        answer = submit(known, **headers)
        assert answer.status_code == 400
        assert [one["code"] for one in answer.json()["errors"]] == [error]
    assert (Job.objects.count(), JobEvent.objects.count()) == (0, 0)

    elsewhere(known, is_active=True, deleted_at=None, holds_name=True)
    assert submit(known, **headers).status_code == 201
    assert the_only_job().workflow_id == known.pk


def test_a_job_runs_the_revision_that_is_current(known, submit):
    newer = WorkflowRevision.objects.create(
        workflow=known, number=2, pipeline_yaml="x", content_hash="x", description=descriptions.PROMPT
    )
    elsewhere(known, current_revision=newer)

    assert submit(known).json()["ai_workflow_revision_int"] == 2
    assert the_only_job().revision_id == newer.pk


def test_data_is_checked_against_the_revision_that_is_current(known, submit):
    other = descriptions.PROMPT | {"inputs": {}}
    assert submit(known, {"unknown": 1}).status_code == 400

    newer = WorkflowRevision.objects.create(
        workflow=known, number=2, pipeline_yaml="x", content_hash="x", description=other
    )
    assert submit(known).status_code == 201  # remembered again
    Job.objects.all().delete()
    elsewhere(known, current_revision=newer)

    assert submit(known).status_code == 400
    assert not Job.objects.exists()


@pytest.mark.parametrize(("first", "then"), [(None, 0), (0, None), (3, 0)])
def test_a_limit_that_was_set_elsewhere_holds_at_once(make_workflow, submit, first, then):
    workflow = make_workflow(concurrency_limit=first)
    submit(workflow)
    Job.objects.all().delete()
    elsewhere(workflow, concurrency_limit=then)

    assert submit(workflow).status_code == 201
    assert the_only_job().waits_for == ("worker" if then is None else "room")


def test_each_workspace_knows_its_own(make_workspace, make_workflow, known, submit):
    other = make_workflow(workspace=make_workspace("other"))

    assert submit(other).status_code == 400
    assert submit(known).status_code == 201
    assert the_only_job().workflow_id == known.pk
