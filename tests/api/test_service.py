"""The addresses beside the API: documents, health, metrics, and the developers' four."""

import json
import re
from io import StringIO

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from aiworkflow_project.api import health
from jobs.models import Job, Worker

DEBUG = "/api/v1/debug"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/"])
def test_the_documentation_needs_no_other_host_and_no_inline_script(anonymous, path):
    answer = anonymous.get(path)

    page = answer.content.decode()
    assert answer.status_code == 200
    assert not re.search(r"(src|href)=[\"'](https?:)?//", page)
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    policy = answer["Content-Security-Policy"]
    assert re.search(r"script-src 'self'(;|$)", policy)
    assert "http" not in policy


def test_the_openapi_document_is_valid_and_complete():
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=StringIO())


def test_the_openapi_document_tells_each_address_once_and_problems_everywhere(anonymous):
    document = anonymous.get("/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    paths = document["paths"]
    assert not [path for path in paths if path.endswith("/") or "debug" in path]
    assert {"/api/v1/ai_workflow_def/validate", "/api/v1/ai_workflow_job/{id}/events", "/api/v1/auth/token"} <= set(
        paths
    )
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert "application/problem+json" in json.dumps(operation["responses"]), (path, method)
    names = {parameter["name"] for parameter in paths["/api/v1/ai_workflow_job"]["get"]["parameters"]}
    assert {"limit", "offset", "order_by", "order", "status", "completed_after", "ai_workflow_def_id"} <= names


def test_ping_touches_nothing(anonymous):  # without django_db, any query would fail
    assert anonymous.get("/ping").json() == anonymous.get("/ping/").json() == {"status": "ok"}


@pytest.fixture
def well(db, monkeypatch):
    Worker.objects.create(name="here:1", processes=1, places=16, started_at=timezone.now(), last_seen_at=Now())
    monkeypatch.setattr("workflows.engine.runner_status", lambda: {"pid": 1})


def test_health_has_an_entry_for_each_part(anonymous, well):
    answer = anonymous.get("/health")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["parts"].keys() == {"database", "migrations", "broker", "workers", "runner"}
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("part", ["database", "migrations", "broker", "workers"])
def test_health_answers_503_and_names_the_part_that_is_not_well(anonymous, well, monkeypatch, part):
    def away():
        raise ConnectionError("redis://user:password@10.0.0.1")

    monkeypatch.setitem(health.PARTS, part, away)

    answer = anonymous.get("/health")

    assert answer.status_code == 503
    assert [name for name, found in answer.json()["parts"].items() if found["status"] != "ok"] == [part]
    assert b"password" not in answer.content


def test_health_without_workers_is_503_and_without_a_runner_is_200(anonymous, well, monkeypatch):
    monkeypatch.setattr("workflows.engine.runner_status", lambda: None)
    answer = anonymous.get("/health")
    assert (answer.status_code, answer.json()["parts"]["runner"]["status"]) == (200, "error")

    Worker.objects.all().delete()
    assert anonymous.get("/health").status_code == 503


def test_metrics_count_jobs_and_workers(anonymous, well, make_job, settings):
    settings.DEBUG = True
    make_job(status="completed")
    Job.objects.filter(pk=make_job().pk).update(created_at=timezone.now() - timezone.timedelta(seconds=90))

    answer = anonymous.get("/metrics")

    lines = answer.content.decode().splitlines()
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'aiworkflow_jobs{status="completed"} 1' in lines
    assert 'aiworkflow_jobs{status="running"} 0' in lines
    assert "aiworkflow_workers 1" in lines
    assert "aiworkflow_worker_places 16" in lines
    [age] = [float(line.split()[1]) for line in lines if line.startswith("aiworkflow_oldest_pending_job_seconds ")]
    assert 89 < age < 120


@pytest.mark.django_db
def test_metrics_of_a_production_site_are_for_its_token_and_superusers(anonymous, make_user, settings):
    settings.DEBUG = False
    settings.METRICS_TOKEN = "measure me"

    def status(token=None, user=None):
        anonymous.logout()
        if user:
            anonymous.force_login(user)
        return anonymous.get("/metrics", headers={"Authorization": f"Bearer {token}"} if token else {}).status_code

    assert status() == status("wrong") == status("aiwf_wrong") == status(user=make_user("wei", is_staff=True)) == 401
    assert status("measure me") == status(user=make_user("root", is_superuser=True)) == 200
    settings.METRICS_TOKEN = ""
    assert status("") == 401


FOUR = [("post", "create-tables"), ("delete", "drop-tables"), ("get", "table-info"), ("get", "health-check")]


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "name"), FOUR)
def test_the_developers_endpoints_are_not_there_unless_asked_for(api, settings, method, name):
    for settings.DEBUG, settings.DEBUG_API in ((True, False), (False, False), (False, True)):
        assert getattr(api, method)(f"{DEBUG}/{name}").status_code == 404
    assert "ai_workflow_def" in connection.introspection.table_names()


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "name"), FOUR)
def test_the_developers_endpoints_are_for_superusers(anonymous, make_client, make_user, settings, method, name):
    settings.DEBUG = settings.DEBUG_API = True
    staff = make_client(make_user(is_staff=True, permissions=["workflows.delete_workflow"]))

    assert getattr(anonymous, method)(f"{DEBUG}/{name}").status_code == 401
    assert getattr(staff, method)(f"{DEBUG}/{name}").status_code == 403
    assert "ai_workflow_def" in connection.introspection.table_names()


@pytest.mark.django_db
def test_a_superuser_looks_at_the_tables_of_a_development_site(api, settings, make_job):
    settings.DEBUG = settings.DEBUG_API = True
    make_job()

    tables = {table["name"]: table for table in api.get(f"{DEBUG}/table-info").json()["tables"]}

    assert {"ai_workflow_def", "ai_workflow_job"} <= tables.keys()
    assert tables["ai_workflow_job"]["rows"] == 1
    assert "trigger_data" in [column["name"] for column in tables["ai_workflow_job"]["columns"]]
    found = api.get(f"{DEBUG}/health-check")
    assert (found.status_code, found.json()["ok"], found.json()["migrations_to_apply"]) == (200, True, [])


@pytest.mark.django_db(transaction=True)
def test_tables_are_dropped_and_made_again(api, settings):
    settings.DEBUG = settings.DEBUG_API = True
    try:
        dropped = api.delete(f"{DEBUG}/drop-tables").json()["dropped"]
        assert "ai_workflow_job" in dropped
        assert not {"ai_workflow_def", "ai_workflow_job"} & set(connection.introspection.table_names())
        assert api.get(f"{DEBUG}/health-check").status_code == 503
    finally:
        made = api.post(f"{DEBUG}/create-tables")
    assert "ai_workflow_job" in made.json()["tables"]
    assert api.get("/api/v1/ai_workflow_job").json()["count"] == 0


@pytest.mark.django_db
def test_the_commands_do_what_the_endpoints_do(settings):
    settings.DEBUG = False
    with pytest.raises(CommandError, match="development"):
        call_command("drop_tables", "--no-input")

    out = StringIO()
    call_command("table_info", stdout=out)
    call_command("check_database", stdout=out)
    assert "ai_workflow_def: 0 rows" in out.getvalue()
    assert "migrations_to_apply: none" in out.getvalue()


def test_settings_that_must_not_start_are_errors(settings):
    def ids():
        return {message.id for message in run_checks() if message.id.startswith("aiworkflow.")}

    settings.DEBUG = True
    assert ids() == set()
    settings.DEBUG, settings.DEBUG_API, settings.ALLOWED_HOSTS = False, True, []
    settings.PIPELINE_SECRETS = ["NOWHERE@api.example.com", "UNBOUND"]
    assert ids() == {"aiworkflow.E001", "aiworkflow.E002", "aiworkflow.E003", "aiworkflow.W001"}
