"""Control over the API: what a job may ask for, why it waits, batches, and requests that are sent again or wait."""

import itertools
import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import KeptAnswer
from jobs import claims
from jobs.models import Job, JobBatch
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

JOBS = "/api/v1/ai_workflow_job"
GOOD = {"query": "什么是人工智能？", "top_k": 5}
TOMORROW = timezone.now() + timedelta(days=1)
KEYS = (f"请求-{number}".encode().hex() for number in itertools.count())


@pytest.fixture
def post(api):
    def send(path=JOBS, body=None, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return api.post(path, body, format="json", headers=named)

    return send


def body(workflow, **fields) -> dict:
    return {"ai_workflow_def_id": str(workflow.pk), "trigger_data_json": GOOD} | fields


def wrong(answer) -> dict:
    assert answer.status_code == 400, answer.content
    return {error["field"]: error["code"] for error in answer.json()["errors"]}


# What a job may ask for


def test_a_job_says_how_it_is_to_be_run(post, make_workflow):
    asked = {
        "priority_int": 9,
        "timeout_seconds": 7,
        "max_attempts_int": 5,
        "retry_on_str": "transient,timed_out",
        "not_before_time": "2100-01-01T00:00:00Z",
    }
    answer = post(body=body(make_workflow(), **asked))

    assert answer.status_code == 201
    assert {name: answer.json()[name] for name in asked} == asked
    assert answer.json()["waits_for_str"] == "time"


def test_a_job_that_says_nothing_is_run_as_usual(post, make_workflow):
    job = post(body=body(make_workflow())).json()

    assert (job["priority_int"], job["retry_on_str"], job["waits_for_str"]) == (5, "", "worker")
    assert job["not_before_time"] == job["created_at_time"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority_int", 10),
        ("priority_int", -1),
        ("priority_int", "high"),
        ("timeout_seconds", 0),
        ("timeout_seconds", 86_401),
        ("max_attempts_int", 0),
        ("max_attempts_int", 11),
        ("retry_on_str", "bad luck"),
        ("retry_on_str", ["transient"]),
        ("not_before_time", "tomorrow"),
        ("not_before_time", "0001-01-01T00:00:00"),
        ("not_before_time", "0001-01-01T00:00:00+14:00"),
        ("not_before_time", "9999-12-31T23:59:59Z"),
    ],
)
def test_what_can_not_be_asked_for_is_named(post, make_workflow, field, value, settings):
    settings.TIME_ZONE = "Asia/Shanghai"

    assert field in wrong(post(body=body(make_workflow(), **{field: value})))
    assert not Job.objects.exists()


def test_a_definition_has_a_limit_that_can_be_changed_and_taken_away(api, make_workflow):
    path = f"/api/v1/ai_workflow_def/{make_workflow().pk}"

    assert api.patch(path, {"concurrency_limit_int": 2}, format="json").json()["concurrency_limit_int"] == 2
    assert api.patch(path, {"concurrency_limit_int": None}, format="json").json()["concurrency_limit_int"] is None
    assert "concurrency_limit_int" in wrong(api.patch(path, {"concurrency_limit_int": -1}, format="json"))


# Why it waits


def test_a_pending_job_says_why_it_waits(api, make_job, make_workflow):
    workflow = make_workflow(concurrency_limit=1)
    holder = make_job(workflow=workflow, status="running", name="占位")
    job = make_job(workflow=workflow, waits_for="room")

    answer = api.get(f"{JOBS}/{job.pk}/waiting").json()

    assert (answer["reason_str"], answer["position_int"], answer["concurrency_limit_int"]) == ("limit", 1, 1)
    assert answer["held_by"] == [{"id": str(holder.pk), "job_name_str": "占位", "status_str": "running"}]
    assert api.get(f"{JOBS}/{holder.pk}/waiting").json()["reason_str"] is None
    assert api.get(f"{JOBS}/{uuid.uuid4()}/waiting").status_code == 404


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no_worker"),
        ({"waits_for": "time", "available_at": TOMORROW}, "not_before"),
        ({"waits_for": "time", "available_at": TOMORROW, "attempt": 1}, "backoff"),
        ({"waits_for": "room"}, "held"),
    ],
)
def test_each_reason_comes_with_words(api, make_job, make_workflow, fields, reason):
    answer = api.get(f"{JOBS}/{make_job(workflow=make_workflow(concurrency_limit=0), **fields).pk}/waiting").json()

    assert answer["reason_str"] == reason
    assert answer["detail_text"]


# Batches


def test_a_batch_answers_for_each_of_its_items(api, post, make_workflow):
    workflow = make_workflow()
    items = [
        {"trigger_data_json": GOOD, "job_name_str": "甲"},
        {"trigger_data_json": {"问": 1}},
        {"trigger_data_json": GOOD, "priority_int": 99},
        {"trigger_data_json": GOOD, "priority_int": 1},
    ]
    answer = post(
        f"{JOBS}/batch",
        {"ai_workflow_def_id": str(workflow.pk), "batch_name_str": "夜", "priority_int": 7, "items": items},
    )

    assert answer.status_code == 201
    told = answer.json()
    assert [bool(item["id"]) for item in told["items"]] == [True, False, False, True]
    assert [{error["field"] for error in item["errors"]} for item in told["items"]] == [
        set(),
        {"trigger_data_json"},
        {"priority_int"},
        set(),
    ]
    jobs = {job.name: job.priority for job in Job.objects.filter(batch=told["id"])}
    assert jobs == {"甲": 7, "": 1}
    assert answer["Location"].endswith(f"/batch/{told['id']}")
    read = api.get(f"{JOBS}/batch/{told['id']}").json()
    assert (read["jobs_int"], read["pending_int"], read["batch_name_str"]) == (2, 2, "夜")
    assert api.get(JOBS, {"batch_id": told["id"]}).json()["count"] == 2


def test_a_batch_that_can_not_be_accepted_at_all_says_why(post, make_workflow):
    workflow = str(make_workflow().pk)
    item = {"trigger_data_json": {"问": 1}}

    assert wrong(post(f"{JOBS}/batch", {"ai_workflow_def_id": workflow, "items": [item]}))
    assert "items[0].trigger_data_json" in wrong(
        post(f"{JOBS}/batch", {"ai_workflow_def_id": workflow, "items": [item]})
    )
    assert set(wrong(post(f"{JOBS}/batch", {"items": []}))) == {"ai_workflow_def_id", "items"}
    assert set(wrong(post(f"{JOBS}/batch", {"ai_workflow_def_id": workflow, "items": [{}] * 1001}))) == {"items"}
    assert set(wrong(post(f"{JOBS}/batch", {"ai_workflow_def_id": str(uuid.uuid4()), "items": [item]}))) == {
        "ai_workflow_def_id"
    }
    assert not JobBatch.objects.exists()


# Cancel and retry by filter


def test_a_filter_cancels_what_it_finds_and_a_dry_run_only_counts(post, make_job, make_workflow):
    workflow = make_workflow()
    job, running, other = make_job(workflow=workflow), make_job(workflow=workflow, status="running"), make_job()
    address = f"{JOBS}/cancel?ai_workflow_def_id={workflow.pk}"

    dry = post(f"{address}&dry_run=true").json()
    assert dry == {"dry_run_flag": True, "pending_int": 1, "running_int": 1, "more_flag": False}
    assert not Job.objects.filter(status="cancelled").exists()

    assert post(address).json() == dry | {"dry_run_flag": False}
    assert Job.objects.get(pk=job.pk).status == "cancelled"
    assert Job.objects.get(pk=running.pk).cancel_requested_at
    assert Job.objects.get(pk=other.pk).status == "pending"


def test_a_filter_retries_what_failed_and_a_dry_run_only_counts(post, make_job):
    failed = make_job(status="failed")
    make_job(status="completed")

    dry = post(f"{JOBS}/retry?created_after=2020-01-01T00:00:00Z&dry_run=1").json()
    assert (dry["jobs_int"], Job.objects.count()) == (1, 2)

    done = post(f"{JOBS}/retry?created_after=2020-01-01T00:00:00Z")
    assert done.status_code == 201
    assert [item["retry_of_id"] for item in done.json()["items"]] == [str(failed.pk)]
    assert post(f"{JOBS}/retry?status=failed").json()["jobs_int"] == 0


@pytest.mark.parametrize("act", ["cancel", "retry"])
@pytest.mark.parametrize(
    ("query", "field"),
    [("", "status"), ("?dry_run=true", "status"), ("?status=over", "status"), ("?stauts=failed", "stauts"),
     ("?status=failed&dry_run=maybe", "dry_run"), ("?status=failed&limit=1", "limit")],
)  # fmt: skip
def test_a_filter_that_is_not_understood_touches_nothing(post, make_job, act, query, field):
    make_job()

    assert set(wrong(post(f"{JOBS}/{act}{query}"))) == {field}
    assert Job.objects.pending().count() == 1


def test_a_filter_reaches_no_other_workspace(post, make_job, make_workflow, make_workspace):
    theirs = make_job(workflow=make_workflow(workspace=make_workspace("theirs")))

    assert post(f"{JOBS}/cancel?status=pending").json()["pending_int"] == 0
    assert Job.objects.get(pk=theirs.pk).status == "pending"


@pytest.mark.parametrize(
    ("permission", "method", "path"),
    [
        ("jobs.add_job", "post", "batch"),
        ("jobs.add_job", "post", "retry?status=failed"),
        ("jobs.change_job", "post", "cancel?status=failed"),
        ("jobs.view_job", "get", "batch/{id}"),
    ],
)
def test_each_act_on_many_jobs_needs_its_permission(make_client, make_user, permission, method, path):
    address = f"{JOBS}/{path.format(id=uuid.uuid4())}"

    assert getattr(make_client(make_user("noone")), method)(address).status_code == 403
    allowed = getattr(make_client(make_user("some", permissions=[permission])), method)(address)
    assert allowed.status_code in (200, 400, 404)


# Idempotency-Key


def test_a_request_that_is_sent_again_creates_nothing_and_gets_the_first_answer(post, make_workflow):
    workflow = make_workflow()
    first = post(body=body(workflow), Idempotency_Key="k-1")
    Job.objects.all().update(name="改了")

    again = post(body=body(workflow), Idempotency_Key="k-1")

    assert (again.status_code, again.json()) == (201, first.json())
    assert (again["Idempotency-Replayed"], again["Location"]) == ("true", first["Location"])
    assert "Idempotency-Replayed" not in first.headers
    assert Job.objects.count() == 1
    assert post(body=body(workflow), Idempotency_Key="k-2").json()["id"] != first.json()["id"]


def test_a_key_that_was_sent_with_another_request_is_refused(post, make_workflow):
    workflow = make_workflow()
    post(body=body(workflow), Idempotency_Key="k-1")

    for answer in (
        post(body=body(workflow, job_name_str="别的"), Idempotency_Key="k-1"),
        post(f"{JOBS}/batch", body(workflow), Idempotency_Key="k-1"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Job.objects.count() == 1


def test_the_order_and_the_blanks_of_a_body_do_not_make_it_another(api, make_workflow):
    workflow = make_workflow()
    texts = (
        f'{{"ai_workflow_def_id": "{workflow.pk}", "trigger_data_json": {{"query": "问", "top_k": 1}}}}',
        f'{{"trigger_data_json":{{"top_k":1,"query":"问"}},"ai_workflow_def_id":"{workflow.pk}"}}',
    )
    answers = [
        api.post(JOBS, text, content_type="application/json", headers={"Idempotency-Key": "k-1"}) for text in texts
    ]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert Job.objects.count() == 1


def test_a_refused_request_may_be_mended_under_the_same_key(post, make_workflow):
    workflow = make_workflow()

    assert post(body=body(workflow, trigger_data_json={"问": 1}), Idempotency_Key="k-1").status_code == 400
    assert post(body=body(workflow), Idempotency_Key="k-1").status_code == 201


def test_keys_of_other_people_are_other_keys(post, make_workflow, make_client, make_user):
    workflow = make_workflow()
    post(body=body(workflow), Idempotency_Key="k-1")
    other = make_client(make_user("other", permissions=["jobs.add_job"]))

    assert other.post(JOBS, body(workflow), format="json", headers={"Idempotency-Key": "k-1"}).status_code == 201
    assert Job.objects.count() == 2


@pytest.mark.parametrize("key", ["", " ", "k" * 256, "钥匙".encode().decode("latin-1"), "a\tb"])
def test_a_key_must_be_readable(post, make_workflow, key):
    assert wrong(post(body=body(make_workflow()), Idempotency_Key=key)) == {"Idempotency-Key": "invalid"}


def test_every_request_that_creates_takes_a_key(post, make_job, make_workflow, monkeypatch):
    failed = make_job(status="failed")
    workflow = make_workflow()
    batch = {"ai_workflow_def_id": str(workflow.pk), "items": [{"trigger_data_json": GOOD}]}
    for path, sent in (
        (f"{JOBS}/{failed.pk}/retry", None),
        (f"{JOBS}/batch", batch),
        (f"{JOBS}/retry?status=failed", None),
    ):
        key = next(KEYS)
        first, again = (post(path, sent, Idempotency_Key=key) for _ in range(2))
        assert first.status_code in (200, 201), first.content
        assert (again.json(), again["Idempotency-Replayed"]) == (first.json(), "true")


@pytest.mark.django_db(transaction=True)
def test_of_such_requests_at_once_one_creates_and_all_get_its_answer(on_disk, make_client, admin, make_workflow):
    workflow, answers = make_workflow(), []
    start = threading.Barrier(4)

    def send():
        try:
            client = make_client(admin)
            start.wait()
            answers.append(client.post(JOBS, body(workflow), format="json", headers={"Idempotency-Key": "k-1"}))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (Job.objects.count(), KeptAnswer.objects.count()) == (1, 1)
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 3


# Prefer: wait


@pytest.mark.django_db(transaction=True)
def test_a_request_that_waits_gets_the_job_when_it_is_over(on_disk, post, make_workflow):
    workflow = make_workflow()

    def work():
        try:
            while not (jobs := claims.claim(1, timedelta(seconds=30), "here:1")):
                time.sleep(0.02)
            jobs[0].complete({"prompt": {"prompt": "答案"}}, 0.1)
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()

    answer = post(body=body(workflow), Prefer="respond-async, wait=20")
    told = b"".join(answer.streaming_content)
    worker.join()

    assert answer.status_code == 201
    assert answer["Preference-Applied"] == "wait=20"
    assert b'"status_str":"completed"' in told
    assert "答案".encode() in told


def test_a_request_that_has_waited_long_enough_gets_the_job_as_it_is(post, make_workflow):
    answer = post(body=body(make_workflow()), Prefer="wait=1")

    assert b'"status_str":"pending"' in b"".join(answer.streaming_content)


@pytest.mark.parametrize("prefer", ["", "wait", "wait=soon", "wait=-1", "wait=0", "return=minimal", "await=5"])
def test_preferences_that_say_nothing_of_waiting_are_ignored(post, make_workflow, prefer):
    answer = post(body=body(make_workflow()), Prefer=prefer)

    assert answer.status_code == 201
    assert not answer.streaming
    assert "Preference-Applied" not in answer.headers


def test_nobody_is_made_to_wait_longer_than_a_gateway_would(post, make_workflow):
    answer = post(body=body(make_workflow()), Prefer="wait=3600")

    assert answer["Preference-Applied"] == "wait=25"


def test_a_request_sent_again_waits_for_the_first_ones_job(post, make_workflow):
    workflow = make_workflow()
    first = post(body=body(workflow), Idempotency_Key="k-1").json()
    Job.objects.filter(pk=first["id"]).update(status="cancelled", completed_at=Now())

    again = post(body=body(workflow), Idempotency_Key="k-1", Prefer="wait=5")

    assert again["Idempotency-Replayed"] == "true"
    assert b'"status_str":"cancelled"' in b"".join(again.streaming_content)
    assert Workflow.objects.get().jobs.count() == 1
