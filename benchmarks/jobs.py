"""Jobs: from submit to the stored result, beside Celery, Hayhooks and a bare loop over the same pipeline.

    python -m benchmarks.jobs [--jobs 300] [--rounds 3] [--on sqlite postgres+redis …] [--warm] [--short] [--alone]

Starts a site of its own for each database and queue, in turn: sqlite, postgres or mariadb on this machine, alone or
with redis or amqp. The default is the embedded one; `--on all` takes each. The pipeline searches 500 documents by BM25
and lays out what it finds, two to three milliseconds of work; with --short it is one prompt, half a millisecond.
The bare loop is one process that loads it once and runs it once per job; Celery's two processes with Redis do the same,
and Hayhooks' one, which keeps durable executions in Redis (each installed into an environment of its own, at the first
run). With --warm the definition says `keep_warm: true`; without, each run has a process of its own. They take turns;
printed are medians of the rounds, and of the ratios. Each does 300 jobs before the first.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path

from benchmarks import cpu, peers
from benchmarks.load import Connection, request
from tests.databases import servers
from tests.journeys.site import Site

PIPELINE = """\
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters:
      template: "问题：{{ query }}（前 {{ top_k }} 条）"
connections: []
"""
DATA = {"query": "什么是人工智能？", "top_k": 5}

# Hardly any work, so that what surrounds it is seen.
SHORT = PIPELINE.replace("问题：", "{% for n in range(11000) %}{% endfor %}问题：")
RETRIEVAL = """\
components:
  retriever:
    type: benchmarks.retrieval.Retrieval
    init_parameters: {}
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters:
      template: |-
        问题：{{ query }}（前 {{ top_k }} 条）
        {% for document in documents %}
        {{ document.content }}
        {% endfor %}
connections:
- {sender: retriever.documents, receiver: prompt.documents}
"""
WARM = "workflow: {keep_warm: true}\n"
WARM_UP = 300  # jobs before the first round, of each: ours begins with one process, and has all that it needs by then


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Ours:
    def __init__(self, site: Site, servers: list[str], pipeline: str):
        self.site, self.servers = site, servers
        self.definition = site.define("benchmark", pipeline)
        self.key = site.api.post("/auth/api_keys", json={"name_str": "benchmark"}).json()["secret_str"]

    def _request(self, path: str, body: dict) -> bytes:
        return request(
            "POST", f"/api/v1{path}", host=f"127.0.0.1:{self.site.port}", key=self.key, body=json.dumps(body).encode()
        )

    def _one_by_one(self, name: str, count: int, clients: int = peers.CLIENTS) -> None:
        sent = self._request(
            "/ai_workflow_job",
            {"ai_workflow_def_id": self.definition["id"], "trigger_data_json": DATA, "job_name_str": name},
        )
        peers.from_all(clients, count, self.site.port, sent, expected=201)

    def _in_bulk(self, name: str, count: int) -> None:
        for first in range(0, count, 1000):
            items = [{"trigger_data_json": DATA, "job_name_str": name}] * min(1000, count - first)
            body = {"ai_workflow_def_id": self.definition["id"], "items": items}
            status, answer = Connection(self.site.port).ask(self._request("/ai_workflow_job/batch", body))
            assert status == 201, answer

    def jobs(self, name: str) -> list[dict]:
        rows, url = [], "/ai_workflow_job"
        params = {"job_name": name, "limit": 1000}
        while url:
            page = self.site.api.get(url, params=params).json()
            rows, url, params = rows + page["results"], page["next"], None
        return rows

    def through(self, submit, count: int) -> tuple[float, list[dict], float]:
        """Jobs per second from the first submit to the last final state, the jobs, and CPU seconds of all of us."""
        name = f"bench-{time.monotonic_ns()}"
        before = self._cpu()
        start = time.perf_counter()
        submit(name, count)
        while left := self._unfinished():
            # At the end as often as it takes to see it when it is there, before that seldom: it costs the site, too.
            passed, done = time.perf_counter() - start, max(count - left, 1)
            assert passed < 600, f"{left} jobs do not end"
            time.sleep(min(max(left * passed / done / 2, 0.005), 0.05))
        seconds, used = time.perf_counter() - start, self._cpu() - before
        rows = self.jobs(name)
        assert len(rows) == count
        assert {row["status_str"] for row in rows} == {"completed"}
        return count / seconds, rows, used

    def _unfinished(self) -> int:
        return self.site.api.get("/ai_workflow_job", params={"status": "pending,running", "limit": 1}).json()["count"]

    def _cpu(self) -> float:
        return cpu.of_tree(self.site.process.pid) + sum(map(cpu.of_servers, self.servers))

    def measure(self, count: int) -> dict:
        rate, rows, used = self.through(self._one_by_one, count)
        bulk, _, bulk_used = self.through(self._in_bulk, count)
        idle = []
        for _ in range(30):
            idle += self.through(self._one_by_one_alone, 1)[1]
            time.sleep(0.15)
        return {
            "one by one: jobs/s": rate,
            "one by one: submit to start p50 ms": percentile(rows, "created_at_time", "started_at_time", 0.5),
            "one by one: submit to start p99 ms": percentile(rows, "created_at_time", "started_at_time", 0.99),
            "one by one: CPU ms per job": 1000 * used / count,
            "in bulk: jobs/s": bulk,
            "in bulk: CPU ms per job": 1000 * bulk_used / count,
            "idle: submit to start p50 ms": percentile(idle, "created_at_time", "started_at_time", 0.5),
            "idle: submit to start p99 ms": percentile(idle, "created_at_time", "started_at_time", 0.99),
            "idle: submit to stored p50 ms": percentile(idle, "created_at_time", "completed_at_time", 0.5),
            "idle: submit to stored p99 ms": percentile(idle, "created_at_time", "completed_at_time", 0.99),
        }

    def _one_by_one_alone(self, name: str, count: int) -> None:
        self._one_by_one(name, count, clients=1)


def percentile(rows: list[dict], first: str, last: str, share: float) -> float:
    waits = sorted(1000 * (moment(row[last]) - moment(row[first])) for row in rows)
    return waits[min(int(len(waits) * share), len(waits) - 1)]


PRODUCTION = {
    "DEBUG": "false", "SECRET_KEY": "x" * 60, "ALLOWED_HOSTS": "127.0.0.1", "SECURE_SSL_REDIRECT": "false",
    "LOG_LEVEL": "WARNING",
}  # fmt: skip
QUEUES = {"": "", "redis": "redis://127.0.0.1:6379/13", "amqp": "amqp://guest:guest@127.0.0.1:5672//"}
PLACES = [database + queue for database in servers.URLS for queue in ("", "+redis", "+amqp")]


PROCESSES = {"postgres": "postgres", "mariadb": "mariadbd", "redis": "redis-server", "amqp": "beam.smp"}


def measure(place: str, options) -> list[dict]:
    database, _, queue = place.partition("+")
    environment = {
        "QUEUE_URL": QUEUES[queue], "JOB_LEASE_SECONDS": "30", "JOB_SWEEP_SECONDS": "5",
        "PIPELINE_COMPONENTS": "benchmarks.retrieval.Retrieval", **PRODUCTION,
    }  # fmt: skip
    pipeline = SHORT if options.short else RETRIEVAL
    if options.warm:
        environment["PIPELINE_RESIDENTS"] = "4"
    if servers.URLS[database]:
        environment["DATABASE_URL"] = servers.Server(servers.URLS[database]).make()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        site = Site(Path(folder), workers=options.workers, **environment).start()
        stack.callback(site.stop)
        names = [PROCESSES[name] for name in (database, queue) if name in PROCESSES]
        ours = Ours(site, names, pipeline + (WARM if options.warm else ""))
        others = [] if options.alone else [peer(pipeline, DATA) for peer in (peers.Celery, peers.Hayhooks)]
        for peer in others:
            stack.callback(peer.stop)
            peer.through(WARM_UP)
        ours.through(ours._one_by_one, WARM_UP)
        rounds = []
        for _ in range(options.rounds):
            figures = ours.measure(options.jobs)
            loop = peers.bare_loop(pipeline, DATA, options.jobs)
            figures["bare loop: jobs/s"] = loop
            figures["ratio to the loop, one by one"] = figures["one by one: jobs/s"] / loop
            figures["ratio of CPU to the loop's"] = figures["one by one: CPU ms per job"] * loop / 1000
            for peer in others:
                figures |= peer.measure(options.jobs)
                for how in ("one by one", "in bulk"):
                    figures[f"ratio to {peer.name}, {how}"] = (
                        figures[f"{how}: jobs/s"] / figures[f"{peer.name}: jobs/s"]
                    )
            rounds.append(figures)
    return rounds


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiworkflow_project.settings")  # to speak with the servers
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--on", nargs="+", choices=[*PLACES, "all"], default=["sqlite"])
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--short", action="store_true", help="a pipeline that takes half a millisecond")
    parser.add_argument("--alone", action="store_true", help="without Celery and Hayhooks")
    options = parser.parse_args()
    for place in PLACES if "all" in options.on else options.on:
        print(f"\n{place}")
        rounds = measure(place, options)
        for name in rounds[0]:
            print(f"  {name:40} {statistics.median(figures[name] for figures in rounds):10.2f}", flush=True)


if __name__ == "__main__":
    main()
