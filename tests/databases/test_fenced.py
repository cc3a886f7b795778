"""Updates that tell of each row whether it was changed, and what is inserted with them."""

from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection
from django.db.models import F
from django.utils import timezone

from aiworkflow_project.db.fenced import FencedUpdate
from jobs.models import Job, JobEvent, JobStep

pytestmark = pytest.mark.django_db

RESULTS = [None, {"答": "\0🙂", "b": [1.5, True]}, "%s", "'; --", '"\\\\u0000"', [], 2**63]


def rename() -> FencedUpdate:
    return FencedUpdate(
        Job,
        lambda pk, old, new, moment, result: (
            Job.objects.pending().filter(pk=pk, name=old).exclude(error_code="x"),
            {"name": new, "attempt": F("attempt") + 1, "updated_at": moment, "result": result},
        ),
        *map(Job._meta.get_field, ("id", "name", "name", "updated_at", "result")),
    )


def step(job, position) -> JobStep:
    return JobStep(
        job=job, attempt=1, position=position, component="步", component_type="%s", started_at=timezone.now(),
        output_preview={"答": "\0"}, error_message="\0",
    )  # fmt: skip


def event(job, seq) -> JobEvent:
    return JobEvent(job=job, seq=seq, kind=JobEvent.Kind.TOKEN, data={"text": f"你 %s {seq}"})


def test_each_row_is_changed_as_the_queryset_would_change_it(make_job):
    jobs = [make_job(name=f"问 {number}") for number in range(len(RESULTS))]
    moment = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC)
    renamed = rename()

    for _ in range(2):
        rows = [(job.pk, job.name, job.name + "%s", moment, result) for job, result in zip(jobs, RESULTS, strict=True)]
        assert renamed.each(rows) == [True] * len(rows)
        for job in jobs:
            job.refresh_from_db()

    assert [job.name for job in jobs] == [f"问 {number}%s%s" for number in range(len(RESULTS))]
    assert [job.result for job in jobs] == RESULTS
    assert {(job.attempt, job.updated_at, job.status) for job in jobs} == {(2, moment, "pending")}


def test_what_has_moved_on_is_left_alone_and_nothing_is_inserted_for_it(make_job):
    ours, over, other, unasked = make_job(name="a"), make_job(status="completed"), make_job(name="c"), make_job()
    rows = [(job.pk, "a", "b", timezone.now(), None) for job in (over, ours, other)]
    steps = [step(job, number) for job in (over, ours, other, unasked) for number in (1, 2)]
    events = [event(job, 2) for job in (other, ours, over)]

    assert rename().each(rows, steps, [], events) == [False, True, False]

    assert [one.position for one in ours.steps.order_by("position")] == [1, 2]
    [first, *_] = ours.steps.all()
    assert (first.output_preview, first.error_message, first.component_type) == ({"答": "\0"}, "\0", "%s")
    assert [one.data for one in ours.events.order_by("seq")[1:]] == [{"text": "你 %s 2"}]
    for job in (over, other, unasked):
        assert (job.steps.count(), job.events.count()) == (0, 1)
    assert [Job.objects.get(pk=job.pk).name for job in (ours, over, other)] == ["b", over.name, "c"]


def test_no_row_is_changed_by_no_statement(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert rename().each([], []) == []


@pytest.mark.django_db(transaction=True)
def test_all_is_done_or_nothing(make_job):
    jobs = [make_job(name="a") for _ in range(3)]
    rows = [(job.pk, "a", "b", timezone.now(), None) for job in jobs]

    with pytest.raises(IntegrityError):
        rename().each(rows, [step(jobs[0], 1)], [event(job, seq) for job, seq in zip(jobs, (2, 2, 1), strict=True)])

    assert set(Job.objects.values_list("name", "attempt")) == {("a", 0)}
    assert (JobStep.objects.count(), JobEvent.objects.count()) == (0, 3)


@pytest.mark.django_db(transaction=True)
def test_on_postgresql_it_is_one_statement(make_job, django_assert_num_queries):
    jobs = [make_job(name="a") for _ in range(3)]
    rows = [(job.pk, "a", "b", timezone.now(), None) for job in jobs]

    # Elsewhere one for each, the insert, BEGIN and COMMIT.
    with django_assert_num_queries(1 if connection.vendor == "postgresql" else 6):
        assert rename().each(rows, [event(job, 2) for job in jobs]) == [True] * 3
