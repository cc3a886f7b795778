"""The figures of the first page."""

from datetime import timedelta

import pytest
from django.utils import timezone

from aiworkflow_project.db import counts
from jobs import dashboard


@pytest.fixture
def workspace(make_workspace):
    return make_workspace()


def test_jobs_are_counted_in_the_hour_in_which_they_ended(workspace, make_job):
    now = timezone.now().replace(minute=30)
    make_job(status="completed", completed_at=now, execution_seconds=2.0)
    make_job(status="failed", completed_at=now - timedelta(hours=3))
    make_job(status="completed", completed_at=now - timedelta(hours=30))

    day = dashboard.last_day(workspace, now)

    assert (day.hours[-1].completed, day.hours[-4].failed, day.total) == (1, 1, 2)
    assert day.failure_percent == 50
    assert day.median_seconds == 2.0


def test_another_workspace_s_jobs_are_not_counted(make_workspace, make_workflow, make_job):
    make_job(workflow=make_workflow(workspace=make_workspace("other")), status="failed")

    assert dashboard.last_day(make_workspace()).total == 0
    assert not dashboard.open_counts(make_workspace())["failed"]


def test_counting_stops_at_its_limit(workspace, make_job, monkeypatch):
    monkeypatch.setattr(counts, "COUNT_AT_MOST", 2)
    for _ in range(4):
        make_job()

    counted = dashboard.open_counts(workspace)

    assert str(counted["pending"]) == "2+"
    assert str(counted["running"]) == "0"


def test_a_sample_says_that_it_is_one(workspace, make_job, monkeypatch):
    monkeypatch.setattr(dashboard, "SAMPLE_AT_MOST", 2)
    for _ in range(3):
        make_job(status="completed")

    assert dashboard.last_day(workspace).sampled


def test_the_oldest_waiting_job_is_found(workspace, make_job):
    now = timezone.now()
    make_job(created_at=now)
    oldest = make_job(created_at=now - timedelta(hours=2))
    make_job(status="completed", created_at=now - timedelta(hours=3))

    assert dashboard.oldest_pending(workspace) == oldest


def test_the_first_page_takes_as_many_queries_whatever_there_is(
    client, admin, make_workspace, make_job, django_assert_num_queries
):
    make_workspace()
    client.force_login(admin)
    with django_assert_num_queries(11) as first:
        client.get("/admin/")

    workflow = make_job().workflow
    for status in ("pending", "running", "completed", "failed", "cancelled"):
        for _ in range(6):
            make_job(workflow=workflow, status=status, created_by=admin)
    with django_assert_num_queries(len(first)):
        content = client.get("/admin/").content.decode()

    assert "没有回答" in content


def test_who_may_not_see_jobs_sees_no_figures(client, make_user, make_job):
    make_job(status="failed")
    client.force_login(make_user(is_staff=True))

    content = client.get("/admin/").content.decode()

    assert "没有回答" not in content
    assert 'role="img"' not in content
