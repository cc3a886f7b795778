"""A real runner for these tests, kept by a real keeper, and short ways to ask it something."""

import os
import shutil
import signal
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from haystack import component

from tests.runner import components
from workflows.engine import client, sharing
from workflows.engine import config as engine_config
from workflows.engine.config import Config
from workflows.engine.keeper import RunnerKeeper

OURS = tuple(
    path for path in component.registry if path.startswith(components.__name__) and not path.endswith("NotOnTheList")
)
HAYSTACKS = (
    "haystack.components.agents.agent.Agent",
    "haystack.components.builders.chat_prompt_builder.ChatPromptBuilder",
    "haystack.components.builders.prompt_builder.PromptBuilder",
    "haystack.components.converters.output_adapter.OutputAdapter",
    "haystack.components.generators.chat.mock.MockChatGenerator",
    "haystack.components.generators.chat.openai.OpenAIChatGenerator",
    "haystack.components.joiners.branch.BranchJoiner",
    "haystack.components.retrievers.in_memory.bm25_retriever.InMemoryBM25Retriever",
    "haystack.components.routers.file_type_router.FileTypeRouter",
)
OURS_IN_SHORT = {path.rpartition(".")[2]: path for path in (*OURS, *HAYSTACKS)}
PARENTS_SECRET = "the-parents-own-secret-8812"


def pipeline(components: dict, connections=(), **more) -> str:
    """YAML out of `{"name": "Class"}` or `{"name": ("Class", {parameters})}` and `["a.text -> b.text"]`."""
    built = {}
    for name, what in components.items():
        cls, parameters = what if isinstance(what, tuple) else (what, {})
        built[name] = {"type": OURS_IN_SHORT.get(cls, cls), "init_parameters": parameters}
    joined = [dict(zip(("sender", "receiver"), each.split(" -> "), strict=True)) for each in connections]
    return yaml.safe_dump({"components": built, "connections": joined, **more}, allow_unicode=True)


def run_request(text: str, data: dict | None = None, **changes) -> dict:
    return {
        "op": "run", "yaml": text, "data": data or {}, "outputs": None, "streams": [], "seconds": 30,
        "memory_mb": 1024, "result_bytes": 1024 * 1024, "components": [*OURS, *HAYSTACKS], "hosts": [], "secrets": {},
        "documents_dir": None, "labels": {"job": "j-1", "attempt": 1}, **changes,
    }  # fmt: skip


class Runner:
    """The runner under test, and what one may ask it."""

    def __init__(self, config: Config, keeper: RunnerKeeper, log: Path):
        self.config, self.keeper, self._log = config, keeper, log

    def run(self, text: str, data: dict | None = None, **changes) -> list[dict]:
        asked = run_request(text, data, **changes)
        return client.request(asked, asked["seconds"])

    def outcome(self, text: str, data: dict | None = None, **changes) -> dict:
        return self.run(text, data, **changes)[-1]

    def result(self, text: str, data: dict | None = None, **changes) -> dict:
        outcome = self.outcome(text, data, **changes)
        assert outcome["kind"] == "result", outcome
        return outcome["result"]

    def one(self, cls: str, data: dict, **changes) -> dict:
        """The outcome of a pipeline of this component alone."""
        return self.outcome(pipeline({"it": cls}), {"it": data}, **changes)

    def start(self, text: str, data: dict | None = None, *, warm: bool = False, **changes) -> client.Run:
        request = run_request(text, data, **changes)
        if not warm:
            return client.Run(request)
        settings = sharing.Settings(request)
        own = {name: value for name, value in request.items() if name not in settings.values}
        return client.Run(own, settings=settings, warm=True)

    def check(self, text: str, **changes) -> dict:
        asked = {
            "op": "check", "yaml": text, "components": [*OURS, *HAYSTACKS], "hosts": [], "seconds": 20,
            "memory_mb": 1024, **changes,
        }  # fmt: skip
        return client.request(asked, asked["seconds"])[-1]

    def codes(self, text: str, **changes) -> dict[str, str]:
        """Path: code of each problem, or of each warning."""
        return {problem["path"]: problem["code"] for problem in self.check(text, **changes)["problems"]}

    @property
    def pid(self) -> int:
        return self.keeper.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def children(self) -> list[int]:
        return list(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))

    def scratch(self) -> list[Path]:
        return list(Path(f"{self.config.socket}.scratch").iterdir())


def until(true, seconds: float = 10.0) -> bool:
    """Whether `true()` comes true within that time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def follow(run: client.Run, seconds: float = 20.0, kind: str | None = None) -> list[dict]:
    """The messages of a run to its end, or to the first of this kind."""
    messages, end = [], time.monotonic() + seconds
    while not run.ended and time.monotonic() < end:
        run.wait(end - time.monotonic())
        messages += run.receive()
        if kind and any(message["kind"] == kind for message in messages):
            return messages
    return messages


@pytest.fixture(scope="session")
def the_runner():
    folder = Path(tempfile.mkdtemp(prefix="runner-"))
    config = Config(data_dir=folder, socket=str(folder / "runner.sock"), components=OURS, residents=2)
    log = folder / "log"
    os.environ["PARENTS_SECRET"] = PARENTS_SECRET
    standard_error = os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)  # the runner writes its log where its keeper does
    try:
        keeper = RunnerKeeper(config)
        keeper.tick()
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        del os.environ["PARENTS_SECRET"]
    before = engine_config._current
    engine_config.configure(config)
    assert keeper.wait_until_ready(60), log.read_text()
    engine_config._current = before
    yield Runner(config, keeper, log)
    keeper.stop()
    shutil.rmtree(folder)


@pytest.fixture
def runner(the_runner):
    before = engine_config._current
    engine_config.configure(the_runner.config)
    yield the_runner
    engine_config._current = before


@pytest.fixture
def stopped_at_end():
    """A list of runs and process numbers that end with the test, however it goes."""
    things = []
    yield things
    for thing in things:
        if isinstance(thing, client.Run):
            thing.kill()
        elif alive(thing):
            os.kill(thing, signal.SIGKILL)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *arguments):
        pass


class _Counting(ThreadingHTTPServer):
    """Counts the connections, too: a refused caller must not even get that far."""

    def get_request(self):
        found = super().get_request()
        self.connections += 1
        return found


@pytest.fixture
def neighbour():
    """A server on this machine that no component has any business with, unless a test names it."""
    server = _Counting(("127.0.0.1", 0), _Handler)
    server.asked, server.connections = [], 0
    server.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
