"""Jobs: from submit to the stored result, beside a bare loop over the same pipeline.

    python -m benchmarks.jobs [--jobs 300] [--rounds 3] [--on sqlite postgres+redis …]

Starts a site of its own for each database and queue, in turn: sqlite, postgres or mariadb on this machine, alone or
with redis or amqp. The default is the embedded one; `--on all` takes each. The bare loop is one process that loads the
pipeline and runs it, once per job, as the runner does; the cached one loads it once. Medians of the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from tests.databases import servers
from tests.journeys.site import ROOT, Site, wait_for

PIPELINE = """\
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters:
      template: "问题：{{ query }}（前 {{ top_k }} 条）"
connections: []
"""
DATA = {"query": "什么是人工智能？", "top_k": 5}

BARE = """
import json, sys, time, yaml
from haystack import Pipeline
text, data, count = json.load(sys.stdin)
def load():
    return Pipeline.from_dict(yaml.load(text, Loader=yaml.CSafeLoader))
def run(pipeline):
    return json.dumps(pipeline.run({"prompt": data}))
run(load())
cached = load()
start = time.perf_counter()
for _ in range(count): run(load())
middle = time.perf_counter()
for _ in range(count): run(cached)
print(json.dumps([count / (middle - start), count / (time.perf_counter() - middle)]))
"""


def bare_loop(count: int) -> tuple[float, float]:
    """Jobs per second of a process that loads and runs, and of one that only runs."""
    answer = subprocess.run(
        [sys.executable, "-c", BARE],
        input=json.dumps([PIPELINE, DATA, count]), capture_output=True, text=True, check=True, cwd=ROOT,
        env={"HAYSTACK_TELEMETRY_ENABLED": "false", "PATH": ""},
    )  # fmt: skip
    return tuple(json.loads(answer.stdout.splitlines()[-1]))


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def through_the_site(site: Site, definition: dict, count: int, clients: int = 8) -> dict:
    """Submit `count` jobs as fast as `clients` can, and wait for the last."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        jobs = list(pool.map(lambda n: site.submit(definition, DATA, name=f"{start}-{n}"), range(count)))
    submitted = time.perf_counter() - start

    def all_done():
        params = {"job_name": str(start), "status": "pending,running", "limit": 1}
        return site.api.get("/ai_workflow_job", params=params).json()["count"] == 0

    wait_for(all_done, 600, "all jobs to end")
    rows = site.api.get("/ai_workflow_job", params={"job_name": str(start), "limit": 1000}).json()["results"]
    assert len(rows) == len(jobs)
    assert {row["status_str"] for row in rows} == {"completed"}
    first = min(moment(row["created_at_time"]) for row in rows)
    last = max(moment(row["completed_at_time"]) for row in rows)
    waits = sorted(moment(row["completed_at_time"]) - moment(row["created_at_time"]) for row in rows)
    return {
        "jobs per second": count / (last - first),
        "submits per second": count / submitted,
        "latency p50 s": statistics.median(waits),
        "latency p99 s": waits[int(len(waits) * 0.99) - 1],
    }


def one_at_a_time(site: Site, definition: dict, count: int) -> dict:
    """Latency of single jobs on an idle site."""
    waits = []
    for _ in range(count):
        job = site.finished(site.submit(definition, DATA))
        waits.append(moment(job["completed_at_time"]) - moment(job["created_at_time"]))
        time.sleep(0.15)
    waits.sort()
    return {"idle p50 s": statistics.median(waits), "idle p99 s": waits[int(len(waits) * 0.99) - 1]}


QUEUES = {"": "", "redis": "redis://127.0.0.1:6379/13", "amqp": "amqp://guest:guest@127.0.0.1:5672//"}
PLACES = [database + queue for database in servers.URLS for queue in ("", "+redis", "+amqp")]


def measure(place: str, options) -> list[dict]:
    database, _, queue = place.partition("+")
    environment = {"QUEUE_URL": QUEUES[queue], "JOB_LEASE_SECONDS": "30", "JOB_SWEEP_SECONDS": "5"}
    if servers.URLS[database]:
        environment["DATABASE_URL"] = servers.Server(servers.URLS[database]).make()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), workers=options.workers, **environment).start()
        try:
            definition = site.define("benchmark", PIPELINE)
            through_the_site(site, definition, 20)
            rounds = []
            for _ in range(options.rounds):
                loads, cached = bare_loop(options.jobs)
                figures = through_the_site(site, definition, options.jobs) | one_at_a_time(site, definition, 40)
                rounds.append(
                    figures
                    | {"bare loop (load and run) per second": loads, "bare loop (cached) per second": cached}
                    | {"ratio to load and run": figures["jobs per second"] / loads}
                )
        finally:
            site.stop()
    return rounds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--on", nargs="+", choices=[*PLACES, "all"], default=["sqlite"])
    options = parser.parse_args()
    for place in PLACES if "all" in options.on else options.on:
        print(f"\n{place}")
        rounds = measure(place, options)
        for name in rounds[0]:
            print(f"  {name:40} {statistics.median(figures[name] for figures in rounds):10.3f}", flush=True)


if __name__ == "__main__":
    main()
