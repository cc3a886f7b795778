"""A soak: many jobs through four workers on PostgreSQL with Redis, while processes of theirs are killed at random.

    python -m benchmarks.soak [--jobs 20000] [--every 10] [--database postgresql://…] [--queue redis://…] > soak.log

Every some seconds one process of the workers' cluster is killed (SIGKILL): a worker, the pusher, the monitor or the
sentinel, whichever it hits. At the end the tables must say that each job was accepted once, ended once, and that no
final state was followed by another. Ends with an error when they don't.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from benchmarks.jobs import DATA, PIPELINE
from tests.journeys.site import Site

WHY = "SELECT error_code, error_message, count(*) FROM ai_workflow_job WHERE status = 'failed' GROUP BY 1, 2"
AGAIN = """
    SELECT job_id FROM ai_workflow_job_step WHERE status = 'completed'
    GROUP BY job_id HAVING count(DISTINCT attempt) > 1"""
# One query a fact that must hold; each finds the jobs for which it does not.
BROKEN = {
    "jobs without a final state": "SELECT id FROM ai_workflow_job WHERE status IN ('pending', 'running')",
    "jobs that ended more than once, or never": """
        SELECT j.id FROM ai_workflow_job j LEFT JOIN ai_workflow_job_event e ON e.job_id = j.id AND e.kind = 'state'
        AND e.data::jsonb->>'status_str' IN ('completed', 'failed', 'cancelled')
        GROUP BY j.id HAVING count(e.id) <> 1""",
    "jobs to which something happened after their end": """
        SELECT j.id FROM ai_workflow_job j JOIN ai_workflow_job_event e ON e.job_id = j.id AND e.seq = j.event_seq
        WHERE NOT (e.kind = 'state' AND e.data::jsonb->>'status_str' = j.status)""",
    "jobs whose events have a gap": """
        SELECT j.id FROM ai_workflow_job j JOIN ai_workflow_job_event e ON e.job_id = j.id
        GROUP BY j.id HAVING count(*) <> max(e.seq) OR max(e.seq) <> j.event_seq""",
    "jobs with the wrong result": """
        SELECT id FROM ai_workflow_job WHERE status = 'completed' AND result NOT LIKE '%什么是人工智能%'""",
}


def say(*words) -> None:
    print(time.strftime("%H:%M:%S"), *words, flush=True)


class Killer(threading.Thread):
    """Kills one process of the site's workers every `every` seconds."""

    def __init__(self, site: Site, every: float):
        super().__init__(daemon=True)
        self.site, self.every, self.over, self.kills = site, every, threading.Event(), 0

    def run(self):
        while not self.over.wait(self.every):
            found = self.site.processes("qcluster")
            if not found:
                continue
            pid = random.choice(found)
            title = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
            os.kill(pid, signal.SIGKILL)
            self.kills += 1
            say(f"killed {pid}: {title[:70]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--every", type=float, default=10)
    parser.add_argument("--database", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--queue", default="redis://127.0.0.1:6379/14")
    options = parser.parse_args()
    name = f"soak_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(options.database, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            return soak(options, f"{options.database.rpartition('/')[0]}/{name}")
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def soak(options, url: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(
            Path(folder), workers=4, DATABASE_URL=url, QUEUE_URL=options.queue, JOB_LEASE_SECONDS="10",
            JOB_SWEEP_SECONDS="2", JOB_MAX_ATTEMPTS="10",
        ).start()  # fmt: skip
        killer = Killer(site, options.every)
        try:
            definition = site.define("soak", PIPELINE)
            say(f"{options.jobs} jobs, 4 workers; one process killed every {options.every:g} s")
            start = time.monotonic()
            killer.start()
            with ThreadPoolExecutor(4) as clients:
                accepted = {
                    job["id"] for job in clients.map(lambda _: site.submit(definition, DATA), range(options.jobs))
                }
            say(f"{len(accepted)} accepted after {time.monotonic() - start:.0f} s")
            with psycopg.connect(url, autocommit=True) as rows:
                wait(rows)
                seconds = time.monotonic() - start
                killer.over.set()
                return judge(rows, accepted, killer.kills, seconds)
        finally:
            killer.over.set()
            site.stop()


def wait(rows) -> None:
    told = 0.0
    while True:
        states = dict(rows.execute("SELECT status, count(*) FROM ai_workflow_job GROUP BY status").fetchall())
        if time.monotonic() - told > 10 or not states.keys() & {"pending", "running"}:
            told = time.monotonic()
            say(", ".join(f"{number} {status}" for status, number in sorted(states.items())))
        if not states.keys() & {"pending", "running"}:
            return
        time.sleep(0.5)


def judge(rows, accepted: set[str], kills: int, seconds: float) -> int:
    jobs = {str(job): attempt for job, attempt in rows.execute("SELECT id, attempt FROM ai_workflow_job")}
    attempts = {n: list(jobs.values()).count(n) for n in sorted(set(jobs.values()))}
    say(f"{len(jobs)} jobs in {seconds:.0f} s ({len(jobs) / seconds:.0f} a second), {kills} processes killed")
    say("attempts: " + ", ".join(f"{number} jobs took {attempt}" for attempt, number in attempts.items()))
    for code, message, number in rows.execute(WHY).fetchall():
        say(f"{number} failed: {code}: {message}")
    again = len(rows.execute(AGAIN).fetchall())
    say(f"{again} jobs did a step again, for their worker was killed between its end and theirs")
    wrong = {what: rows.execute(query).fetchall() for what, query in BROKEN.items()}
    wrong["jobs accepted and not found, or found and not accepted"] = list(accepted ^ jobs.keys())
    for what, found in wrong.items():
        say(f"{len(found)} {what}{': ' + str(found[:5]) if found else ''}")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
