"""Rows that are inserted by a statement of our own are those that Django would have inserted."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from aiworkflow_project.db import rows
from aiworkflow_project.db.inserts import insert
from jobs import services
from jobs.models import Job, JobEvent, JobStep
from tests.databases.alike import alike

pytestmark = pytest.mark.django_db

ODD = ["", "'; --", "\\", "问答🙂", "%s %%", "\0", "\ufdd0", {"a": [1, 2.5, None, True, "\0"]}, None]


def rows_of(model) -> list[dict]:
    return list(model.objects.order_by("pk").values())


def test_every_column_holds_what_bulk_create_writes(make_job):
    pattern = make_job(name="第一个 %s", result=None)
    moments = [timezone.now(), datetime(2026, 11, 28, 23, 59, 59, 999_999, tzinfo=UTC)]
    made = [
        alike(pattern, trigger_data=odd, available_at=moments[number % 2], request_id=f"{number}")
        for number, odd in enumerate(ODD[:-1])
    ]

    insert(made)
    ours = {row["id"]: row for row in rows_of(Job)}
    Job.objects.filter(pk__in=[job.pk for job in made]).delete()
    Job.objects.bulk_create(made)

    assert ours == {row["id"]: row for row in rows_of(Job)}
    assert not any(job._state.adding for job in made)


def test_texts_and_values_come_back(make_job):
    job = make_job()
    steps = [
        JobStep(
            job=job, attempt=1, position=number, component="步", component_type="x.Y", started_at=timezone.now(),
            output_preview=odd, error_message=odd if isinstance(odd, str) else "",
        )
        for number, odd in enumerate(ODD)
    ]  # fmt: skip

    insert(steps)

    found = job.steps.order_by("position")
    assert [step.output_preview for step in found] == ODD
    assert [step.error_message for step in found] == [odd if isinstance(odd, str) else "" for odd in ODD]
    assert len({step.pk for step in found}) == len(ODD)


@pytest.mark.parametrize(
    "field", [field for model in (Job, JobStep, JobEvent) for field in rows.written(model)], ids=str
)
def test_what_is_not_prepared_would_have_stayed_as_it_is(field):
    samples = ["", "'; --", "问答🙂", 0, -1, 2**31, True, False, 0.0, 1.5, uuid4(), None, timezone.now(), [1], {}]

    for sample in samples:
        if type(sample) in rows.plain(field, connection.vendor):
            assert field.get_db_prep_save(sample, connection) == sample


def test_more_rows_than_a_statement_takes_are_all_inserted(make_job, monkeypatch, django_assert_num_queries):
    job = make_job()
    monkeypatch.setattr(connection.ops, "bulk_batch_size", lambda fields, rows: 3)

    with django_assert_num_queries(1 if connection.vendor == "postgresql" else 4):  # there all rows are one parameter
        insert([JobEvent(job=job, seq=seq, kind="token", data={}) for seq in range(2, 12)])

    assert [event.seq for event in job.events.order_by("seq")] == list(range(1, 12))


def test_nothing_is_inserted_by_no_statement(django_assert_num_queries):
    with django_assert_num_queries(0):
        insert([])


def test_what_the_database_refuses_is_an_error(make_job):
    job = make_job()

    with pytest.raises(IntegrityError), transaction.atomic():
        insert([JobEvent(job=job, seq=1, kind="state", data={})])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [1, 2])
def test_what_belongs_together_is_there_whole_or_not_at_all(make_job, number):
    pattern = make_job()
    jobs = [alike(pattern) for _ in range(number)]
    twice = [JobEvent(job=pattern, seq=1, kind="state", data={}) for _ in range(number)]

    with pytest.raises(IntegrityError):
        insert(jobs, twice)
    assert Job.objects.count() == 1

    insert(jobs, [job.state_event() for job in jobs], channel="nobody_listens")
    assert Job.objects.count() == 1 + number
    assert all(job.events.count() == 1 for job in jobs)


@pytest.mark.django_db(transaction=True)
def test_a_submit_is_one_statement_where_that_is_a_transaction(make_workflow, django_assert_num_queries):
    workflow = make_workflow()
    services.submit(workflow, {"query": "问", "top_k": 1})

    with django_assert_num_queries(1 if connection.vendor == "postgresql" else 4):  # else with BEGIN and COMMIT
        job = services.submit(workflow, {"query": "问", "top_k": 1})

    assert [event.seq for event in job.events.all()] == [1]
