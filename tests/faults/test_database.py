"""A database that restarts, is gone for longer than a lease, can't be reached from one machine, or is full."""

import contextlib
import os
import signal
import subprocess
import time

import psycopg
import pytest

from tests.faults.promises import kept, page
from tests.faults.servers import PostgreSQL
from tests.faults.test_workers import WORKER_LOST
from tests.faults.wire import Wire
from tests.journeys.site import wait_for


@pytest.fixture
def server(tmp_path):
    server = PostgreSQL(tmp_path / "database").start()
    yield server
    server.kill()


def submitted(site, watched, definition, number: int, seconds: float) -> list[dict]:
    """Submits until each was accepted, as a client does that tries again."""
    jobs = []

    def one() -> bool:
        answer = site.api.post(
            "/ai_workflow_job",
            json={
                "ai_workflow_def_id": definition["id"],
                "trigger_data_json": {"name": f"{time.monotonic_ns()}", "seconds": seconds},
            },
        )
        assert answer.status_code in (201, 503), answer.text
        if answer.status_code == 201:
            jobs.append(answer.json())
        return answer.status_code == 201

    for _ in range(number):
        wait_for(one, what="a submit to be accepted")
    return jobs


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restart_of_the_database_disturbs_no_run(watched, witness, server, end):
    site = watched.site(workers=2, DATABASE_URL=server.url, JOB_LEASE_SECONDS="15")
    definition = watched.definition(site)
    jobs = watched.submit(site, definition, 4, 3)
    wait_for(lambda: witness.running.total() == 4, what="all to run")

    getattr(server, end)()
    server.start()
    jobs += submitted(site, watched, definition, 2, 0.2)

    assert {(job["status_str"], job["attempt_int"]) for job in kept(site, jobs, witness)} == {("completed", 1)}


def test_a_database_gone_for_longer_than_a_lease_loses_nothing(watched, witness, server):
    site = watched.site(workers=2, DATABASE_URL=server.url)
    definition = watched.definition(site)
    jobs = watched.submit(site, definition, 4, 2)
    wait_for(lambda: witness.running.total() == 4, what="all to run")

    server.stop()
    answer = site.api.post("/ai_workflow_job", json={"ai_workflow_def_id": definition["id"], "trigger_data_json": {}})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert site.api.get("/ai_workflow_job").status_code == 503
    time.sleep(8)  # two leases
    server.start()
    jobs += submitted(site, watched, definition, 2, 0.2)

    assert {job["status_str"] for job in kept(site, jobs, witness)} == {"completed"}


def test_a_worker_cut_off_from_the_database_gives_its_jobs_up_before_another_takes_them(watched, witness, server):
    site = watched.site(workers=1, DATABASE_URL=server.url)
    definition = watched.definition(site)
    for pid in site.processes("qcluster"):  # its own workers wait, so that the machine behind the wire gets the jobs
        os.kill(pid, signal.SIGSTOP)
    with Wire("127.0.0.1", server.port) as wire:
        far = site.command(
            "qcluster", "--workers", "1",
            env=site.environment | {"DATABASE_URL": server.url.replace(f":{server.port}", f":{wire.port}"),
                                    "RUNNER_SOCKET": str(site.folder / "far.sock")},
        )  # fmt: skip
        try:
            jobs = watched.submit(site, definition, 3, 12)
            wait_for(lambda: witness.running.total() == 3, what="all to run there")

            wire.swallow()
            for pid in site.processes("qcluster"):
                os.kill(pid, signal.SIGCONT)
            wait_for(lambda: witness.started.total() == 6, 60, "all to run here")
            wire.mend()

            done = kept(site, jobs, witness)
            assert {(job["status_str"], job["attempt_int"]) for job in done} == {("completed", 2)}
            assert all(WORKER_LOST in page(site, job) for job in jobs)
        finally:
            far.terminate()
            far.wait(60)


KEEP = """
import time
from django.db import transaction
from jobs.models import Job
with transaction.atomic():
    Job.objects.update(name="kept")
    print("keeps", flush=True)
    time.sleep(100)
"""


def test_a_session_that_keeps_its_locks_and_says_nothing_is_given_up(watched, witness, server):
    site = watched.site(workers=1, DATABASE_URL=server.url)
    jobs = watched.submit(site, watched.definition(site), 3, 1)
    wait_for(lambda: witness.running.total() == 3, what="all to run")

    silent = site.command("shell", "--no-imports", "-c", KEEP, stdout=subprocess.PIPE)
    assert silent.stdout.readline() == "keeps\n"

    assert {job["status_str"] for job in kept(site, jobs, witness)} == {"completed"}
    assert silent.poll() is None
    assert {job["job_name_str"] for job in jobs} == {site.job(job)["job_name_str"] for job in jobs}
    silent.kill()
    silent.wait()


def test_jobs_are_accepted_while_the_queues_table_is_locked(watched, witness, server):
    site = watched.site(workers=1, DATABASE_URL=server.url)
    definition = watched.definition(site)

    with psycopg.connect(server.url) as other:
        other.execute("LOCK TABLE django_q_ormq IN ACCESS EXCLUSIVE MODE")
        asked = time.monotonic()
        jobs = watched.submit(site, definition, 2, 0.2)
        assert time.monotonic() - asked < 25
        assert {job["status_str"] for job in jobs} == {"pending"}

    assert {job["status_str"] for job in kept(site, jobs, witness)} == {"completed"}


@pytest.fixture
def disk(tmp_path):
    """A small disk of the test's own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(file) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


def test_a_full_disk_under_the_database_refuses_clearly_and_loses_nothing(disk, watched, witness):
    site = watched.site(workers=1, DATABASE_URL=f"sqlite:///{disk}/site.sqlite3")
    definition = watched.definition(site)
    jobs = watched.submit(site, definition, 2, 2)
    wait_for(lambda: witness.running.total() == 2, what="both to run")

    fill(disk / "filler")
    wait_for(lambda: witness.ended.total() == 2, what="both to end")
    answer = site.api.post(
        "/ai_workflow_job",
        json={"ai_workflow_def_id": definition["id"], "trigger_data_json": {"name": "x" * 9000, "seconds": 0}},
    )
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    time.sleep(5)
    (disk / "filler").unlink()

    assert {job["status_str"] for job in kept(site, jobs, witness)} == {"completed"}
