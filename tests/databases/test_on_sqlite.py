"""What only SQLite does to us."""

import contextlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest import mock

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.utils import timezone

from aiworkflow_project.db import counts, statistics, steering
from aiworkflow_project.db.sqlite import base
from jobs import search
from jobs.models import Job
from jobs.queue import orm
from tests.databases.alike import alike
from tests.jobs.conftest import on_disk  # noqa: F401 - a fixture
from tests.journeys.site import wait_for


@pytest.mark.django_db
def test_triggers_that_a_migration_dropped_are_made_again_and_nothing_is_missed(make_job):
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER job_was_made")
    job = make_job(name="batch 7")

    before = set(Job.objects.named_like("batch"))
    search.ensure("default")

    assert before == set(Job.objects.named_like("batch")) == {job}
    assert "trigrams" in Job.objects.named_like("batch").explain()


@pytest.mark.django_db
def test_statistics_tell_how_the_jobs_are_indexed(make_job):
    make_job(created_at=timezone.now() - timedelta(hours=2))  # long enough to be in each index

    statistics.gather()

    with connection.cursor() as cursor:
        cursor.execute("SELECT idx FROM sqlite_stat1 WHERE tbl = %s", [Job._meta.db_table])
        assert {index.name for index in Job._meta.indexes} <= {name for (name,) in cursor.fetchall()}


@pytest.fixture
def crowd(make_job, make_workflow):
    """Two thousand jobs of one workflow, of which one in a hundred failed, and three of another."""
    of_many, of_few = make_workflow(), make_workflow()
    pattern = make_job(workflow=of_many, status="completed")
    moments = [pattern.created_at - timedelta(seconds=second) for second in range(2_000)]
    Job.objects.bulk_create(
        alike(pattern, created_at=at, updated_at=at, status="completed" if number % 100 else "failed")
        for number, at in enumerate(moments)
    )
    for number in range(3):
        make_job(workflow=of_few, status="failed" if number else "completed")
    statistics.gather()
    return of_many, of_few


def plan_of(jobs, order: str) -> str:
    found = jobs.order_by(f"-{order}", "-id")
    [queryset] = steering.steered(found, [order, "id"], "workspace")
    plan = queryset[:100].explain()
    assert list(queryset) == list(found)
    return plan


@pytest.mark.django_db
def test_few_jobs_are_found_by_their_filter_and_sorted(crowd):
    workspace = crowd[1].workspace_id
    of_few = Job.objects.filter(workspace=workspace, workflow=crowd[1])

    plan = plan_of(of_few, "updated_at")

    assert "job_by_workflow" in plan
    assert "TEMP B-TREE" in plan


@pytest.mark.django_db
def test_many_jobs_are_found_by_walking_along_their_order(crowd):
    of_many = Job.objects.filter(workspace=crowd[0].workspace_id, workflow=crowd[0])

    plan = plan_of(of_many.exclude(status="failed").filter(status="completed"), "updated_at")

    assert "job_by_change" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.django_db
def test_filters_that_an_index_has_before_the_order_are_left_to_it(crowd, django_assert_num_queries):
    failed = Job.objects.filter(workspace=crowd[0].workspace_id, workflow=crowd[0], status="failed")

    with django_assert_num_queries(2):  # nothing is counted: the list and its plan
        plan = plan_of(failed, "created_at")

    assert "job_by_workflow_status" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.django_db
def test_what_many_of_the_names_contain_is_sought_along_the_order(crowd):
    Job.objects.filter(workflow=crowd[0]).update(name="五月的 batch")

    plan = plan_of(Job.objects.filter(workspace=crowd[0].workspace_id).named_like("batch"), "updated_at")

    assert "job_by_change" in plan
    assert "trigrams" not in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.django_db
def test_what_a_search_found_is_looked_up_by_its_key(crowd):
    workspace = crowd[0].workspace_id
    Job.objects.filter(workflow=crowd[1]).update(name="四月的 batch")

    plan = plan_of(Job.objects.filter(workspace=workspace, status="failed").named_like("batch"), "updated_at")

    assert "id=?" in plan


@pytest.mark.django_db
def test_half_of_the_jobs_by_one_time_are_walked_through_from_there_in_the_order_of_another(crowd, monkeypatch):
    monkeypatch.setattr(counts, "COUNT_AT_MOST", 100)
    middle = Job.objects.order_by("created_at")[1_000].created_at
    jobs = Job.objects.filter(workspace=crowd[0].workspace_id, created_at__lt=middle).order_by("-updated_at", "-id")

    far, near = steering.steered(jobs, ["updated_at", "id"], "workspace")

    assert "job_that_lived_long" in far[:100].explain()
    assert re.search(r"job_by_change \(workspace_id=\? AND updated_at<\?\)", near[:100].explain())
    assert "TEMP B-TREE" not in near[:100].explain()
    assert [*far, *near] == list(jobs)


def _turn():
    """The file's, which the first transaction makes."""
    with transaction.atomic():
        return base._turns[connection.settings_dict["NAME"]]


def _in_thread(call):
    def run():
        try:
            call()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_thread_that_wants_to_write_waits_for_its_turn_and_not_for_sqlite(on_disk, make_job, monkeypatch):  # noqa: F811
    job, begun, begin = make_job(), [], base.base.DatabaseWrapper._start_transaction_under_autocommit

    def note(self):
        begun.append(threading.current_thread())
        begin(self)

    monkeypatch.setattr(base.base.DatabaseWrapper, "_start_transaction_under_autocommit", note)

    def write():
        with transaction.atomic():
            Job.objects.update(name="second")

    with transaction.atomic():
        other = _in_thread(write)
        other.join(0.3)
        assert begun == [threading.current_thread()]
        Job.objects.update(name="first")
    other.join(10)

    assert begun == [threading.current_thread(), other]
    job.refresh_from_db()
    assert job.name == "second"


@pytest.mark.parametrize("how", ["committed", "rolled back", "cut off", "never begun"])
def test_a_turn_ends_with_the_transaction(on_disk, make_job, how):  # noqa: F811
    make_job()
    turn = _turn()

    match how:
        case "committed":
            with transaction.atomic():
                assert turn.locked()
        case "rolled back":
            with contextlib.suppress(ZeroDivisionError), transaction.atomic():
                assert turn.locked()
                raise ZeroDivisionError
        case "cut off":
            with contextlib.suppress(DatabaseError), transaction.atomic():
                connection.connection.close()
                connection.close()
        case _:
            refusal = mock.Mock(side_effect=OperationalError("database is locked"))
            with (
                mock.patch.object(base.base.DatabaseWrapper, "_start_transaction_under_autocommit", refusal),
                pytest.raises(OperationalError),
                transaction.atomic(),
            ):
                pass

    assert not turn.locked()


def test_who_waited_too_long_for_a_turn_asks_sqlite(on_disk, make_job, monkeypatch):  # noqa: F811
    job = make_job()
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.05)

    with _turn(), transaction.atomic():
        Job.objects.update(name="written")

    job.refresh_from_db()
    assert job.name == "written"


@pytest.mark.django_db(transaction=True)
def test_a_pool_looks_as_soon_as_another_connection_has_written(make_job, monkeypatch):
    monkeypatch.setattr(orm, "LISTEN", 30.0)
    broker = orm.WakeUps("aiworkflow")

    def until_found():
        try:
            while not (found := broker.dequeue()):
                pass
            return found
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(until_found)
        wait_for(lambda: broker._version is not None, what="the first look")
        make_job()

        assert found.result(timeout=10)
