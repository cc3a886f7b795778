"""What the jobs are measured beside: a bare loop, Celery and Hayhooks, all over the same pipeline, loaded once."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks import cpu
from benchmarks.environments import python_of
from benchmarks.load import Connection, request
from tests.journeys.site import ROOT, free_port, wait_for

HERE = Path(__file__).parent
CLIENTS = 8
# They load a component of ours, which Haystack refuses unless its module is named.
HAYSTACK = {
    "HAYSTACK_TELEMETRY_ENABLED": "false", "HAYSTACK_DESERIALIZATION_ALLOWLIST": "benchmarks.retrieval",
    "PYTHONPATH": str(ROOT),
}  # fmt: skip
BARE = """
import json, sys, time, yaml
from haystack import Pipeline
text, data, count = json.load(sys.stdin)
pipeline = Pipeline.from_dict(yaml.load(text, Loader=yaml.CSafeLoader))
pipeline.run(data)
start = time.perf_counter()
for _ in range(count): json.dumps(pipeline.run(data))
print(count / (time.perf_counter() - start))
"""


def bare_loop(pipeline: str, data: dict, count: int) -> float:
    """Jobs per second of a process that loaded the pipeline once."""
    answer = subprocess.run(
        [sys.executable, "-c", BARE],
        input=json.dumps([pipeline, data, count]), capture_output=True, text=True, check=True, cwd=ROOT,
        env=HAYSTACK | {"PATH": ""},
    )  # fmt: skip
    return float(answer.stdout.splitlines()[-1])


def from_all(clients: int, count: int, port: int, sent: bytes, expected: int) -> list[dict]:
    """What is answered to `count` requests from `clients` connections at a time."""
    answers = []

    def go(number: int) -> None:
        connection = Connection(port)
        for _ in range(number):
            status, body = connection.ask(sent)
            assert status == expected, body
            answers.append(json.loads(body))

    shares = [count // clients + (n < count % clients) for n in range(clients)]
    threads = [threading.Thread(target=go, args=[share]) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


class Peer:
    """A service of another project, in an environment of its own, which gets the pipeline as PEER_PIPELINE."""

    name = ""

    def __init__(self, pipeline: str, data: dict):
        self.data = data
        self.folder = HERE / self.name.lower()
        self.python = python_of(self.folder / "requirements.txt")
        self.environment = {
            "PATH": os.environ["PATH"], "PEER_PIPELINE": pipeline, **HAYSTACK, **self.settings(),
        }  # fmt: skip
        self.process = subprocess.Popen(
            self.command(), cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def measure(self, count: int) -> dict:
        before = cpu.of_tree(self.process.pid)
        rate = self.through(count)
        used = cpu.of_tree(self.process.pid) - before
        return {f"{self.name}: jobs/s": rate, f"{self.name}: CPU of its processes, ms per job": 1000 * used / count}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


class Celery(Peer):
    """A worker of two processes, and a client in a third."""

    name = "Celery"

    def settings(self) -> dict:
        return {"PEER_URL": "redis://127.0.0.1:6379/11"}

    def command(self) -> list:
        return [self.python, "-m", "celery", "-A", "celery_app", "worker", "--concurrency", "2", "-l", "ERROR"]

    def through(self, count: int, *pause: float) -> float:
        command = [self.python, "celery_app.py", json.dumps(self.data), str(count), *map(str, pause)]
        answer = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=True
        )
        return float(answer.stdout.splitlines()[-1])

    def measure(self, count: int) -> dict:
        return super().measure(count) | {"Celery: idle p50 ms": 1000 * self.through(30, 0.15)}


class Hayhooks(Peer):
    """Its durable executions: one process, with Redis, submitted by as many clients as ours."""

    name = "Hayhooks"

    def settings(self) -> dict:
        self.port = free_port()
        return {
            "HAYHOOKS_DURABLE_MODE": "true", "HAYHOOKS_DURABLE_REDIS_URL": "redis://127.0.0.1:6379/12",
            "HAYHOOKS_DURABLE_REDIS_KEY_PREFIX": f"peer-{time.time_ns()}",
            "HAYHOOKS_DURABLE_WORKER_CONCURRENCY": "4", "HAYHOOKS_DURABLE_MAX_NONTERMINAL_EXECUTIONS": "100000",
        }  # fmt: skip

    def command(self) -> list:
        return [
            self.python.parent / "hayhooks", "run", "--host", "127.0.0.1", "--port", str(self.port),
            "--pipelines-dir", "pipelines",
        ]  # fmt: skip

    def through(self, count: int) -> float:
        wait_for(self._answers, 60, "Hayhooks")
        sent = self._request("POST", "/work/run-durable", json.dumps(self.data).encode())
        start = time.perf_counter()
        submitted = from_all(CLIENTS, count, self.port, sent, expected=202)
        asked = Connection(self.port)
        for one in submitted:  # they are run about in this order
            wait_for(lambda path=one["links"]["self"]: self._is_complete(asked, path), 600, "the end")
        return count / (time.perf_counter() - start)

    def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        return request(method, path, host=f"127.0.0.1:{self.port}", body=body)

    def _answers(self) -> bool:
        try:
            return Connection(self.port).ask(self._request("GET", "/work/executions?limit=1"))[0] == 200
        except OSError:
            return False

    def _is_complete(self, connection: Connection, path: str) -> bool:
        status = json.loads(connection.ask(self._request("GET", path))[1])["status"]
        assert status in ("queued", "running", "completed"), status
        return status == "completed"
