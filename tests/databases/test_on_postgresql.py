"""What PostgreSQL needs of us, and of who makes the database."""

import threading
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.db.utils import ConnectionHandler

from accounts.models import Workspace
from aiworkflow_project import checks, database_url
from aiworkflow_project.api import ordering
from jobs import search, services
from jobs.models import Job
from jobs.queue import orm
from jobs.queue.orm import WakeUps
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


@pytest.fixture
def broker(transactional_db):
    broker = WakeUps("aiworkflow")
    yield broker
    broker._hang_up()


@pytest.mark.parametrize("limit", [None, 1])
def test_a_pool_is_told_of_a_job_at_once(broker, make_workflow, monkeypatch, limit):
    monkeypatch.setattr(orm, "LISTEN", 60)
    workflow, found = make_workflow(concurrency_limit=limit), []
    broker.dequeue()  # begins to listen

    def listen():
        broker.dequeue()  # until told
        found.extend(broker.dequeue())
        connection.close()

    listener = threading.Thread(target=listen)
    listener.start()
    services.submit(workflow, {"query": "问", "top_k": 5})
    listener.join(20)

    assert not listener.is_alive()
    assert len(found) == 1


def test_a_pool_listens_again_after_its_connection_was_ended(broker, make_workflow, monkeypatch):
    monkeypatch.setattr(orm, "LISTEN", 0.1)
    broker.dequeue()
    first = broker._listener.connection.info.backend_pid
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [first])

    assert [broker.dequeue(), broker.dequeue()] == [[], []]

    assert broker._listener.connection.info.backend_pid != first
    services.submit(make_workflow(), {"query": "问", "top_k": 5})
    assert len(broker.dequeue()) == 1


def test_a_role_that_may_not_make_the_index_searches_without_it(make_job, caplog):
    job = make_job(name="batch 7")
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION pg_trgm CASCADE")
        cursor.execute("CREATE ROLE test_plain_role NOLOGIN")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO test_plain_role")
        cursor.execute("SET LOCAL ROLE test_plain_role")

    with transaction.atomic():
        search.ensure("default")

    assert "without an index" in caplog.text
    assert list(Job.objects.named_like("BATCH")) == [job]
