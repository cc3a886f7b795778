"""The web server as it runs: threads for requests, the event loop for streams, and a stop that loses nothing."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.databases import servers
from tests.descriptions import PROMPT_YAML
from tests.journeys.site import ROOT, free_port, wait_for

WEB_THREADS = 6
DEFS, JOBS = "/api/v1/ai_workflow_def", "/api/v1/ai_workflow_job"


class Server:
    """`manage.py serve` on a folder of its own, without workers: its jobs stay pending until they are cancelled."""

    def __init__(self, folder):
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DATA_DIR": str(folder),
            **servers.environment(),
            "MAX_BODY_MB": "1",
            "WEB_THREADS": str(WEB_THREADS),
            "DJANGO_SUPERUSER_PASSWORD": "correct horse",
        }
        self.log = open(folder / "log", "w+")  # noqa: SIM115 - as long as the server
        self.run("migrate", "--verbosity", "0")
        self.run("createsuperuser", "--no-input", "--username", "admin", "--email", "a@example.com")
        self.start()

    def run(self, *arguments):
        subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment, check=True, stdout=self.log
        )

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(self.port)],
            cwd=ROOT, env=self.environment, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        wait_for(self.answers, 20, "the server to answer")
        token = httpx.post(
            f"{self.address}/api/v1/auth/token", json={"username": "admin", "password": "correct horse"}
        ).json()["access"]
        self.headers = {"Authorization": f"Bearer {token}"}
        self.api = httpx.Client(base_url=self.address, headers=self.headers, timeout=30)
        wait_for(lambda: self.api.get("/health").json()["parts"]["runner"]["status"] == "ok", 30, "the runner")

    def answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.address}/ping").status_code == 200
        return False

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def a_job(self) -> str:
        definition = self.api.post(DEFS, json={"name_str": uuid.uuid4().hex, "hs_yaml_content": PROMPT_YAML}).json()
        body = {"ai_workflow_def_id": definition["id"], "trigger_data_json": {"query": "天气", "top_k": 1}}
        answer = self.api.post(JOBS, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("web"))
    yield server
    if server.process.poll() is None:
        server.stop()
    server.log.close()


def test_two_hundred_open_streams_do_not_hold_up_other_requests(server):
    jobs = [server.a_job() for _ in range(4)]

    async def run():
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(
            base_url=server.address, headers=server.headers, timeout=30, limits=limits
        ) as client:
            opened = 0

            async def follow(job):
                nonlocal opened
                async with client.stream("GET", f"{JOBS}/{job}/events") as answer:
                    assert answer.status_code == 200
                    opened += 1
                    return "".join([text async for text in answer.aiter_text()])

            followers = [asyncio.create_task(follow(jobs[n % 4])) for n in range(200)]
            while opened < 200:
                await asyncio.sleep(0.05)
            slowest = 0.0
            for _ in range(20):
                started = time.monotonic()
                assert (await client.get(JOBS)).status_code == 200
                slowest = max(slowest, time.monotonic() - started)
            for job in jobs:
                assert (await client.post(f"{JOBS}/{job}/cancel")).status_code == 200
            return slowest, await asyncio.gather(*followers)

    slowest, told = asyncio.run(asyncio.wait_for(run(), 60))

    assert slowest < 5  # a stream that held a thread would hold it for ever
    assert len(told) == 200
    for text in told:
        assert text.count("event: state") == 2
        assert "pending" in text.split("id: 2")[0]
        assert '"status_str":"cancelled"' in text.split("id: 2")[1]
    with open(f"/proc/{server.process.pid}/status") as status:
        threads = next(int(line.split()[1]) for line in status if line.startswith("Threads"))
    assert threads < 40


def test_a_client_that_goes_away_leaves_nothing_behind(server):
    job = server.a_job()
    for _ in range(5):
        with server.api.stream("GET", f"{JOBS}/{job}/events") as answer:
            pieces = answer.iter_text()
            while "pending" not in next(pieces):
                pass

    assert server.api.post(f"{JOBS}/{job}/cancel").status_code == 200
    assert server.api.get("/ping").status_code == 200


def test_a_body_without_an_announced_length_is_read(server):
    def pieces():
        yield b'{"name_str": "'
        yield uuid.uuid4().hex.encode() + b'", "hs_yaml_content": 5}'

    answer = server.api.post(DEFS, content=pieces(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["hs_yaml_content"]


def test_a_client_that_goes_away_in_the_middle_of_its_body_leaves_nothing_behind(server):
    told = os.fstat(server.log.fileno()).st_size
    for _ in range(WEB_THREADS + 2):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
            head = f"POST {DEFS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99"
            client.sendall(f"{head}\r\n\r\n{{".encode())

    assert server.api.get("/ping").status_code == 200
    server.log.seek(told)
    assert "Traceback" not in server.log.read()


def test_what_a_get_brings_as_a_body_is_no_part_of_the_next_request(server):
    sent = (
        f"GET {DEFS}?limit=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 16\r\n\r\nGET /ping HTTP/1"
        "GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(sent.encode())
        answered = b"".join(iter(lambda: client.recv(65536), b"")).decode()

    assert re.findall(r"HTTP/1.1 (\d+)", answered) == ["401", "200"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_answered_413_announced_or_not(server, announced):
    body = b'{"name_str": "' + b"x" * 1_200_000 + b'"}'
    content = body if announced else iter([body[:600_000], body[600_000:]])

    answer = server.api.post(DEFS, content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_header_with_an_underscore_passes_for_no_other(server):
    answer = server.api.get(f"{DEFS}/nowhere", headers={"X_Request_ID": "forged", "X-Request-ID": "mine"})

    assert answer.headers["x-request-id"] == "mine"


def test_paths_and_queries_in_any_bytes_are_answered(server):
    made = server.api.post(DEFS, json={"name_str": f"智能 {uuid.uuid4().hex}", "hs_yaml_content": PROMPT_YAML}).json()

    assert server.api.get(f"{DEFS}?name=%E6%99%BA%E8%83%BD").json()["results"][0]["id"] == made["id"]
    for path in ("/api/v1/%ff", "/api/v1/%00", "/%E4%BD%A0", "/api//v1", f"{DEFS}?name=%ff", f"{DEFS}?%ff=%ff"):
        assert server.api.get(path).status_code < 500


def test_a_head_has_no_body_and_static_files_come_whole(server):
    head = server.api.head(DEFS)
    bundle = server.api.get("/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js")

    assert (head.status_code, head.content) == (200, b"")
    assert len(bundle.content) > 1_000_000
    assert int(bundle.headers["content-length"]) == len(bundle.content)


def test_a_stop_ends_streams_and_a_client_resumes_at_the_next_server(server):
    job = server.a_job()
    with server.api.stream("GET", f"{JOBS}/{job}/events") as answer:
        pieces = answer.iter_text()
        first = next(pieces)
        while "id: 1" not in first:
            first += next(pieces)

        code = server.stop()

        assert "".join(pieces) == ""  # ended, and not torn off
    assert code == 0
    server.start()
    assert server.api.post(f"{JOBS}/{job}/cancel").status_code == 200
    rest = server.api.get(f"{JOBS}/{job}/events", headers={"Last-Event-ID": "1"}).text
    assert "id: 1\n" not in rest
    assert "id: 2\n" in rest


def test_a_stop_lets_requests_in_progress_end(server):
    def validate(n):
        return server.api.post(f"{DEFS}/validate", json={"hs_yaml_content": PROMPT_YAML + f"# {uuid.uuid4().hex}"})

    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(validate, n) for n in range(4)]
        time.sleep(0.05)  # they are with the runner now
        code = server.stop()
        told = [answer.result() for answer in answers]

    assert code == 0
    assert [(answer.status_code, answer.json().get("valid")) for answer in told] == [(200, True)] * 4
    server.start()


def test_a_taken_port_is_said_plainly(server):
    second = subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", str(server.port)],
        cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip

    assert second.returncode == 1
    assert "Traceback" not in second.stderr
    assert "Can't listen" in second.stderr


def test_the_web_server_does_not_import_haystack(server):
    with open(f"/proc/{server.process.pid}/maps") as maps:
        assert "numpy" not in maps.read()  # which Haystack brings in
