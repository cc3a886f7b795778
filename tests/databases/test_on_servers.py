"""What only a server can do to us."""

import contextlib
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from aiworkflow_project.db import liveness
from aiworkflow_project.db.conflicts import retried
from jobs import claims, reports, retention, services
from jobs.models import Job, JobEvent, JobStep
from tests.databases.relay import Relay


@pytest.mark.django_db(transaction=True)
def test_two_that_wait_for_each_other_both_write_in_the_end(make_job):
    one, other = make_job().pk, make_job().pk
    both_hold_one = threading.Barrier(2)
    tries, wrong = [], []

    def rename(first, second):
        waited = False

        @retried
        def write():
            nonlocal waited
            tries.append(first)
            with transaction.atomic():
                Job.objects.filter(pk=first).update(name=str(first))
                if not waited:
                    waited = True
                    both_hold_one.wait(10)
                Job.objects.filter(pk=second).update(name=str(first))

        try:
            write()
        except Exception as error:
            wrong.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=rename, args=pair) for pair in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert wrong == []
    assert len(tries) == 3
    assert len(set(Job.objects.values_list("name", flat=True))) == 1


@pytest.mark.django_db(transaction=True)
def test_jobs_that_are_retried_while_two_prune_go_and_every_retry_is_accepted(make_job, make_workflow):
    workflow = make_workflow()
    long_ago = timezone.now() - timedelta(days=100)
    together = threading.Barrier(3, timeout=30)

    def retry(pk):
        job = Job.objects.select_related("workflow__current_revision").get(pk=pk)
        together.wait()
        return services.retry(job).pk

    def prune(_pk):
        together.wait()
        list(retention.prune_site())

    def leave(_):
        together.wait()
        connection.close()

    with ThreadPoolExecutor(3) as threads:
        try:
            for _ in range(20):
                old = make_job(workflow=workflow, status="completed", completed_at=long_ago).pk
                retried, *_rest = [
                    done.result() for done in [threads.submit(each, old) for each in (retry, prune, prune)]
                ]
                assert not Job.objects.filter(pk=old).exists()
                assert Job.objects.get(pk=retried).retry_of_id is None
        finally:
            list(threads.map(leave, range(3)))


@pytest.mark.django_db(transaction=True)
def test_a_retry_that_comes_while_its_job_is_being_deleted_waits_and_is_accepted(make_job):
    old = make_job(status="completed", completed_at=timezone.now() - timedelta(days=100)).pk
    job = Job.objects.select_related("workflow__current_revision").get(pk=old)
    made = []

    def retry():
        made.append(services.retry(job).pk)
        connection.close()

    thread = threading.Thread(target=retry)

    def begin_it_before_the_end(execute, sql, params, many, context):
        if sql.replace("`", '"').startswith('DELETE FROM "ai_workflow_job" '):
            thread.start()
            thread.join(1)  # it waits for the end of this transaction, so that this is not waited out
        return execute(sql, params, many, context)

    with connection.execute_wrapper(begin_it_before_the_end):
        list(retention.prune_site())
    thread.join(30)

    assert not Job.objects.filter(pk=old).exists()
    assert Job.objects.get(pk=made[0]).retry_of_id is None


@pytest.mark.django_db(transaction=True)
def test_a_request_asks_only_a_connection_over_which_something_came(monkeypatch):
    asked = []
    monkeypatch.setattr(connection, "is_usable", lambda: asked.append(1) or True)

    def request():
        connection.health_check_done = False
        liveness.look()
        Job.objects.exists()
        return len(asked)

    assert request() == 0
    monkeypatch.setattr(liveness.select, "poll", lambda: Readable())
    assert request() == 1


class Readable:
    def register(self, number, events):
        assert number > 2

    def poll(self, timeout):
        return [(3, 1)]


@pytest.fixture
def patience(settings, transactional_db):
    """Connections that wait 10 s for a lock, as a site's; a test's waits for ever since it migrated. And a short lease,
    for so long the server lets a transaction be silent."""
    settings.JOB_LEASE_SECONDS = 1
    connection.close()
    yield
    connection.close()


class Cut(Relay):
    """Hands on so many `pieces` more of what we say, and then none; all if None."""

    def __init__(self):
        self.pieces = None
        self.happened = threading.Event()
        super().__init__(connection.settings_dict["HOST"], int(connection.settings_dict["PORT"]))

    def from_client(self, said: bytes) -> bytes | None:
        if self.pieces == 0:
            self.happened.set()
            return None
        if self.pieces is not None:
            self.pieces -= 1
        return said


def news(job: Job) -> reports.Report:
    step = JobStep(position=1, component="a", component_type="x.A", started_at=timezone.now())
    return reports.Report(job, [step], [], [JobEvent(kind=JobEvent.Kind.STEP, data={})])


def result(job: Job) -> reports.Report:
    return reports.Report(job, [], [], [], is_complete=True, result={"text": "好"}, seconds=0.1)


def claim(number: int) -> list[Job]:
    return claims.claim(number, timedelta(seconds=60), "here")


WRITES = {
    "claims": lambda: claim(3),
    "reports": lambda jobs: reports.write([news(jobs[0]), result(jobs[1]), news(jobs[2])]),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", WRITES)
def test_a_worker_that_is_cut_off_while_it_writes_keeps_no_job_from_the_others(make_job, make_workflow, patience, what):
    workflow = make_workflow()

    def write_through(cut, pieces):
        # Of this thread's connection alone.
        connection.settings_dict = connection.settings_dict | {"HOST": "127.0.0.1", "PORT": cut.port}
        try:
            for first in (True, False):  # what is made a second time is prepared
                arguments = () if what == "claims" else (claim(3),)
                cut.pieces = None if first else pieces
                WRITES[what](*arguments)
        except OperationalError:
            return
        finally:
            connection.close()

    for pieces in itertools.count():
        for _ in range(6):
            make_job(workflow=workflow)
        with contextlib.closing(Cut()) as cut:
            writer = threading.Thread(target=write_through, args=[cut, pieces])
            writer.start()
            while writer.is_alive() and not cut.happened.wait(0.01):
                pass
            if cut.happened.is_set():
                with transaction.atomic():  # as the sweep does, which waits 10 s for a lock
                    assert Job.objects.update(name="seen") == 6
        writer.join(30)
        assert not writer.is_alive()
        if not cut.happened.is_set():
            break
        Job.objects.all().delete()
    assert pieces > 0
