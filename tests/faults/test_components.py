"""Components that hang, die, take everything, or answer what is no answer: one clear failure, no neighbour harmed."""

import signal
import time

import pytest

from tests.faults.promises import kept, page
from tests.faults.test_processes import pipeline
from tests.journeys.site import wait_for


def run(site, component: str, data: dict, **limits) -> dict:
    [done] = kept(
        site, [site.submit(site.define(f"{component} {time.monotonic()}", pipeline(component, **limits)), data)]
    )
    return done


@pytest.mark.parametrize(
    ("component", "data"),
    [("Sleeper", {"seconds": 100}), ("HoldsTheGIL", {"exponent": 400_000_000}), ("Deaf", {"seconds": 100})],
    ids=["in Python", "in C", "deaf to signals"],
)
def test_a_component_that_hangs_is_ended_at_its_time_limit(site, component, data):
    neighbour = site.submit(site.define(f"by {component}", pipeline("Sleeper")), {"seconds": 3})

    done = run(site, component, data, timeout_seconds=1)

    assert (done["status_str"], done["error_code_str"]) == ("failed", "timed_out")
    assert "time limit of 1 s" in page(site, done)
    assert [(job["status_str"], job["attempt_int"]) for job in kept(site, [neighbour])] == [("completed", 1)]


@pytest.mark.parametrize(
    ("component", "data"),
    [
        ("Sleeper", {"seconds": 100}),
        ("BusyLoop", {"seconds": 100}),
        ("HoldsTheGIL", {"exponent": 400_000_000}),
        ("Deaf", {"seconds": 100}),
    ],
)
def test_a_running_job_is_cancelled_within_five_seconds_and_its_neighbour_is_unharmed(site, component, data):
    neighbour = site.submit(site.define(f"neighbour of {component}", pipeline("Sleeper")), {"seconds": 4})
    job = site.submit(site.define(f"victim {component}", pipeline(component)), data)
    wait_for(lambda: site.steps(job) and site.steps(neighbour), what="both to be in a step")

    asked = time.monotonic()
    answer = site.api.post(f"/ai_workflow_job/{job['id']}/cancel")

    assert answer.status_code in (200, 202), answer.text
    assert site.until(job, "cancelled", seconds=10)["status_str"] == "cancelled"
    assert time.monotonic() - asked < 5
    [done, unharmed] = kept(site, [job, neighbour])
    assert done["status_str"] == "cancelled"
    assert (unharmed["status_str"], unharmed["attempt_int"]) == ("completed", 1)
    assert "The job was cancelled." in page(site, done)


def test_a_job_over_its_memory_limit_fails_as_out_of_memory(site):
    done = run(site, "MemoryHog", {"megabytes": 4000})

    assert (done["status_str"], done["error_code_str"]) == ("failed", "out_of_memory")
    assert "out_of_memory" in page(site, done)


def test_a_run_that_fills_the_disk_fails_and_leaves_nothing_behind(site):
    done = run(site, "DiskFiller", {"megabytes": 100_000})

    assert (done["status_str"], done["attempt_int"]) == ("failed", 1)
    assert done["error_message_text"] in page(site, done)
    assert run(site, "Sleeper", {"seconds": 0})["status_str"] == "completed"


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("huge", "result_too_large"),
        ("an object", "result_not_json"),
        ("unspeakable", "result_not_json"),
        ("a cycle", "result_not_json"),
    ],
)
def test_an_answer_that_is_none_fails_and_says_why(site, what, code):
    done = run(site, "Answers", {"what": what})

    assert (done["status_str"], done["error_code_str"]) == ("failed", code)
    assert done["error_message_text"]
    assert code in page(site, done)


def test_an_answer_with_nul_and_half_characters_is_kept(site):
    done = run(site, "Answers", {"what": "nul"})

    assert done["status_str"] == "completed", done
    assert done["result_data_json"]["it"]["it"].startswith("甲\x00乙")
    assert "甲" in page(site, done)


def test_an_error_that_cannot_be_told_fails_all_the_same(site):
    done = run(site, "RaisesUnspeakable", {})

    assert (done["status_str"], done["error_code_str"]) == ("failed", "component_failed")
    assert done["error_message_text"] in page(site, done)


def test_a_failing_component_is_named_and_not_tried_again(site):
    done = run(site, "Raiser", {"message": "坏了<nul>"})

    assert (done["status_str"], done["error_code_str"], done["attempt_int"]) == ("failed", "component_failed", 1)
    assert "it" in done["error_message_text"]
    assert "坏了" in page(site, done)


@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_run_whose_process_dies_fails_and_its_neighbour_is_unharmed(site, signum):
    neighbour = site.submit(site.define(f"by {signum}", pipeline("Sleeper")), {"seconds": 2})

    done = run(site, "Dies", {"signum": int(signum)})

    assert (done["status_str"], done["error_code_str"]) in {("failed", "crashed"), ("failed", "out_of_memory")}
    assert done["error_message_text"] in page(site, done)
    assert [(job["status_str"], job["attempt_int"]) for job in kept(site, [neighbour])] == [("completed", 1)]
