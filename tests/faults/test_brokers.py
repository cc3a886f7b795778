"""A whole site on each broker: jobs run, and none is lost whatever happens to the broker's server."""

import os
import signal
import time
from datetime import datetime

import pytest

from tests.faults.promises import kept
from tests.faults.servers import RabbitMQ, Redis
from tests.faults.test_processes import pipeline
from tests.faults.wire import Wire
from tests.journeys.conftest import COMPONENTS
from tests.journeys.site import wait_for

AT_ONCE = {("completed", 1)}
KINDS = {"redis": Redis, "rabbitmq": RabbitMQ}


@pytest.fixture(params=KINDS)
def server(request, tmp_path):
    server = KINDS[request.param](tmp_path / "queue").start()
    yield server
    server.kill()


@pytest.fixture
def site(server, new_site):
    return new_site(workers=2, PIPELINE_COMPONENTS=COMPONENTS, QUEUE_URL=server.url)


def ends(site, jobs) -> set[tuple[str, int]]:
    """How the jobs ended, and in which attempts."""
    return {(done["status_str"], done["attempt_int"]) for done in kept(site, jobs)}


def test_jobs_run_and_start_at_once(site):
    definition = site.define("睡眠", pipeline("Sleeper"))

    assert ends(site, [site.submit(definition, {"seconds": 0}) for _ in range(20)]) == AT_ONCE
    waits = []
    for _ in range(5):
        done = site.finished(site.submit(definition, {"seconds": 0}))
        waits.append(_wait_of(done))
    assert sorted(waits)[2] < 1  # the sweep alone would need ten seconds


def _wait_of(job) -> float:
    created, started = (datetime.fromisoformat(job[name]) for name in ("created_at_time", "started_at_time"))
    return (started - created).total_seconds()


def test_a_restart_with_jobs_in_flight_and_in_the_queue_loses_none(site, server):
    definition = site.define("睡眠", pipeline("Sleeper"))
    running = [site.submit(definition, {"seconds": 4}) for _ in range(4)]
    for job in running:
        site.until(job, "running")

    server.kill()
    waiting = [site.submit(definition, {"seconds": 0}) for _ in range(4)]
    assert ends(site, waiting) == AT_ONCE  # its workers look for themselves
    assert site.api.get("/ai_workflow_job").status_code == 200
    server.start()

    assert ends(site, running) == AT_ONCE
    assert ends(site, [site.submit(definition, {"seconds": 0}) for _ in range(4)]) == AT_ONCE
    wait_for(lambda: _wait_of(site.finished(site.submit(definition, {"seconds": 0}))) < 1, what="wake-ups to arrive")


def test_a_flushed_queue_loses_no_job(new_site, server):
    site = new_site(workers=1, PIPELINE_COMPONENTS=COMPONENTS, QUEUE_URL=server.url, JOBS_PER_WORKER="2")
    definition = site.define("睡眠", pipeline("Sleeper"))
    jobs = [site.submit(definition, {"seconds": 2}) for _ in range(8)]
    site.until(jobs[0], "running")

    server.flush()

    assert ends(site, jobs) == AT_ONCE


def test_a_submit_is_answered_soon_while_the_broker_is_unreachable(new_site, server):
    with Wire("127.0.0.1", server.port) as wire:
        site = new_site(
            PIPELINE_COMPONENTS=COMPONENTS, QUEUE_URL=server.url.replace(f":{server.port}", f":{wire.port}")
        )
        definition = site.define("睡眠", pipeline("Sleeper"))
        assert ends(site, [site.submit(definition, {"seconds": 0})]) == AT_ONCE

        wire.swallow()  # neither refused nor answered
        asked = time.monotonic()
        jobs = [site.submit(definition, {"seconds": 0}) for _ in range(5)]
        assert time.monotonic() - asked < 20
        assert ends(site, jobs) == AT_ONCE

        wire.mend()
        assert ends(site, [site.submit(definition, {"seconds": 0})]) == AT_ONCE


def test_a_killed_cluster_leaves_nothing_behind_in_the_broker(site):
    definition = site.define("睡眠", pipeline("Sleeper"))
    jobs = [site.submit(definition, {"seconds": 5}) for _ in range(4)]
    wait_for(lambda: all(site.steps(job) for job in jobs), what="a step of each")

    for pid in site.processes("qcluster"):
        os.kill(pid, signal.SIGKILL)

    assert ends(site, jobs) == {("completed", 2)}


def test_workers_refuse_to_start_on_a_queue_that_does_not_answer(site, server):
    server.kill()

    command = site.command("qcluster", stdout=-1, stderr=-1)
    _out, error = command.communicate(timeout=60)

    assert command.returncode == 1
    assert "The queue at QUEUE_URL does not answer" in error
    assert "Traceback" not in error
    server.start()
