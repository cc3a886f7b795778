"""Fixtures for the tests of every room."""

import os
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from hypothesis import settings as hypothesis_settings
from rest_framework.test import APIClient

from tests import descriptions
from tests.databases import servers
from tests.model_server import running

# The same tests on each run, in seconds; `--hypothesis-profile=long` looks for minutes, each time elsewhere.
hypothesis_settings.register_profile("short", derandomize=True, deadline=None, max_examples=25, stateful_step_count=30)
hypothesis_settings.register_profile("long", deadline=None, max_examples=1000, stateful_step_count=60)
hypothesis_settings.load_profile("short")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """In CI a test that skips has failed: what it needs was to be installed."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"


@pytest.fixture(scope="session")
def django_db_modify_db_settings():
    """pytest-django's hook: each process of a run has a database of its own, known by its name."""
    if servers.CHOSEN:
        connection.settings_dict["TEST"]["NAME"] = servers.CHOSEN.reserve()


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    """What a process goes by for a while (a queue that failed, a list, a key, a workflow) is not to last into the next
    test."""
    from accounts import known_keys
    from aiworkflow_project.api import lists
    from jobs.api.workflows import known_workflows

    monkeypatch.setattr("jobs.services._quiet_until", 0.0)
    lists._kept.forget()
    known_keys.known.forget()
    known_workflows.forget()


@pytest.fixture
def model_server():
    """An OpenAI-compatible server of the test's own, on a free port: see tests/model_server.py."""
    with running() as server:
        yield server


@pytest.fixture
def make_workspace(db):
    from accounts.models import Workspace

    def make(slug="default"):
        if slug == "default":
            found, _ = Workspace.objects.get_or_create(
                pk=Workspace.DEFAULT_ID, defaults={"name": "Default", "slug": slug}
            )
            return found
        return Workspace.objects.create(name=slug.title(), slug=slug)

    return make


@pytest.fixture
def make_user(db):
    from django.contrib.auth.models import Permission

    from accounts.models import User

    def make(username="wei", *, permissions=(), **fields):
        """A person who may do nothing, but for `permissions`: "workflows.view_workflow"."""
        user = User.objects.create_user(username, password="correct horse", **fields)
        for permission in permissions:
            app, _, codename = permission.partition(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        return user

    return make


@pytest.fixture
def make_workflow(make_workspace):
    """Makes workflows with a revision whose description is written by hand: no runner is asked."""
    from workflows.models import Workflow, WorkflowRevision

    made = 0

    def make(*, workspace=None, pipeline_yaml=descriptions.PROMPT_YAML, described=descriptions.PROMPT, **fields):
        nonlocal made
        made += 1
        workflow = Workflow(workspace=workspace or make_workspace(), **{"name": f"问答 {made}", **fields})
        workflow.save()
        workflow.current_revision = WorkflowRevision.objects.create(
            workflow=workflow,
            number=1,
            pipeline_yaml=pipeline_yaml,
            content_hash=WorkflowRevision.hash_of(pipeline_yaml),
            description=described,
        )
        workflow.save(update_fields=["current_revision"])
        return workflow

    return make


@pytest.fixture
def make_job(make_workflow):
    """Makes jobs in any state, with what that state requires and the events that led there."""
    import uuid

    from jobs.models import Job

    def make(*, workflow=None, status="pending", **fields):
        workflow = workflow or make_workflow()
        now = timezone.now()
        values = {
            "trigger_data": {"query": "什么是人工智能？", "top_k": 5},
            "timeout_seconds": 60,
            "max_attempts": 3,
            "status": status,
        }
        if status != "pending":
            values |= {"started_at": now, "attempt": 1}
        if status == "running":
            values |= {"lease_token": uuid.uuid4(), "lease_expires_at": Now() + timedelta(seconds=30)}
        if status in ("completed", "failed", "cancelled"):
            values |= {"completed_at": now, "execution_seconds": 0.5}
        if status == "completed":
            values |= {"result": {"prompt": {"prompt": "答案"}}}
        if status == "failed":
            values |= {"error_code": "component_failed", "error_message": "没有回答"}
        job = Job(
            workspace_id=workflow.workspace_id,
            workflow=workflow,
            revision=workflow.current_revision,
            **values | fields,
        )
        job.save(force_insert=True)
        job.refresh_from_db()
        job.state_event().save(force_insert=True)
        return job

    return make


@pytest.fixture
def admin(make_user):
    return make_user("admin", is_staff=True, is_superuser=True)


@pytest.fixture
def make_client():
    def make(user=None):
        client = APIClient()
        client.raise_request_exception = False  # an unexpected error is to be seen as clients see it
        if user:
            client.force_authenticate(user)
        return client

    return make


@pytest.fixture
def api(make_client, admin):
    """A client of the API, signed in as a superuser."""
    return make_client(admin)


@pytest.fixture
def anonymous(make_client):
    return make_client()
