"""Every page of the console and every list of the API asks the database as often for many rows as for few."""

import re

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver
from django.utils import timezone

from accounts.models import ApiKey, User, Workspace
from jobs.models import Job, JobBatch, JobEvent, JobStep, Worker
from workflows.models import WorkflowRevision

AT_MOST = 20  # queries of any page
# What tells nothing of rows, or does not end by itself.
LEFT_OUT = re.compile(
    r"^$|^(docs|redoc|openapi|ping|health|metrics)|components|/events|\.js$"
    r"|admin/(login|logout|jsi18n|r/|autocomplete|\(\?P)"
)


def routes(patterns, before=""):
    """All addresses of the site, with their places still open."""
    for pattern in patterns:
        route = before + str(pattern.pattern).lstrip("^").replace("\\Z", "").rstrip("$")
        if hasattr(pattern, "url_patterns"):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route


def addresses(workflow, job, others: dict[str, str]) -> list[str]:
    """All addresses that can be looked at, each of one thing that there is."""
    found = set()
    for route in routes(get_resolver().url_patterns):
        if LEFT_OUT.search(route) or (route.endswith("/") and not route.startswith("admin/")):
            continue  # the API has each address twice
        things = {"workflows/workflow": workflow, "ai_workflow_def": workflow, "jobs/job": job, "ai_workflow_job": job}
        [key] = [str(thing.pk) for part, thing in things.items() if part in route][:1] or [""]
        for part, other in others.items():
            key = other if part in route else key
        found.add("/" + re.sub(r"<int:\w+>", "1", re.sub(r"<(?!int:)[^>]+>", key, route)))
    return sorted(found)


@pytest.fixture
def fill(admin, make_workflow, make_job):
    """Makes so many of each kind. Pages of one thing are of what it returns: a workflow and a job, with the most."""
    workflow = make_workflow(concurrency_limit=1)
    batch = JobBatch.objects.create(workspace_id=Workspace.DEFAULT_ID, workflow=workflow, created_by=admin)
    job = make_job(workflow=workflow, status="completed", created_by=admin, batch=batch)

    def more(numbers: range):
        for n in numbers:
            user, other = User.objects.create(username=f"user {n}", is_staff=True), make_workflow()
            ApiKey(workspace_id=Workspace.DEFAULT_ID, user=admin, name=f"key {n}").issue()
            for status in ("pending", "running", "completed", "failed", "cancelled"):
                make_job(workflow=other, status=status, created_by=user, retry_of=job, batch=batch)
            make_job(workflow=workflow, waits_for=Job.WaitsFor.ROOM)
            WorkflowRevision.objects.create(
                workflow=workflow, number=n, pipeline_yaml=str(n), content_hash=str(n), created_by=user,
                description=workflow.current_revision.description,
            )  # fmt: skip
            JobStep.objects.create(job=job, attempt=1, position=n, component=f"c{n}", started_at=timezone.now())
            data = {"text": "字", "component_name_str": "c"}
            JobEvent.objects.create(job=job, seq=100 + n, kind=JobEvent.Kind.TOKEN, data=data)
            Worker.objects.create(
                name=f"w:{n}", processes=1, places=1, started_at=timezone.now(), last_seen_at=timezone.now()
            )
            kind = ContentType.objects.get_for_model(Job)
            LogEntry.objects.create(
                user=user, content_type=kind, object_id=str(job.pk), object_repr="x", action_flag=CHANGE
            )
        return workflow, job

    return more


def test_no_page_asks_more_often_for_many_rows_than_for_few(client, admin, fill):
    client.force_login(admin)
    workflow, job = fill(range(2, 6))
    others = {
        "accounts/user": str(admin.pk),
        "accounts/workspace": str(Workspace.DEFAULT_ID),
        "accounts/apikey": str(ApiKey.objects.first().pk),
        "api_keys": str(ApiKey.objects.first().pk),
        "/batch/": str(job.batch_id),
    }
    looked_at = addresses(workflow, job, others)

    def count() -> dict[str, int]:
        counted = {}
        for address in looked_at:
            # Lists of the API by two: one that ends with its page need not be counted. Others refuse or ignore it.
            page = {"limit": 2} if client.get(address, {"limit": 2}).status_code == 200 else {}
            with CaptureQueriesContext(connection) as captured:
                answer = client.get(address, page)
            if answer.status_code == 200:
                counted[address] = len(captured)
        return counted

    few = count()
    fill(range(6, 36))
    many = count()

    assert len(few) > 40, sorted(few)
    assert {address: (few[address], number) for address, number in many.items() if number > few[address]} == {}
    assert {address: number for address, number in many.items() if number > AT_MOST} == {}
