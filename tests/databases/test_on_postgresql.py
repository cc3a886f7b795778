"""What PostgreSQL needs of us, and of who makes the database."""

from pathlib import Path

import pytest
from django.db import connection
from django.db.utils import ConnectionHandler

from accounts.models import Workspace
from aiworkflow_project import checks, database_url
from aiworkflow_project.api import ordering
from jobs.models import Job
from tests.databases import servers

pytestmark = pytest.mark.django_db


def test_the_list_by_end_is_read_from_its_index(make_job):
    for _ in range(50):
        make_job(status="completed")
    order = ordering.read({"order_by": "end"}, {"end": "completed_at"}, "end", Job)

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ai_workflow_job")
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = Job.objects.filter(workspace=Workspace.DEFAULT_ID).order_by(*order)[:5].explain()

    assert "job_by_end_nulls_last" in plan
    assert "Sort" not in plan


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'", ["aiworkflow.W002"]),
        ("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'", ["aiworkflow.E004"]),
        ("ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'", []),
    ],
)
def test_a_database_that_was_made_unfit_is_told_of(monkeypatch, options, expected):
    url = servers.CHOSEN.make(f"TEMPLATE template0 {options}")
    settings = database_url.parse(url, default=Path(), base_dir=Path())
    monkeypatch.setattr(checks, "connection", ConnectionHandler({"default": settings})["default"])

    found = [message.id for message in checks.database_is_fit(None, databases=["default"])]

    checks.connection.close()
    assert found == expected
