"""What PostgreSQL needs of us, and of who makes the database."""

import json
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import DataError, connection, transaction
from django.db.models import F
from django.db.utils import ConnectionHandler
from django.test.utils import CaptureQueriesContext

from accounts.models import Workspace
from aiworkflow_project import checks, database_url
from aiworkflow_project.api import ordering
from aiworkflow_project.db import counts, steering
from jobs import claims, search, services
from jobs.lifetimes import LivedLong
from jobs.models import Job
from jobs.queue import orm
from jobs.queue.orm import WakeUps
from tests.databases import servers
from tests.databases.alike import alike
from tests.databases.relay import Relay

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


def test_few_jobs_are_found_by_their_filter_and_sorted_however_the_order_lies(make_job, make_workflow):
    of_many, of_few = make_workflow(), make_workflow()
    pattern = make_job(workflow=of_many, status="completed")
    few = {"workflow_id": of_few.pk, "revision_id": of_few.current_revision_id}
    Job.objects.bulk_create(alike(pattern, name=f"作业 {number}") for number in range(700))
    Job.objects.bulk_create(alike(pattern, name=f"少 {number}", **few) for number in range(300))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ai_workflow_job")
    jobs = Job.objects.filter(workspace=Workspace.DEFAULT_ID, workflow=of_few).order_by("-name", "-id")

    [steered] = steering.steered(jobs, ["name", "id"], "workspace")

    assert "job_by_name" in jobs[:10].explain()  # what it would do
    assert "job_by_name" not in steered[:10].explain()
    assert list(steered[:10]) == list(jobs[:10])


@pytest.fixture
def batches(make_job):
    """Two thousand jobs, named by their number of a hundred."""
    pattern = make_job(name="", status="completed")
    Job.objects.bulk_create(alike(pattern, name=f"Batch {number % 100} of all") for number in range(2_000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ai_workflow_job")
    return Job.objects.filter(workspace=Workspace.DEFAULT_ID)


def test_words_that_many_names_have_are_not_sought(batches):
    found = batches.named_like("batch 77 of")

    assert set(found.values_list("name", flat=True)) == {"Batch 77 of all"}
    assert found.count() == 20
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    [sought] = re.findall(r"Index Cond: \(upper.*", Job.objects.named_like("batch 77 of").explain())
    assert " 77 " in sought
    assert "BATCH" not in sought.upper()


@pytest.mark.parametrize("text", ["Batch 7", "batch", "77 of", "问 77 答"])
def test_a_text_is_sought_whole_where_its_words_tell_no_more(batches, text):
    assert set(batches.named_like(text)) == set(batches.filter(name__icontains=text))


@pytest.mark.parametrize("order_by", ["created_at_time", "job_name_str", "completed_at_time"])
@pytest.mark.parametrize(("text", "number"), [("batch 77 of", 20), ("没有", 0)])
def test_what_a_search_finds_is_counted_as_it_is_read(api, batches, order_by, text, number):
    address, params = "/api/v1/ai_workflow_job", {"job_name": text, "order_by": order_by}
    whole = api.get(address, params).json()

    with CaptureQueriesContext(connection) as captured:
        pages = [api.get(address, params | {"limit": 7, "offset": offset}).json() for offset in (0, 7, 14, 21)]

    assert [page["count"] for page in (whole, *pages)] == [number] * 5
    assert [row for page in pages for row in page["results"]] == whole["results"]
    assert "rows_found" not in json.dumps(whole)
    assert sum(" OVER " in query["sql"] for query in captured) == 4


def test_half_of_the_jobs_by_one_time_are_walked_through_from_there_in_the_order_of_another(make_job, monkeypatch):
    monkeypatch.setattr(counts, "COUNT_AT_MOST", 100)
    pattern = make_job(status="completed")
    moments = [pattern.created_at - timedelta(seconds=second) for second in range(2_000)]
    Job.objects.bulk_create(alike(pattern, created_at=at, updated_at=at, completed_at=at) for at in moments)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ai_workflow_job")
    jobs = Job.objects.filter(workspace=Workspace.DEFAULT_ID, created_at__lt=moments[1_000])
    jobs = jobs.order_by(F("completed_at").desc(nulls_last=True), "-id")

    far, near, nulls = steering.steered(jobs, ["completed_at", "id"], "workspace")

    assert counts.Counting(Job.objects.filter(LivedLong())).guessed() < 100
    assert "job_that_lived_long" in far[:100].explain()
    assert re.search(r"Index Scan using job_by_end_nulls_last.*\n.*completed_at <= ", near[:100].explain())
    assert [*far, *near, *nulls] == list(jobs)


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


class Pooler(Relay):
    """Tells a number of its own for the session, as poolers do."""

    def from_server(self, said: bytes) -> bytes:
        # BackendKeyData: the session's number and its secret.
        return re.sub(rb"K\0\0\0\x0c.{4}", b"K\0\0\0\x0c\0\0\0\x01", said, flags=re.DOTALL)


def _connected(url: str):
    made = ConnectionHandler({"default": database_url.parse(url, default=Path(), base_dir=Path())})["default"]
    made.ensure_connection()
    return made


def test_statements_are_kept_by_the_server_and_never_behind_a_pooler():
    url = urlsplit(servers.CHOSEN.make())
    pooler = Pooler(url.hostname, url.port)
    behind = url._replace(netloc=f"{url.netloc.partition('@')[0]}@127.0.0.1:{pooler.port}")
    kept = []

    for address in (url.geturl(), f"{behind.geturl()}?sslmode=disable"):
        connection = _connected(address)
        for _ in range(3):
            with connection.prepared_cursor() as cursor:
                cursor.execute("SELECT %s + 1", [41])
                assert cursor.fetchall() == [(42,)]
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_prepared_statements")
            kept += cursor.fetchone()
        connection.close()

    pooler.close()
    assert kept == [1, 0]


@pytest.mark.parametrize(("known", "new"), [(300, 200), (2000, 1000)])
def test_a_claim_finds_its_jobs_by_their_keys_whatever_the_statistics_say(make_job, known, new):
    """They are often of before: a batch has come since. And a plan is kept for as long as nobody looks again."""
    pattern = make_job(status="completed")
    Job.objects.bulk_create(alike(pattern) for _ in range(known))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ai_workflow_job")
    Job.objects.bulk_create(alike(pattern, status="pending", completed_at=None) for _ in range(new))

    with CaptureQueriesContext(connection) as captured:
        for _ in range(2):  # what is prepared is told of with its values
            assert len(claims.claim(16, timedelta(seconds=60), "here")) == 16
    [_, update] = [query["sql"] for query in captured if "(UPDATE " in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {update}")
        plan = "\n".join(line for [line] in cursor.fetchall())

    assert "Index Scan using ai_workflow_job_pkey" in plan
    assert "Index Cond: (id = given.value_0)" in plan
    assert not {"job_ready", "job_lease", "job_for_room"} & set(re.findall(r"\w+", plan))


def test_times_are_read_in_utc_to_the_microsecond(make_job):
    moment = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC)
    job = make_job(created_at=moment)

    for found in (Job.objects.get(pk=job.pk), next(Job.objects.filter(pk=job.pk).iterator())):
        assert found.created_at == moment
        assert found.created_at.utcoffset() == timedelta(0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'infinity'::timestamptz")
        with pytest.raises(DataError):
            cursor.fetchall()
