"""Values at the edges come back as they went in, and lists have one order, on every database."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs import claims, worker
from jobs.models import Job, JobStep, Worker
from tests.jobs.test_worker import RESULT, ScriptedRun, runs, started  # noqa: F401 - runs is a fixture
from workflows.fields import AnyTextField

pytestmark = pytest.mark.django_db

JOBS = "/api/v1/ai_workflow_job"
NUL = "坏了\0🙂 \\u0000"


@pytest.mark.parametrize("message", [NUL, "\0", AnyTextField.MARK, AnyTextField.MARK + '"x"', "普通 \\0", ""])
def test_an_error_message_may_hold_any_character(make_job, message):
    make_job()
    [job] = claims.claim(1, timedelta(seconds=60), "here")

    job.fail("component_failed", message, 0.1)

    stored = Job.objects.get(pk=job.pk)
    assert stored.error_message == message
    assert stored.events.order_by("seq").last().data["error_message_text"] == message


def test_whatever_a_component_says_reaches_the_reader(make_job, runs, api):  # noqa: F811
    job = make_job()
    failed = {"kind": "step_failed", "position": 1, "at": 1.5, "seconds": 0.01, "message": NUL}
    told = started() | {"input": {NUL: [NUL]}}
    token = {"kind": "token", "component": "llm", "text": NUL}
    error = {"kind": "error", "code": "component_failed", "component": None, "message": NUL}
    runs.append(ScriptedRun([told, token, failed, error]))

    worker.work()

    row = api.get(f"{JOBS}/{job.pk}").json()
    assert (row["status_str"], row["error_message_text"]) == ("failed", NUL)
    [step] = api.get(f"{JOBS}/{job.pk}/steps").json()["results"]
    assert (step["input_preview_json"], step["error_message_text"]) == ({NUL: [NUL]}, NUL)
    stream = b"".join(api.get(f"{JOBS}/{job.pk}/events").streaming_content).decode()
    assert json.dumps(NUL, ensure_ascii=False)[1:-1] in stream


def test_the_console_shows_a_message_with_any_character(make_job, admin, client):
    make_job()
    [job] = claims.claim(1, timedelta(seconds=60), "here")
    job.fail("component_failed", NUL, 0.1)
    client.force_login(admin)

    page = client.get(f"/admin/jobs/job/{job.pk}/change/")

    assert page.status_code == 200
    assert "坏了" in page.content.decode()


@pytest.mark.parametrize(
    "path", ["/admin/jobs/job/?q=%00", "/admin/jobs/job/add/?q=%00", "/admin/workflows/workflow/?q=%00",
             "/admin/workflows/workflow/?tag=%00", "/admin/jobs/job/?workflow__id__exact=%00",
             "/admin/jobs/job/?status__exact=%00", "/admin/accounts/user/?q=a%00"],
)  # fmt: skip
def test_a_nul_in_an_address_of_the_console_is_refused(admin, client, path):
    client.force_login(admin)

    assert client.get(path).status_code == 400


def test_ten_megabytes_are_a_result(make_job, api):
    result = {"text": "人工智能🙂\n\"'\\" * 500_000}
    make_job()
    [job] = claims.claim(1, timedelta(seconds=60), "here")
    assert len(json.dumps(result, ensure_ascii=False).encode()) > 10_000_000

    job.complete(result, 1.0)

    assert Job.objects.get(pk=job.pk).result == result
    assert api.get(f"{JOBS}/{job.pk}").json()["result_data_json"] == result


@pytest.mark.django_db(transaction=True)  # the server hangs up
def test_a_result_that_the_database_does_not_take_fails_its_job_and_no_other(make_job, runs):  # noqa: F811
    large, small = make_job(), make_job()
    runs.append(ScriptedRun([{"kind": "result", "result": {"text": "x" * 17_000_000}}]))
    runs.append(ScriptedRun([RESULT]))

    worker.work()

    large.refresh_from_db()
    small.refresh_from_db()
    assert small.status == "completed"
    if connection.vendor == "mysql":
        assert (large.status, large.error_code) == ("failed", "result_not_stored")
        assert "max_allowed_packet" in large.error_message
    else:
        assert large.status == "completed"


def test_lists_put_what_has_no_time_at_the_same_end(make_job, api):
    ended = [make_job(status="completed") for _ in range(2)]
    waiting = make_job()
    for number, job in enumerate(ended):
        at = timezone.now() - timedelta(hours=number)
        Job.objects.filter(pk=job.pk).update(started_at=at, completed_at=at, execution_seconds=9 - number)

    def listed(**params):
        return [row["id"] for row in api.get(JOBS, params).json()["results"]]

    newest_first = [str(ended[0].pk), str(ended[1].pk), str(waiting.pk)]
    for field in ("completed_at_time", "started_at_time", "execution_time_seconds"):
        assert listed(order_by=field, order="desc") == newest_first
        assert listed(order_by=field, order="asc") == newest_first[::-1]


def test_times_keep_their_microseconds_and_compare_with_the_database_s_clock(make_job):
    at = datetime(2026, 2, 28, 23, 59, 59, 999_999, UTC)
    job = make_job()
    Job.objects.filter(pk=job.pk).update(created_at=at)

    assert Job.objects.get(created_at=at).created_at == at
    assert not Job.objects.filter(created_at__lt=at).exists()
    assert Job.objects.filter(pk=job.pk, updated_at__lt=Now() + timedelta(seconds=5)).exists()
    assert not Job.objects.filter(pk=job.pk, updated_at__lt=Now() - timedelta(seconds=60)).exists()


def test_a_worker_that_reported_just_now_is_alive():
    Worker.objects.create(name="甲:1", processes=1, places=1, started_at=timezone.now(), last_seen_at=timezone.now())

    assert Worker.objects.alive().count() == 1


def test_nothing_asks_the_database_for_time_zones(make_job, make_workflow, admin, api, client, settings):
    """MariaDB and MySQL know named zones only where somebody loaded them, and find nothing in silence otherwise."""
    settings.TIME_ZONE = "Asia/Shanghai"
    job = make_job(status="completed")
    Job.objects.filter(pk=job.pk).update(created_at=datetime(2026, 1, 1, 16, 30, tzinfo=UTC))
    client.force_login(admin)
    pages = [
        "/admin/", "/admin/jobs/job/?when=day", "/admin/accounts/apikey/?expires_at__isnull=True",
        "/admin/workflows/workflow/?updated_at__gte=2026-01-01+00%3A00%3A00%2B08%3A00",
        f"/admin/jobs/job/{job.pk}/change/", f"/admin/workflows/workflow/{job.workflow_id}/history/",
    ]  # fmt: skip

    with CaptureQueriesContext(connection) as queries:
        for page in pages:
            assert client.get(page).status_code == 200, page
        found = api.get(JOBS, {"created_after": "2026-01-02T00:00", "created_before": "2026-01-02T01:00"}).json()
        assert client.get("/metrics").status_code == 200

    assert [row["id"] for row in found["results"]] == [str(job.pk)]
    assert not [query["sql"] for query in queries if "CONVERT_TZ" in query["sql"]]


def test_the_longest_texts_fit_and_longer_ones_are_refused_before_the_database(make_workflow, api):
    workflow = make_workflow()
    path = f"/api/v1/ai_workflow_def/{workflow.pk}"
    most = {"name_str": "🙂" * 255, "version_str": "🙂" * 50, "tags_str": "🙂" * 500, "description_text": "🙂" * 1000}

    assert api.patch(path, most, format="json").status_code == 200
    row = api.get(path).json()
    assert {name: row[name] for name in most} == most
    for name, value in most.items():
        answer = api.patch(path, {name: value + "x"}, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "max_length"), name


def test_a_long_name_of_a_component_is_cut_and_not_refused(make_job, runs):  # noqa: F811
    job = make_job()
    told = started() | {"component": "长" * 300, "component_type": "x." * 300}
    runs.append(ScriptedRun([told, RESULT]))

    worker.work()

    job.refresh_from_db()
    assert job.status == "completed"
    assert len(JobStep.objects.get().component) == 255
