"""Runs that share a process because their definition is kept warm: one that goes wrong costs the others no attempt."""

import os
import signal
import time

import pytest

from tests.faults.promises import events, kept, page
from tests.faults.test_processes import busy_workers
from tests.journeys.conftest import COMPONENTS
from tests.journeys.site import wait_for

SHARED = "The process that it shared with other runs ended, so that it does not count."
# One attempt only: who is put back and yet completes was not charged for it.
WARM = """
components:
  it: {type: tests.components.Sleeper, init_parameters: {}}
  dies: {type: tests.components.Dies, init_parameters: {}}
connections: []
workflow: {keep_warm: true, max_attempts: 1}
"""
UNHARMED = 0  # a signal that only asks whether the process is there


@pytest.fixture(scope="module")
def site(tmp_path_factory, make_site):
    site = make_site(tmp_path_factory.mktemp("site"), PIPELINE_COMPONENTS=COMPONENTS, PIPELINE_RESIDENTS="2").start()
    yield site
    site.stop()


def submit(site, definition, seconds: float, signum: int = UNHARMED) -> dict:
    return site.submit(definition, {"it": {"seconds": seconds}, "dies": {"signum": int(signum)}})


def in_a_step(site, *jobs) -> None:
    wait_for(lambda: all(site.steps(job) for job in jobs), what="all to be in a step")


def put_back_for(site, job) -> list[str]:
    """The reasons for which a job was put back, in order."""
    states = [data for _seq, kind, data in events(site, job) if kind == "state"]
    return [data["reason_code_str"] for data in states if "reason_code_str" in data]


def test_a_run_that_cannot_be_stopped_alone_costs_its_neighbours_no_attempt(site):
    definition = site.define(f"warm {time.monotonic()}", WARM)
    guilty, *neighbours = [submit(site, definition, seconds) for seconds in (100, 4, 4)]
    in_a_step(site, guilty, *neighbours)

    asked = time.monotonic()
    site.api.post(f"/ai_workflow_job/{guilty['id']}/cancel")

    assert site.until(guilty, "cancelled", seconds=10)["attempt_int"] == 1
    assert time.monotonic() - asked < 5
    for job in kept(site, neighbours):
        assert (job["status_str"], job["attempt_int"]) == ("completed", 2)
        assert put_back_for(site, job) == ["resident_ended"]
    assert SHARED in page(site, neighbours[0])


def test_a_job_that_crashes_a_shared_process_does_so_once_and_then_fails_by_itself(site):
    definition = site.define(f"warm {time.monotonic()}", WARM)
    neighbour, guilty = submit(site, definition, 4), submit(site, definition, 1, signal.SIGSEGV)

    failed, unharmed = kept(site, [guilty, neighbour])

    assert (failed["status_str"], failed["error_code_str"], failed["attempt_int"]) == ("failed", "crashed", 2)
    assert (unharmed["status_str"], unharmed["attempt_int"]) == ("completed", 2)
    assert put_back_for(site, guilty) == put_back_for(site, neighbour) == ["resident_ended"]


def test_a_run_over_its_time_in_a_shared_process_is_ended(site):
    definition = site.define(f"warm {time.monotonic()}", WARM.replace("max", "timeout_seconds: 3, max"))
    late = submit(site, definition, 100)
    in_a_step(site, late)
    time.sleep(1.5)
    neighbour = submit(site, definition, 2.5)

    failed, unharmed = kept(site, [late, neighbour])

    assert (failed["status_str"], failed["error_code_str"], failed["attempt_int"]) == ("failed", "timed_out", 1)
    assert unharmed["status_str"] == "completed"


def test_warm_runs_of_a_killed_worker_run_again_and_never_twice_at_once(watched, witness):
    site = watched.site(workers=2, PIPELINE_RESIDENTS="2")
    definition = watched.definition(site, extra="workflow: {keep_warm: true}\n")
    jobs = watched.submit(site, definition, 4, seconds=3)
    in_a_step(site, *jobs)

    for worker in busy_workers(site):
        os.kill(worker, signal.SIGKILL)

    assert {job["status_str"] for job in kept(site, jobs, witness)} == {"completed"}
