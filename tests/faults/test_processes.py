"""Faults at real processes: no accepted job is lost, none runs twice at once, and neighbours are unharmed."""

import os
import signal
import subprocess

from tests.faults.promises import kept, page
from tests.journeys.conftest import COMPONENTS
from tests.journeys.site import parent_of, wait_for


def pipeline(component: str, timeout_seconds: int = 120) -> str:
    return (
        f"components:\n  it:\n    type: tests.components.{component}\n    init_parameters: {{}}\n"
        f"connections: []\nworkflow:\n  timeout_seconds: {timeout_seconds}\n"
    )


def busy_workers(site) -> list[int]:
    return site.processes("qcluster", "processing")


def test_a_job_whose_worker_is_killed_runs_again_and_completes_once(new_site):
    site = new_site(workers=2, PIPELINE_COMPONENTS=COMPONENTS)
    job = site.submit(site.define("睡眠", pipeline("Sleeper")), {"seconds": 3})
    site.until(job, "running")
    [worker] = wait_for(lambda: busy_workers(site), what="a busy worker")

    os.kill(worker, signal.SIGKILL)

    [done] = kept(site, [job])
    assert (done["status_str"], done["attempt_int"]) == ("completed", 2)
    assert "The worker that ran it was lost." in page(site, job)
    completions = [step for step in site.steps(job) if step["status_str"] == "completed"]
    assert [step["attempt_int"] for step in completions] == [2]


def test_jobs_run_again_when_the_whole_cluster_is_killed(new_site):
    site = new_site(workers=2, PIPELINE_COMPONENTS=COMPONENTS)
    definition = site.define("睡眠", pipeline("Sleeper"))
    jobs = [site.submit(definition, {"seconds": 2}) for _ in range(4)]
    for job in jobs:
        site.until(job, "running")

    for pid in site.processes("qcluster"):
        os.kill(pid, signal.SIGKILL)

    assert [done["status_str"] for done in kept(site, jobs)] == ["completed"] * 4


def test_a_killed_runner_comes_back_and_its_jobs_run_again(new_site):
    site = new_site(PIPELINE_COMPONENTS=COMPONENTS)
    job = site.submit(site.define("睡眠", pipeline("Sleeper")), {"seconds": 3})
    wait_for(lambda: site.steps(job), what="a step")
    runners = site.processes("workflows.engine.runner.server")
    [runner] = [pid for pid in runners if parent_of(pid) not in runners]

    os.kill(runner, signal.SIGKILL)  # its children die with it; one that dies first is a crashed run

    [done] = kept(site, [job])
    assert (done["status_str"], done["attempt_int"]) == ("completed", 2)
    assert "The runner that ran it was lost." in page(site, job)


def test_a_job_is_accepted_while_the_queue_takes_no_message_and_runs_later(new_site):
    site = new_site(PIPELINE_COMPONENTS=COMPONENTS)
    definition = site.define("睡眠", pipeline("Sleeper"))
    site.sql("ALTER TABLE django_q_ormq RENAME TO out_of_order")

    job = site.submit(definition, {"seconds": 0})

    assert job["status_str"] == "pending"
    site.sql("ALTER TABLE out_of_order RENAME TO django_q_ormq")
    assert [done["status_str"] for done in kept(site, [job])] == ["completed"]


def test_a_stop_lets_running_jobs_end_and_a_new_start_runs_the_rest(new_site):
    site = new_site(PIPELINE_COMPONENTS=COMPONENTS, DRAIN_SECONDS="6")
    definition = site.define("睡眠", pipeline("Sleeper"))
    short = site.submit(definition, {"seconds": 2})
    long = site.submit(definition, {"seconds": 9})
    site.until(short, "running")
    site.until(long, "running")

    assert site.stop() == 0

    site.start()
    done = kept(site, [short, long])
    assert [(job["status_str"], job["attempt_int"]) for job in done] == [("completed", 1), ("completed", 2)]
    assert "Its worker was stopped as planned" in page(site, long)


def test_a_second_start_on_the_same_folder_says_so_and_harms_nothing(site):
    second = site.command("up", "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _out, error = second.communicate(timeout=60)

    assert second.returncode != 0
    assert "already runs" in error
    assert site.api.get("/ai_workflow_job").status_code == 200


def test_nothing_is_left_when_the_parent_of_all_is_killed(new_site):
    site = new_site(PIPELINE_COMPONENTS=COMPONENTS)
    job = site.submit(site.define("睡眠", pipeline("Sleeper")), {"seconds": 100})
    wait_for(lambda: site.steps(job), what="a step")
    family = site.processes()

    site.process.kill()
    site.process.wait()

    wait_for(lambda: not [pid for pid in family if _lives(pid)], 60, "every process to end")


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
