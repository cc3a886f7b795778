"""Jobs over HTTP: submitted on checked data, moved on by the service alone, listed as promised."""

import json
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.models import Job, JobStep
from tests.descriptions import PROMPT

pytestmark = pytest.mark.django_db

ALL = "/api/v1/ai_workflow_job"
GOOD = {"query": "什么是人工智能？", "top_k": 5}
FINAL = ["completed", "failed", "cancelled"]


def named(answer) -> dict:
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    return {error["field"]: error["code"] for error in answer.json()["errors"]}


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


@pytest.fixture
def submit(api):
    def post(workflow, data=GOOD, **fields):
        body = {"ai_workflow_def_id": str(workflow.pk), "trigger_data_json": data, **fields}
        return api.post(ALL, body, format="json")

    return post


def test_a_submitted_job_is_pending_and_pinned_to_the_revision(api, admin, submit, make_workflow):
    workflow = make_workflow()

    answer = submit(workflow, job_name_str="天气", status_str="pending")

    assert answer.status_code == 201
    row = answer.json()
    assert row == {
        "id": row["id"], "ai_workflow_def_id": str(workflow.pk), "ai_workflow_revision_int": 1,
        "job_name_str": "天气", "trigger_data_json": GOOD, "status_str": "pending", "result_data_json": None,
        "error_code_str": None, "error_message_text": None, "started_at_time": None, "completed_at_time": None,
        "execution_time_seconds": None, "timeout_seconds": 3600, "attempt_int": 0, "max_attempts_int": 3,
        "priority_int": 5, "retry_on_str": "", "not_before_time": row["created_at_time"], "waits_for_str": "worker",
        "cancel_requested_at_time": None, "batch_id": None, "retry_of_id": None,
        "steps_pruned_flag": False, "user_id": admin.pk,
        "created_at_time": row["created_at_time"], "updated_at_time": row["updated_at_time"],
    }  # fmt: skip
    assert answer["Location"] == f"http://testserver{ALL}/{row['id']}"
    assert api.get(f"{ALL}/{row['id']}").json() == row
    assert api.get(ALL).json()["results"] == [row]
    assert Job.objects.get().revision_id == workflow.current_revision_id


def test_a_job_bears_the_id_of_the_request_that_submitted_it(api, make_workflow):
    body = {"ai_workflow_def_id": str(make_workflow().pk), "trigger_data_json": GOOD}

    api.post(ALL, body, format="json", headers={"X-Request-ID": "abc-123"})

    assert Job.objects.get().request_id == "abc-123"


@pytest.mark.parametrize("data", [GOOD, {"prompt": GOOD}, json.dumps(GOOD)])
def test_trigger_data_may_be_an_object_or_a_string_that_holds_one(submit, make_workflow, data):
    answer = submit(make_workflow(), data)

    assert answer.status_code == 201
    expected = json.loads(data) if isinstance(data, str) else data
    assert answer.json()["trigger_data_json"] == expected


def test_trigger_data_comes_back_as_it_was_sent(submit, make_workflow):
    data = {"query": '\U0001f600 "引号" </script> \u2028', "top_k": 9007199254740993}

    assert submit(make_workflow(), data).json()["trigger_data_json"] == data


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ([1, 2], "invalid"),
        ("not json", "invalid"),
        ("[1]", "invalid"),
        (5, "invalid"),
        (None, "null"),
        ("NaN", "invalid"),
    ],
)
def test_trigger_data_that_is_no_object_is_refused(submit, make_workflow, data, code):
    assert named(submit(make_workflow(), data)) == {"trigger_data_json": code}


@pytest.mark.parametrize(("data", "path"), [({"query": "q"}, "top_k"), ({**GOOD, "stray": 1}, "stray")])
def test_trigger_data_that_does_not_fit_is_refused_with_the_socket(submit, make_workflow, data, path):
    answer = submit(make_workflow(), data)

    [error] = answer.json()["errors"]
    assert (answer.status_code, error["field"]) == (400, "trigger_data_json")
    assert path in error["path"] + error["detail"]
    assert not Job.objects.exists()


def test_only_a_definition_that_is_here_and_active_can_be_run(submit, make_workflow, make_workspace):
    deleted, foreign = make_workflow(), make_workflow(workspace=make_workspace("other"))
    deleted.delete()

    assert named(submit(make_workflow(is_active=False))) == {"ai_workflow_def_id": "inactive"}
    assert named(submit(deleted)) == named(submit(foreign)) == {"ai_workflow_def_id": "does_not_exist"}


def test_every_wrong_field_of_a_job_is_named(api, make_workflow):
    def post(**body):
        return api.post(ALL, body, format="json")

    assert named(post()) == {"ai_workflow_def_id": "required"}
    assert named(post(ai_workflow_def_id="x", status_str="done", job_name_str="x" * 256, trigger_data_json=[])) == {
        "ai_workflow_def_id": "invalid", "status_str": "invalid_choice", "job_name_str": "max_length",
        "trigger_data_json": "invalid",
    }  # fmt: skip
    assert named(post(ai_workflow_def_id=str(uuid.uuid4()), status_str="completed")) == {
        "ai_workflow_def_id": "does_not_exist", "status_str": "not_pending",
    }  # fmt: skip
    assert set(named(post(ai_workflow_def_id=str(make_workflow().pk), status_str="running", nonsense=1))) == {
        "status_str", "nonsense",
    }  # fmt: skip
    both = post(ai_workflow_def_id=str(make_workflow().pk), status_str="running", trigger_data_json={"stray": 1})
    assert set(named(both)) == {"status_str", "trigger_data_json"}


def test_only_the_name_of_a_job_is_a_clients_to_change(api, make_job):
    path = f"{ALL}/{make_job(status='completed').pk}"

    assert api.patch(path, {"job_name_str": "新名"}, format="json").json()["job_name_str"] == "新名"
    assert named(api.patch(path, {"status_str": "pending", "job_name_str": "x"}, format="json")) == {
        "status_str": "read_only"
    }
    assert named(api.patch(path, {"result_data_json": {}, "job_name_str": 5}, format="json")) == {
        "result_data_json": "read_only", "job_name_str": "invalid",
    }  # fmt: skip
    assert api.get(path).json()["job_name_str"] == "新名"
    assert api.put(path, {}, format="json").status_code == 405


@pytest.mark.parametrize("status", FINAL)
def test_a_job_that_is_over_can_be_deleted_and_not_cancelled(api, make_job, status):
    path = f"{ALL}/{make_job(status=status).pk}"

    refusal = api.post(f"{path}/cancel")
    assert (refusal.status_code, refusal.json()["code"]) == (409, "invalid_transition")
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_job_that_is_not_over_can_be_cancelled_and_not_deleted_or_retried(api, make_job, status):
    path = f"{ALL}/{make_job(status=status).pk}"

    for refusal in (api.delete(path), api.post(f"{path}/retry")):
        assert (refusal.status_code, refusal.json()["code"]) == (409, "invalid_transition")
    answer = api.post(f"{path}/cancel")
    assert answer.status_code == 200
    row = answer.json()
    assert row["status_str"] == ("cancelled" if status == "pending" else "running")
    assert (row["cancel_requested_at_time"] is not None) == (status == "running")


@pytest.mark.parametrize("act", ["cancel", "rename"])
def test_a_job_that_is_deleted_just_when_it_is_to_be_changed_is_not_found(api, make_job, monkeypatch, act):
    job = make_job(status="completed")
    path = f"{ALL}/{job.pk}"
    move = getattr(Job, act)

    def late(self, *args):
        Job.objects.all().delete()
        move(self, *args)

    monkeypatch.setattr(Job, act, late)

    answer = api.post(f"{path}/cancel") if act == "cancel" else api.patch(path, {"job_name_str": "x"}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_retry_is_a_new_job_that_names_the_first(api, make_job, make_user, make_client):
    job = make_job(status="failed", name="周报")

    answer = api.post(f"{ALL}/{job.pk}/retry")

    row = answer.json()
    assert answer.status_code == 201
    assert answer["Location"].endswith(row["id"])
    assert row["id"] != str(job.pk)
    assert (row["retry_of_id"], row["status_str"], row["job_name_str"]) == (str(job.pk), "pending", "周报")
    assert row["trigger_data_json"] == job.trigger_data
    assert row["error_message_text"] is None


def test_a_retry_of_what_no_longer_fits_is_refused_as_a_submit_is(api, make_job):
    stray, inactive = make_job(status="failed", trigger_data={"stray": 1}), make_job(status="failed")
    inactive.workflow.is_active = False
    inactive.workflow.save()

    assert "trigger_data_json" in named(api.post(f"{ALL}/{stray.pk}/retry"))
    assert named(api.post(f"{ALL}/{inactive.pk}/retry")) == {"ai_workflow_def_id": "inactive"}


def test_a_failed_job_says_what_went_wrong(api, make_job):
    row = api.get(f"{ALL}/{make_job(status='failed').pk}").json()

    assert (row["status_str"], row["error_code_str"], row["error_message_text"]) == (
        "failed", "component_failed", "没有回答",
    )  # fmt: skip


def test_filters_narrow_the_list_of_jobs(api, make_job, make_workflow):
    workflow = make_workflow()
    done = make_job(workflow=workflow, status="completed", name="问答-一")
    failed = make_job(workflow=workflow, status="failed", name="问答-二")
    other = make_job(name="其他")

    def listed(**params):
        return ids(api.get(ALL, params))

    assert listed() == [str(job.pk) for job in (other, failed, done)]
    assert listed(ai_workflow_def_id=str(workflow.pk)) == [str(failed.pk), str(done.pk)]
    assert set(listed(status="completed,failed")) == {str(done.pk), str(failed.pk)}
    assert listed(status="running") == []
    assert listed(job_name="一") == [str(done.pk)]
    assert listed(started_after=done.started_at.isoformat(), status="completed") == [str(done.pk)]
    assert listed(started_before=done.started_at.isoformat()) == []
    assert listed(completed_after=failed.completed_at.isoformat(), status="failed") == [str(failed.pk)]
    assert listed(ai_workflow_def_id=str(uuid.uuid4())) == []


@pytest.mark.parametrize(
    "order_by",
    ["job_name_str", "status_str", "started_at_time", "completed_at_time", "execution_time_seconds", "updated_at_time"],
)
def test_every_order_of_jobs_is_stable_with_empty_times_among_them(api, make_job, make_workflow, order_by):
    workflow = make_workflow()
    now = timezone.now()
    for status in ("pending", "running", "completed", "failed", "pending", "completed"):
        make_job(workflow=workflow, status=status, created_at=now)

    down = ids(api.get(ALL, {"order_by": order_by}))
    up = ids(api.get(ALL, {"order_by": order_by, "order": "asc"}))
    paged = [
        one
        for offset in range(0, 6, 2)
        for one in ids(api.get(ALL, {"order_by": order_by, "limit": 2, "offset": offset}))
    ]

    assert up == down[::-1]
    assert paged == down


def test_wrong_parameters_of_the_list_of_jobs_are_named(api):
    params = {
        "status": "done", "ai_workflow_def_id": "x", "started_after": "1", "completed_before": "2024-13-01",
        "name": "x", "limit": "1e3",
    }  # fmt: skip

    assert named(api.get(f"{ALL}/list", params)) == {
        "status": "invalid_choice", "ai_workflow_def_id": "invalid", "started_after": "invalid",
        "completed_before": "invalid", "name": "unknown", "limit": "invalid",
    }  # fmt: skip
    assert named(api.get(f"{ALL}?limit=1&limit=2")) == {"limit": "repeated"}


def test_steps_come_in_their_order_with_previews(api, make_job):
    job = make_job(status="failed")
    now = timezone.now()
    for attempt, position, component in ((2, 1, "prompt"), (1, 2, "llm"), (1, 1, "prompt")):
        JobStep.objects.create(
            job=job, attempt=attempt, position=position, component=component, component_type="haystack.x.Y",
            status="completed", started_at=now, completed_at=now + timedelta(seconds=1), execution_seconds=1,
            input_preview={"query": "你好"},
        )  # fmt: skip

    rows = api.get(f"{ALL}/{job.pk}/steps").json()["results"]

    assert [(row["attempt_int"], row["position_int"], row["component_name_str"]) for row in rows] == [
        (1, 1, "prompt"), (1, 2, "llm"), (2, 1, "prompt"),
    ]  # fmt: skip
    assert rows[0]["input_preview_json"] == {"query": "你好"}
    assert rows[0]["output_preview_json"] is None
    assert rows[0]["error_message_text"] is None
    assert api.get(f"{ALL}/{uuid.uuid4()}/steps").status_code == 404


def test_lists_cost_few_queries_however_long_they_are(api, make_job, make_workflow, django_assert_max_num_queries):
    workflow = make_workflow()
    for _ in range(12):
        path = f"{ALL}/{make_job(workflow=workflow, status='completed').pk}"

    with django_assert_max_num_queries(2):
        assert len(ids(api.get(ALL, {"limit": 10}))) == 10
    with django_assert_max_num_queries(1):
        assert len(ids(api.get(ALL))) == 12
    with django_assert_max_num_queries(1):
        api.get(path)
    with django_assert_max_num_queries(2):
        api.get(f"{path}/steps")


def test_other_workspaces_jobs_are_not_to_be_seen_or_touched(api, make_job, make_workflow, make_workspace):
    foreign = make_job(workflow=make_workflow(workspace=make_workspace("other")), status="completed")
    path = f"{ALL}/{foreign.pk}"

    assert ids(api.get(ALL)) == []
    for method, address in (
        ("get", path), ("patch", path), ("delete", path), ("post", f"{path}/cancel"), ("post", f"{path}/retry"),
        ("get", f"{path}/steps"), ("get", f"{path}/events"),
    ):  # fmt: skip
        assert getattr(api, method)(address).status_code == 404, address


@pytest.mark.parametrize(
    ("permission", "method", "path"),
    [
        ("view", "get", ALL), ("view", "get", "{one}"), ("view", "get", "{one}/steps"), ("view", "get", "{one}/events"),
        ("add", "post", ALL), ("add", "post", "{one}/retry"), ("change", "patch", "{one}"),
        ("change", "post", "{one}/cancel"), ("delete", "delete", "{one}"),
    ],
)  # fmt: skip
def test_each_act_on_jobs_needs_its_permission(make_client, make_user, make_job, permission, method, path):
    job = make_job(status="cancelled")
    path = path.format(one=f"{ALL}/{job.pk}")
    body = {"ai_workflow_def_id": str(job.workflow_id), "trigger_data_json": GOOD} if path == ALL else {}
    others = [f"jobs.{other}_job" for other in ("view", "add", "change", "delete") if other != permission]
    without = make_client(make_user("without", permissions=others))
    having = make_client(make_user("having", permissions=[f"jobs.{permission}_job"]))

    refusal = getattr(without, method)(path, body if method == "post" else None, format="json")
    answer = getattr(having, method)(path, body if method == "post" else None, format="json")

    assert (refusal.status_code, refusal.json()["code"]) == (403, "permission_denied")
    assert answer.status_code in (200, 201, 204) or answer.json()["code"] == "invalid_transition"


def test_a_queue_that_is_down_does_not_refuse_a_job(
    submit, make_workflow, monkeypatch, settings, django_capture_on_commit_callbacks
):
    settings.QUEUE_URL = "redis://127.0.0.1:1"

    def down(*args, **kwargs):
        raise ConnectionError("the broker is away")

    monkeypatch.setattr("jobs.services.async_task", down)

    with django_capture_on_commit_callbacks(execute=True):
        answer = submit(make_workflow())

    assert answer.status_code == 201
    assert Job.objects.get().status == "pending"


def test_limits_of_the_workflow_block_are_the_jobs(submit, make_workflow):
    described = {**PROMPT, "workflow": {"timeout_seconds": 7, "max_attempts": 1}}

    row = submit(make_workflow(described=described)).json()

    assert (row["timeout_seconds"], row["max_attempts_int"]) == (7, 1)
