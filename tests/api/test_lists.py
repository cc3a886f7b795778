"""Lists that are kept compiled are told to nobody else, and tell what is there now."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import ApiKey
from aiworkflow_project.api import lists
from jobs.models import Job, JobStep
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

JOBS, WORKFLOWS, KEYS = "/api/v1/ai_workflow_job", "/api/v1/ai_workflow_def", "/api/v1/auth/api_keys"


def ids(answer) -> list:
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


def with_key(user, workspace) -> APIClient:
    client = APIClient()
    secret = ApiKey(workspace=workspace, user=user, name="CI").issue()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


@pytest.mark.parametrize("query", ["", "?limit=1", "?cursor=", "?order_by=created_at_time"])
def test_a_kept_list_is_told_to_no_other_workspace(admin, make_workspace, make_workflow, make_job, query):
    made, clients = {}, {}
    for slug in ("default", "other"):
        workspace = make_workspace(slug)
        made[slug] = make_job(workflow=make_workflow(workspace=workspace))
        clients[slug] = with_key(admin, workspace)

    for _ in range(2):
        for slug, client in clients.items():
            job = made[slug]
            assert ids(client.get(JOBS + query)) == [str(job.pk)]
            assert ids(client.get(WORKFLOWS + query)) == [str(job.workflow_id)]


def test_what_belongs_to_a_row_of_another_workspace_stays_unknown(admin, make_workspace, make_workflow, make_job):
    mine, other = (with_key(admin, make_workspace(slug)) for slug in ("default", "other"))
    job = make_job(workflow=make_workflow(workspace=make_workspace()))
    JobStep.objects.create(
        job=job, attempt=1, position=1, component="c", component_type="t", started_at=timezone.now()
    )  # fmt: skip

    for address in (f"{JOBS}/{job.pk}/steps", f"{WORKFLOWS}/{job.workflow_id}/revisions"):
        assert len(ids(mine.get(address))) == 1
        assert other.get(address).status_code == 404
        assert len(ids(mine.get(address))) == 1


def test_a_kept_list_is_told_to_no_other_person(make_client, make_user, make_workspace):
    people = [make_user("wei"), make_user("ming")]
    for user in people:
        ApiKey(workspace=make_workspace(), user=user, name=user.username).issue()

    for _ in range(2):
        for user in people:
            [row] = make_client(user).get(KEYS).json()["results"]
            assert row["name_str"] == user.username


def test_a_change_of_rows_is_seen_at_once(api, make_job):
    job = make_job(name="batch 1")
    addresses = [JOBS, f"{JOBS}?status=pending", f"{JOBS}?job_name=batch", f"{JOBS}?count=exact&limit=1"]
    for address in addresses:
        assert ids(api.get(address)) == [str(job.pk)]

    other = make_job(workflow=job.workflow, name="batch 2", created_at=timezone.now() + timedelta(seconds=1))
    for address in addresses[:3]:
        assert ids(api.get(address)) == [str(other.pk), str(job.pk)]
    assert api.get(addresses[3]).json()["count"] == 2

    job.cancel()
    assert ids(api.get(addresses[1])) == [str(other.pk)]
    other.rename("another")
    assert ids(api.get(addresses[2])) == [str(job.pk)]
    assert api.get(JOBS).json()["results"][0]["job_name_str"] == "another"
    Job.objects.filter(pk=job.pk).delete()
    assert ids(api.get(JOBS)) == [str(other.pk)]
    assert api.get(addresses[3]).json()["count"] == 1


def test_a_definition_that_was_deleted_is_gone_at_once(api, make_workflow):
    workflow = make_workflow()
    assert ids(api.get(WORKFLOWS)) == [str(workflow.pk)]

    api.delete(f"{WORKFLOWS}/{workflow.pk}")

    assert ids(api.get(WORKFLOWS)) == []


def test_a_right_that_was_taken_away_is_gone_at_once(make_user, make_workspace, make_job):
    user = make_user("wei", permissions=["jobs.view_job"])
    client = with_key(user, make_workspace())
    make_job()
    assert len(ids(client.get(JOBS))) == 1

    user.user_permissions.remove(Permission.objects.get(codename="view_job"))
    assert client.get(JOBS).status_code == 403

    user.user_permissions.add(Permission.objects.get(codename="view_job"))
    assert len(ids(client.get(JOBS))) == 1
    ApiKey.objects.get(user=user).revoke()
    assert client.get(JOBS).status_code == 401


def test_a_person_who_was_turned_away_sees_nothing_more(make_user, make_workspace, make_job):
    user = make_user("wei", permissions=["jobs.view_job"])
    client = with_key(user, make_workspace())
    make_job()
    assert len(ids(client.get(JOBS))) == 1

    user.is_active = False
    user.save()

    assert client.get(JOBS).status_code == 401


def test_what_is_wrong_is_refused_each_time(api):
    for _ in range(2):
        answer = api.get(f"{JOBS}?status=odd&limit=0")
        assert {error["field"] for error in answer.json()["errors"]} == {"status", "limit"}


def test_lists_are_kept_up_to_a_number_and_a_time(api, make_workflow, monkeypatch):
    monkeypatch.setattr(lists._kept, "at_most", 3)
    for number in range(1, 6):
        api.get(f"{WORKFLOWS}?limit={number}")
    assert len(lists._kept.values) == 3
    listing = list(lists._kept.values.values())[-1][1]

    api.get(f"{WORKFLOWS}?limit=5")
    assert list(lists._kept.values.values())[-1][1] is listing

    monkeypatch.setattr(lists._kept, "seconds", -1)
    api.get(f"{WORKFLOWS}?limit=5")
    assert list(lists._kept.values.values())[-1][1] is not listing
    assert Workflow.objects.count() == 0
