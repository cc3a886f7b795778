"""Prepared queries tell what the queryset tells that they were made from."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F, Value
from django.utils import timezone

from aiworkflow_project.db import counts
from aiworkflow_project.db.prepared import Prepared, PreparedUpdate, _sample
from jobs.api.serializers import JobSerializer
from jobs.models import Job
from tests.jobs.conftest import on_disk  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db

NAME, CREATED, KEY = (Job._meta.get_field(name) for name in ("name", "created_at", "id"))
ODD = ["", " ", "x", "X", "%", "_", "'; --", '"', "\\", "äÄ", "问答🙂", "NULL", "None", "?", "%s", "%(a)s", "\ufdd1"]


def named(name):
    return Job.objects.filter(name=name).order_by("pk")


def test_any_value_finds_what_the_queryset_finds(make_job, make_workflow):
    workflow, prepared = make_workflow(), Prepared(named, NAME)
    for name in ODD:
        make_job(workflow=workflow, name=name)
        make_job(workflow=workflow, name=name + "!")

    for name in ODD:
        assert prepared(name) == list(named(name))
        assert [job.name for job in prepared(name)] == [name]


def test_a_value_that_stood_for_another_is_a_value_like_all(make_job, make_workflow):
    """What a query is compiled with is no secret: a caller may send just that."""
    workflow, now = make_workflow(), timezone.now()
    prepared = Prepared(lambda a, b: Job.objects.filter(name__in=[a, b, "all"]).order_by("name"), NAME, NAME)
    first, second = _sample("CharField", 1), _sample("CharField", 2)
    for name in (first, second, "all", "x"):
        make_job(workflow=workflow, name=name, created_at=now)

    assert [job.name for job in prepared(second, "x")] == ["all", "x", second]
    assert [job.name for job in prepared("x", first)] == ["all", "x", first]
    assert [job.name for job in prepared(second, first)] == ["all", first, second]
    assert [job.name for job in prepared("-", "-")] == ["all"]


def test_a_value_is_put_wherever_it_occurs_and_nowhere_else(make_job, make_workflow):
    workflow = make_workflow()
    prepared = Prepared(
        lambda one, other: Job.objects.filter(name__in=[one, "x"], error_code=one).exclude(name=other), NAME, NAME
    )
    for name in ("x", "y", "z"):
        make_job(workflow=workflow, name=name, error_code="y")

    assert {job.name for job in prepared("y", "z")} == {"x", "y"}
    assert {job.name for job in prepared("y", "x")} == {"y"}
    assert prepared("x", "y") == []


def test_nothing_is_like_no_value(make_job):
    make_job(name="")
    make_job(name="None")

    assert Prepared(named, NAME)(None) == []
    assert Prepared(lambda pk: Job.objects.filter(pk=pk), KEY)(None) == []


def test_ids_and_times_of_all_kinds_find_their_rows(make_job):
    job = make_job(created_at=datetime(2026, 11, 1, 12, 0, 0, 1, tzinfo=UTC))
    by_id = Prepared(lambda pk: Job.objects.filter(pk=pk), KEY)
    until = Prepared(lambda at: Job.objects.filter(created_at__lte=at), CREATED)

    assert by_id(job.pk) == by_id(str(job.pk)) == [job]
    assert by_id(uuid.uuid4()) == []
    assert until(job.created_at) == until(job.created_at.astimezone(timezone.get_fixed_timezone(480))) == [job]
    assert until(job.created_at - timedelta(microseconds=1)) == []


def test_what_comes_with_the_rows_comes_with_them_again(make_job, admin, django_assert_num_queries):
    job = make_job(created_by=admin, status="completed")
    prepared = Prepared(lambda pk: Job.objects.select_related("created_by").defer("result").filter(pk=pk), KEY)
    rows = Prepared(lambda pk: JobSerializer.rows(Job.objects.filter(pk=pk)), KEY)
    prepared(job.pk)

    for _ in range(2):
        with django_assert_num_queries(1):
            [found] = prepared(job.pk)
            assert (found.created_by.username, found.created_at, found.status) == ("admin", job.created_at, job.status)
        assert found.get_deferred_fields() == {"result"}
        assert rows(job.pk) == list(JobSerializer.rows(Job.objects.filter(pk=job.pk)))


def test_it_sees_what_changed_and_is_compiled_once(make_job):
    built = []
    prepared = Prepared(lambda name: built.append(name) or named(name), NAME)

    assert prepared("x") == []
    job = make_job(name="x")
    assert prepared("x") == [job]
    job.rename("y")

    assert (prepared("x"), prepared("y")) == ([], [job])
    assert len(built) == 1


@pytest.mark.django_db(transaction=True)
def test_calls_in_the_midst_of_each_other_get_each_their_own(make_job, make_workflow, on_disk):  # noqa: F811
    names = ["n1", "n2", "n3"]
    all_are_there = threading.Barrier(len(names))
    workflow, prepared = make_workflow(), Prepared(named, NAME)
    for name in names:
        make_job(workflow=workflow, name=name)

    def ask(name):
        try:
            all_are_there.wait(30)
            return {job.name for _ in range(30) for job in prepared(name)}
        finally:
            connection.close()

    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(ask, names)) == [{name} for name in names]


def test_a_query_that_can_find_nothing_finds_nothing(make_job):
    make_job()

    assert Prepared(lambda: Job.objects.none())() == Prepared(lambda: Job.objects.filter(pk__in=[]))() == []
    assert counts.capped(Job.objects.none()) == counts.Count(0)


def test_an_update_changes_what_the_queryset_finds_and_tells_how_many(make_job):
    jobs = [make_job(name=name) for name in ("甲", "乙")]
    change = PreparedUpdate(
        lambda pk, name, attempt, result, seconds, now: (
            Job.objects.filter(pk=pk, name=name),
            {"attempt": attempt, "result": result, "execution_seconds": seconds, "updated_at": now, "worker_name": "x"},
        ),
        KEY,
        NAME,
        *map(Job._meta.get_field, ("attempt", "result", "execution_seconds", "updated_at")),
    )

    for number, result in enumerate([None, {"答": "\0🙂"}, "%s", 1.5, []], start=1):
        now = timezone.now()
        assert change(jobs[0].pk, "甲", number, result, number / 3, now) == 1
        jobs[0].refresh_from_db()
        found = jobs[0]
        assert (found.attempt, found.result, found.execution_seconds, found.updated_at) == (
            number,
            result,
            number / 3,
            now,
        )
    assert change(jobs[0].pk, "乙", 9, None, 0.0, now) == 0

    jobs[1].refresh_from_db()
    assert (jobs[1].attempt, jobs[1].worker_name) == (0, "")
    assert Job.objects.get(pk=jobs[0].pk).attempt == 5


def test_what_is_annotated_comes_with_the_rows(make_job, make_workflow):
    job = make_job(workflow=make_workflow(concurrency_limit=3))
    prepared = Prepared(
        lambda pk: Job.objects.filter(pk=pk).annotate(limit=F("workflow__concurrency_limit"), one=Value(1)), KEY
    )

    [found] = prepared(job.pk)

    assert (found.limit, found.one, found) == (3, 1, job)


def test_that_a_list_is_long_is_found_out_once(make_job, monkeypatch, django_assert_num_queries):
    for _ in range(4):
        make_job()
    monkeypatch.setattr(counts, "COUNT_AT_MOST", 3)
    few, many = (counts.Counting(jobs) for jobs in (Job.objects.filter(name="nobody"), Job.objects.all()))

    for _ in range(2):
        with django_assert_num_queries(1):
            assert few.capped() == counts.Count(0)
    assert many.capped() == counts.Count(3, more=True)
    many.estimated()
    with django_assert_num_queries(0):
        assert many.capped() == counts.Count(3, more=True)
        assert many.estimated() >= 3
    with django_assert_num_queries(1):
        assert many.exact() == 4
