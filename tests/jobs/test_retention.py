"""What retention deletes and what it leaves, to the row, and how it goes about it."""

import io
import logging
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import KeptAnswer
from jobs import retention, services
from jobs.models import Job, JobBatch, JobEvent, JobStep, Worker
from jobs.retention import Amount, Amounts, Policy

pytestmark = pytest.mark.django_db

OVER = ("completed", "failed", "cancelled")


@pytest.fixture(autouse=True)
def days(settings):
    settings.RETENTION_JOBS_DAYS, settings.RETENTION_STEPS_DAYS = 30, 7


@pytest.fixture
def make_old(make_job):
    """Makes a job that ended `days` ago, with some steps and one event more for each."""

    def make(days, *, steps=2, status="completed", **fields):
        ended = timezone.now() - timedelta(days=days, minutes=1)
        if status in OVER:
            fields |= {"completed_at": ended}
        job = make_job(status=status, created_at=ended, updated_at=ended, event_seq=steps + 1, **fields)
        for position in range(1, steps + 1):
            job.events.create(seq=position, kind="token", data={"文": "字" * position})
            job.steps.create(
                attempt=1,
                position=position,
                component="提示",
                component_type="x.Y",
                started_at=ended,
                input_preview={"问": "什么"},
                output_preview=None,
            )
        return job

    return make


def prune_all() -> Amounts:
    return sum(retention.prune_site(), Amounts())


def left() -> dict:
    return {
        job.pk: (job.steps.count(), job.events.count(), bool(job.steps_pruned)) for job in Job.objects.order_by("pk")
    }


@pytest.mark.parametrize("status", OVER)
def test_steps_and_events_go_first_and_jobs_go_later(make_old, status):
    young, middle, _old = (make_old(days, status=status) for days in (6, 8, 31))

    prune_all()

    assert left() == {young.pk: (2, 3, False), middle.pk: (0, 0, True)}
    middle.refresh_from_db()
    assert (middle.status, middle.event_seq) == (status, 3)


def test_a_job_stays_until_the_minute_it_is_due(make_job):
    _due, not_yet = (
        make_job(status="completed", completed_at=timezone.now() - timedelta(days=30, seconds=seconds))
        for seconds in (60, -60)
    )

    prune_all()

    assert list(left()) == [not_yet.pk]


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_job_that_is_not_over_keeps_everything_however_old_it_is(make_old, status):
    job = make_old(400, status=status)

    assert not prune_all()

    assert left() == {job.pk: (2, 3, False)}


def test_a_workflow_s_own_days_go_before_the_site_s(make_old, make_workflow):
    longer = make_workflow(keep_jobs_days=90, keep_steps_days=60)
    ever = make_workflow(keep_jobs_days=0, keep_steps_days=0)
    steps_only = make_workflow(keep_jobs_days=0)
    shorter = make_workflow(keep_jobs_days=1)
    kept = [make_old(50, workflow=longer), make_old(4000, workflow=ever)]
    bare = make_old(400, workflow=steps_only)
    for days in (91, 100):
        make_old(days, workflow=longer)
    make_old(2, workflow=shorter)

    prune_all()

    assert left() == {**{job.pk: (2, 3, False) for job in kept}, bare.pk: (0, 0, True)}


def test_the_jobs_of_a_deleted_workflow_go_as_well(make_old, make_workflow):
    workflow = make_workflow()
    make_old(31, workflow=workflow)
    workflow.delete()

    prune_all()

    assert left() == {}


def test_nothing_goes_when_everything_is_kept_for_ever(make_old, settings):
    settings.RETENTION_JOBS_DAYS = settings.RETENTION_STEPS_DAYS = 0
    job = make_old(10_000)

    assert not prune_all()

    assert list(left()) == [job.pk]


def test_a_job_that_was_retried_goes_and_its_retry_stays(make_old, make_job):
    old = make_old(31)
    retry = make_job(workflow=old.workflow, retry_of=old)

    prune_all()

    retry.refresh_from_db()
    assert (list(left()), retry.retry_of_id, retry.status) == ([retry.pk], None, "pending")


def test_what_would_go_is_what_goes_to_the_row_and_to_the_byte(make_old, make_workflow):
    workflow = make_workflow()
    for days, steps in ((6, 3), (8, 1), (20, 4), (31, 2), (40, 0)):
        make_old(days, steps=steps, workflow=workflow, name="名字")
    policy = Policy.of(workflow)
    before = {model: Amount.of(model.objects.all()) for model in (Job, JobStep, JobEvent)}

    due = retention.due(workflow, policy)
    went = sum(retention.prune(workflow, policy), Amounts())

    assert went == due
    assert (due.jobs.rows, due.steps.rows, due.events.rows) == (2, 7, 11)
    for model, part in ((Job, due.jobs), (JobStep, due.steps), (JobEvent, due.events)):
        after = Amount.of(model.objects.all())
        assert after + part == before[model]
    assert not retention.due(workflow, policy)


def test_bytes_are_those_of_the_text_in_utf_8(make_job):
    job = make_job(status="completed", name="名", trigger_data={"问": 1}, result=["é"])
    stored = len("名".encode()) + len('{"问":1}'.encode()) + len('["é"]'.encode())

    assert Amount.of(Job.objects.filter(pk=job.pk)) == Amount(1, stored)


def test_no_transaction_deletes_more_than_a_batch(make_old, make_workflow, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 3)
    workflow = make_workflow()
    for _ in range(4):
        make_old(31, steps=5, workflow=workflow)

    went = list(retention.prune(workflow, Policy.of(workflow)))

    assert max(amounts.total.rows for amounts in went) == 3
    assert sum(went, Amounts()).total.rows == 4 + 4 * 5 + 4 * 6
    assert left() == {}


def test_deleting_never_reads_data_and_results(make_old):
    make_old(31)

    with CaptureQueriesContext(connection) as captured:
        prune_all()

    reading = [query["sql"] for query in captured if query["sql"].startswith("SELECT")]
    assert reading
    assert not [sql for sql in reading if "trigger_data" in sql and "LENGTH" not in sql]


def test_a_pass_that_was_broken_off_is_taken_up_by_the_next(make_old, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    job = make_old(8, steps=5)

    next(retention.prune_site())
    assert left()[job.pk] == (5, 4, False)
    prune_all()

    assert left()[job.pk] == (0, 0, True)


def test_two_that_prune_in_turn_delete_each_row_once(make_old, make_workflow, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    workflow = make_workflow()
    for _ in range(5):
        make_old(31, steps=3, workflow=workflow)
    due = retention.due(workflow, Policy.of(workflow))
    one, other = retention.prune_site(), retention.prune_site()

    went = Amounts()
    for amounts in one:
        went += amounts + next(other, Amounts())
    went += sum(other, Amounts())

    assert (went.jobs.rows, went.steps.rows, went.events.rows) == (due.jobs.rows, due.steps.rows, due.events.rows)
    assert left() == {}


def test_a_pass_says_what_it_deleted_and_is_silent_otherwise(make_old, caplog):
    caplog.set_level(logging.INFO, "jobs.retention")
    make_old(31)

    prune_all()
    prune_all()

    assert [record.message.partition(",")[0] for record in caplog.records] == ["Pruned 1 jobs"]


@pytest.mark.django_db(transaction=True)
def test_a_retry_of_a_job_that_goes_at_that_moment_is_accepted_without_its_name(make_old):
    old = Job.objects.select_related("workflow__current_revision").get(pk=make_old(31).pk)
    prune_all()

    retry = services.retry(old)

    retry.refresh_from_db()
    assert (retry.retry_of_id, retry.trigger_data, retry.status) == (None, old.trigger_data, "pending")


# The command


def run(*arguments) -> str:
    out = io.StringIO()
    call_command("prune_jobs", *arguments, stdout=out)
    return out.getvalue()


def numbers(text: str) -> list[str]:
    return text.splitlines()[1:]


def test_the_command_says_before_what_it_says_afterwards(make_old, make_workflow):
    workflow = make_workflow(name="问答一二三")
    make_old(31, workflow=workflow)
    make_old(8, workflow=make_workflow(name="plain"))

    would, went, again = run("--dry-run"), run(), run()

    assert would.startswith("Would go:\n")
    assert went.startswith("Went:\n")
    assert numbers(would) == numbers(went)
    assert numbers(went)[-1].split()[:2] == ["total", "1"]
    assert again == "Nothing is due.\n"


def test_a_dry_run_writes_nothing(make_old):
    make_old(31)
    with CaptureQueriesContext(connection) as captured:
        run("--dry-run")

    assert {query["sql"].split()[0] for query in captured} == {"SELECT"}


def test_days_that_are_given_stand_for_the_site_s_and_for_a_workflow_s_own_where_it_is_named(make_old, make_workflow):
    own, plain = make_workflow(keep_jobs_days=90), make_workflow()
    kept = make_old(20, workflow=own)
    make_old(20, workflow=plain)

    run("--days", "10", "--steps-days", "0")
    assert left() == {kept.pk: (2, 3, False)}

    run("--days", "10", "--workflow", str(own.pk))
    assert left() == {}


def test_one_workflow_is_pruned_alone(make_old, make_workflow):
    one, other = make_old(31), make_old(31)

    run("--workflow", str(one.workflow_id))

    assert list(left()) == [other.pk]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--days", "-1"], "--days must be from 0"),
        (["--steps-days", "99999999"], "--steps-days must be from 0"),
        (["--workflow", "x"], "no workflow with the id 'x'"),
        (["--workflow", "00000000-0000-0000-0000-000000000000"], "no workflow with the id"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_goes(make_old, arguments, said):
    make_old(31)

    with pytest.raises(CommandError, match=said):
        run(*arguments)

    assert len(left()) == 1


# The schedule


@pytest.fixture
def caretaker(monkeypatch, tmp_path):
    from jobs.queue import cluster
    from workflows import engine

    class NoRunner:
        def tick(self):
            pass

    monkeypatch.setattr(engine, "RunnerKeeper", NoRunner)
    return cluster.Caretaker()


def test_a_cluster_prunes_by_itself_a_moment_at_a_time(caretaker, make_old, monkeypatch):
    monkeypatch.setattr("jobs.queue.cluster.PRUNE_SLICE", 0)
    make_old(31)

    caretaker.tick(stopping=False)
    assert len(left()) == 1
    for _ in range(10):
        caretaker.tick(stopping=False)

    assert left() == {}


def test_a_cluster_leaves_retention_to_an_older_one_that_is_alive(caretaker, make_old, monkeypatch):
    monkeypatch.setattr("jobs.queue.cluster.PRUNE_SLICE", 60)
    older = Worker.objects.create(
        name="elsewhere:1",
        processes=1,
        places=1,
        started_at=timezone.now() - timedelta(hours=1),
        last_seen_at=timezone.now(),
    )
    make_old(31)
    caretaker.tick(stopping=False)
    assert len(left()) == 1

    older.delete()
    caretaker.prune_at = 0.0
    caretaker.tick(stopping=False)

    assert left() == {}


def test_a_cluster_that_stops_prunes_nothing_more(caretaker, make_old):
    make_old(31)

    caretaker.tick(stopping=True)

    assert len(left()) == 1


def test_old_answers_and_batches_without_jobs_go_too(make_old, make_workflow, admin):
    old = timezone.now() - timedelta(days=1, minutes=1)
    workflow = make_workflow()
    batches = [
        JobBatch.objects.create(workspace_id=workflow.workspace_id, workflow=workflow, name=name, created_at=at)
        for name, at in (("旧", old), ("在用", old), ("新", timezone.now()))
    ]
    make_old(2, workflow=workflow, batch=batches[1])
    for key, at in (("old", old), ("new", timezone.now())):
        KeptAnswer.objects.create(user=admin, key=key, request_hash="x", status=201, body="{}", created_at=at)

    prune_all()

    assert set(JobBatch.objects.values_list("name", flat=True)) == {"在用", "新"}
    assert list(KeptAnswer.objects.values_list("key", flat=True)) == ["new"]
