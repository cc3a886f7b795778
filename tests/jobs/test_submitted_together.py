"""Submits to a workflow that come while another is saved are saved by one transaction; each has its own answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection

from accounts.models import KeptAnswer, User
from jobs import services
from jobs.models import Job, JobEvent
from tests.journeys.site import wait_for
from workflows.models import Workflow

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 20
DATA = {"query": "问", "top_k": 1}


class Submitters:
    """Threads with connections of their own. The first one's transaction is held up until the others wait."""

    def __init__(self, workflow: Workflow):
        self.workflow = workflow
        self.inserts = []  # what was sent
        self._held, self._others_wait = threading.Event(), threading.Event()

    def run(self, fields: list[dict], meanwhile=lambda: None) -> list:
        """The jobs, or the errors, of one submit for each of `fields`; and `meanwhile` while the first is held."""
        with ThreadPoolExecutor(len(fields)) as threads:
            first = threads.submit(self._submit, fields[0], self._hold)
            assert self._held.wait(PATIENCE)
            rest = [threads.submit(self._submit, each, self._count) for each in fields[1:]]
            meanwhile()
            waiting = services._accept_together._waiting
            wait_for(lambda: len(rest) == sum(map(len, waiting.values())), PATIENCE, "the others to wait")
            self._others_wait.set()
            return [call.exception(PATIENCE) or call.result() for call in [first, *rest]]

    def _submit(self, fields: dict, wrapper) -> Job:
        try:
            with connection.execute_wrapper(wrapper):
                return services.submit(self.workflow, DATA, from_memory=True, **fields)
        finally:
            connection.close()

    def _hold(self, execute, sql, *rest):
        if not self._held.is_set():
            self._held.set()
            assert self._others_wait.wait(PATIENCE)
        return self._count(execute, sql, *rest)

    def _count(self, execute, sql, *rest):
        if f"INSERT INTO {connection.ops.quote_name(Job._meta.db_table)}" in sql:
            self.inserts.append(threading.current_thread().name)
        return execute(sql, *rest)


@pytest.fixture
def submitters(on_disk, make_workflow):
    workflow = make_workflow()
    workflow.current_revision  # noqa: B018 - as it comes from memory
    return Submitters(workflow)


def test_those_that_wait_are_saved_by_one_of_them(submitters):
    jobs = submitters.run([{"name": f"第 {number} 个"} for number in range(5)])

    assert [job.name for job in jobs] == [f"第 {number} 个" for number in range(5)]
    assert set(Job.objects.values_list("pk", "name")) == {(job.pk, job.name) for job in jobs}
    assert JobEvent.objects.filter(seq=1).count() == JobEvent.objects.count() == 5
    assert len(submitters.inserts) == 2


def test_one_that_cannot_be_saved_is_refused_alone(submitters, make_user):
    gone = make_user("gone")
    User.objects.filter(pk=gone.pk).delete()

    first, refused, saved = submitters.run([{}, {"created_by": gone}, {}])

    assert isinstance(refused, IntegrityError)
    assert {first.pk, saved.pk} == set(Job.objects.values_list("pk", flat=True))


def test_what_goes_with_a_job_is_saved_with_it_or_neither(submitters, make_user):
    user = make_user()

    def keep(key):
        return lambda job: [KeptAnswer(user=user, key=key, request_hash="x", status=201, body=str(job.pk))]

    answers = submitters.run([{"also": keep("a")}, {"also": keep("b")}, {"also": keep("b")}, {"also": keep("c")}])

    saved = [answer for answer in answers if isinstance(answer, Job)]
    [refused] = [answer for answer in answers if answer not in saved]
    assert isinstance(refused, IntegrityError)
    assert {str(job.pk) for job in saved} == set(KeptAnswer.objects.values_list("body", flat=True))
    assert {job.pk for job in saved} == set(Job.objects.values_list("pk", flat=True))
    assert sorted(KeptAnswer.objects.values_list("key", flat=True)) == ["a", "b", "c"]


def test_none_is_saved_to_a_workflow_that_was_closed_meanwhile(submitters):
    def close():
        Workflow.objects.filter(pk=submitters.workflow.pk).update(is_active=False)

    answers = submitters.run([{}, {}, {}], meanwhile=close)

    assert [type(answer) for answer in answers] == [services.WorkflowChanged] * 3
    assert not Job.objects.exists()
