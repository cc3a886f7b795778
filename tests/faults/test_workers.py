"""Workers that are killed, frozen, called twice or stopped at the worst moment."""

import os
import signal
import sqlite3
import threading
import time

import pytest

from tests.faults.promises import events, kept, page
from tests.journeys.site import parent_of, wait_for

WORKER_LOST = "The worker that ran it was lost."


def kill(pids, signum=signal.SIGKILL):
    for pid in pids:
        os.kill(pid, signum)


def test_a_worker_killed_before_it_claims_loses_nothing(watched, witness):
    site = watched.site(workers=2)
    definition = watched.definition(site)
    idle = wait_for(lambda: site.processes("qcluster", "idle"), what="idle workers")

    kill(idle)
    jobs = watched.submit(site, definition, 3, 0.2)

    assert {(done["status_str"], done["attempt_int"]) for done in kept(site, jobs, witness)} == {("completed", 1)}


@pytest.mark.parametrize("part", ["monitoring", "pushing", "guarding"])
def test_the_cluster_survives_the_death_of_any_of_its_parts(watched, witness, part):
    site = watched.site(workers=2)
    definition = watched.definition(site)
    jobs = watched.submit(site, definition, 2, 3)
    wait_for(lambda: sum(witness.running.values()) == 2, what="both to run")
    # django-q2 names its monitor and pusher in their titles; the sentinel is the parent of both.
    titles = {"monitoring": "monitor", "pushing": "pusher"}
    found = site.processes("qcluster", titles.get(part, "pusher"))
    assert found

    kill(found if part in titles else {parent_of(pid) for pid in found})
    jobs += watched.submit(site, definition, 2, 0.2)

    assert {done["status_str"] for done in kept(site, jobs, witness)} == {"completed"}


def test_lost_jobs_are_put_back_while_pools_die_again_and_again(watched, witness):
    site = watched.site(workers=2)
    [job] = watched.submit(site, watched.definition(site), 1, 8)
    wait_for(lambda: witness.running.total(), what="the run")
    kill(site.processes("qcluster", "processing"))

    for _ in range(15):  # each ends the pool, and the next one with it
        kill(site.processes("qcluster", "pusher"))
        row = site.job(job)
        if row["status_str"] == "pending" or row["attempt_int"] > 1:
            break
        time.sleep(1)
    else:
        pytest.fail(f"was not put back: {row}")

    [done] = kept(site, [job], witness)
    assert done["status_str"] == "completed"


def test_a_worker_killed_between_the_last_step_and_the_final_write(watched, witness):
    site = watched.site(workers=1)
    [job] = watched.submit(site, watched.definition(site), 1, 1.5)
    wait_for(lambda: site.steps(job), what="the step")
    [worker] = site.processes("qcluster", "processing")

    with Locked(site):  # so that the worker has the answer and can't write it
        wait_for(lambda: sum(witness.ended.values()) == 1, what="the run to end")
        time.sleep(0.3)
        kill([worker])

    [done] = kept(site, [job], witness)
    assert (done["status_str"], done["attempt_int"]) == ("completed", 2)
    assert WORKER_LOST in page(site, job)


class Locked:
    """Holds the database's write lock, as a backup or another program may for a while."""

    def __init__(self, site):
        self.file = site.folder / "var" / "aiworkflow.sqlite3"

    def __enter__(self):
        self.connection = sqlite3.connect(self.file, timeout=20, isolation_level=None)
        self.connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, *exc_info):
        self.connection.execute("ROLLBACK")
        self.connection.close()


def test_a_database_locked_by_another_writer_delays_and_loses_nothing(watched, witness):
    site = watched.site(workers=2)
    definition = watched.definition(site)
    jobs = watched.submit(site, definition, 2, 0.5)
    wait_for(lambda: sum(witness.started.values()), what="a run")

    with Locked(site):
        submitted = threading.Thread(target=lambda: jobs.extend(watched.submit(site, definition, 1, 0.2)))
        submitted.start()
        assert site.api.get("/ai_workflow_job").status_code == 200  # readers are not held up
        time.sleep(6)  # longer than the lease
    submitted.join()

    assert {done["status_str"] for done in kept(site, jobs, witness)} == {"completed"}


def test_a_worker_frozen_beyond_its_lease_writes_nothing_when_it_wakes(watched, witness):
    site = watched.site(workers=2)
    [job] = watched.submit(site, watched.definition(site), 1, 3)
    wait_for(lambda: site.steps(job), what="the step")
    [worker] = site.processes("qcluster", "processing")

    kill([worker], signal.SIGSTOP)
    wait_for(lambda: site.job(job)["attempt_int"] == 2, 40, "another worker to take the job")
    kill([worker], signal.SIGCONT)

    [done] = kept(site, [job])
    assert (done["status_str"], done["attempt_int"]) == ("completed", 2)
    assert [step["attempt_int"] for step in site.steps(job) if step["status_str"] == "completed"] == [2]
    assert WORKER_LOST in page(site, job)


def test_wake_ups_delivered_many_times_start_a_job_once(watched, witness):
    site = watched.site(workers=4)
    jobs = watched.submit(site, watched.definition(site), 6, 1)
    site.manage(
        "shell", "--no-imports", "-c",
        "from django_q.tasks import async_task\nfor _ in range(60): async_task('jobs.tasks.work')",
    )  # fmt: skip

    assert {(done["status_str"], done["attempt_int"]) for done in kept(site, jobs, witness)} == {("completed", 1)}
    assert sum(witness.started.values()) == 6


SWEEPS = """
import time
from django.db import OperationalError
from jobs.sweep import sweep
end = time.monotonic() + 12
while time.monotonic() < end:
    try:
        sweep()
    except OperationalError as error:
        assert "locked" in str(error), error
"""


def test_many_sweeps_at_once_put_a_lost_job_back_once(watched, witness):
    site = watched.site(workers=2)
    jobs = watched.submit(site, watched.definition(site), 8, 3)
    wait_for(lambda: sum(witness.running.values()) == 8, what="all to run")
    sweepers = [site.command("shell", "--no-imports", "-c", SWEEPS) for _ in range(3)]

    kill(site.processes("qcluster"))

    done = kept(site, jobs, witness)
    assert {(job["status_str"], job["attempt_int"]) for job in done} == {("completed", 2)}
    assert [sweeper.wait(60) for sweeper in sweepers] == [0, 0, 0]
    for job in done:
        assert [data["status_str"] for _, kind, data in events(site, job) if kind == "state"].count("pending") == 2


def test_a_stop_under_load_gives_every_job_its_end(watched, witness):
    site = watched.site(workers=2, DRAIN_SECONDS="20")
    definition = watched.definition(site)
    jobs, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            jobs.extend(watched.submit(site, definition, 1, 0.5))
            time.sleep(0.05)

    client = threading.Thread(target=load)
    client.start()
    wait_for(lambda: sum(witness.started.values()) > 10, what="load")
    for pid in site.processes("qcluster", "--workers"):  # the main process alone; `up` starts another
        if parent_of(pid) == site.process.pid:
            kill([pid], signal.SIGTERM)
    time.sleep(4)
    stop.set()
    client.join()

    done = kept(site, jobs, witness)
    assert {(job["status_str"], job["attempt_int"]) for job in done} == {("completed", 1)}
    assert len(done) == len(witness.ended) == sum(witness.started.values())


def test_a_job_that_kills_every_worker_ends_and_says_why(watched, witness):
    site = watched.site(workers=1)
    [job] = watched.submit(site, watched.definition(site, extra="workflow:\n  max_attempts: 2\n"), 1, 30)
    for attempt in (1, 2):
        wait_for(lambda attempt=attempt: witness.running.total() and site.job(job)["attempt_int"] == attempt, 40)
        kill(wait_for(lambda: site.processes("qcluster", "processing"), what="a busy worker"))
        wait_for(lambda: not witness.running.total(), what="the run to end with its worker")

    [done] = kept(site, [job], witness)
    assert (done["status_str"], done["error_code_str"]) == ("failed", "worker_lost")
    assert "The worker that ran the job was lost. It was tried 2 times." in page(site, job)


def test_a_web_process_killed_while_jobs_run_and_stream_harms_none(watched, witness):
    site = watched.site(workers=1)
    [job] = watched.submit(site, watched.definition(site), 1, 4)
    wait_for(lambda: witness.running.total(), what="the run")

    kill(site.processes("manage.py serve"))
    wait_for(site._is_up, 40, "the web process to be back")

    [done] = kept(site, [job], witness)
    assert (done["status_str"], done["attempt_int"]) == ("completed", 1)
