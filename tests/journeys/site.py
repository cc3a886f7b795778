"""A whole site in a folder of its own: `manage.py up` as a user starts it, and a client that speaks to it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.databases import servers

ROOT = Path(__file__).resolve().parent.parent.parent
FINAL = {"completed", "failed", "cancelled"}
USERNAME, PASSWORD = "tester", "a-long-pass-phrase"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(found, seconds: float = 30, what: str = "it"):
    """The first true value that `found()` returns; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


class Site:
    """Started with `start()`, stopped with `stop()`; `environment` is what the administrator would export."""

    def __init__(self, folder: Path, workers: int = 1, **environment: str):
        if "DATABASE_URL" not in environment:
            environment |= servers.environment()
        self.folder = folder
        self.port = free_port()
        self.workers = workers
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = folder / "site.log"
        self.data = folder / "var"
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "DATA_DIR": str(self.data),
            "DJANGO_SUPERUSER_USERNAME": USERNAME,
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            "JOB_LEASE_SECONDS": "4",
            "JOB_SWEEP_SECONDS": "1",
            "PYTHONUNBUFFERED": "1",
            **environment,
        }

    def command(self, *arguments: str, **options) -> subprocess.Popen:
        options = {"env": self.environment, **options}
        return subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, text=True, **options)

    def manage(self, *arguments: str) -> str:
        """What `manage.py` with these arguments prints."""
        command = self.command(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, error = command.communicate(timeout=120)
        assert command.returncode == 0, error
        return out

    def sql(self, statement: str) -> None:
        code = f"from django.db import connection; connection.cursor().execute({statement!r})"
        assert self.command("shell", "--no-imports", "-c", code).wait(60) == 0

    def start(self) -> "Site":
        with self.log.open("a") as log:
            self.process = self.command(
                "up", "--port", str(self.port), "--workers", str(self.workers), stdout=log, stderr=log
            )
        wait_for(self._is_up, 90, f"the site to answer; its log:\n{self.log.read_text()[-3000:]}")
        self.sign_in()
        return self

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return httpx.get(f"{self.address}/health", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def sign_in(self) -> None:
        answer = httpx.post(
            f"{self.address}/api/v1/auth/token", json={"username": USERNAME, "password": PASSWORD}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        self.api = httpx.Client(
            base_url=f"{self.address}/api/v1",
            headers={"Authorization": f"Bearer {answer.json()['access']}"},
            timeout=30,
        )

    def stop(self, signum: int = signal.SIGTERM, seconds: float = 60) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(seconds)

    # What a client does

    def define(self, name: str, pipeline_yaml: str) -> dict:
        answer = self.api.post("/ai_workflow_def", json={"name_str": name, "hs_yaml_content": pipeline_yaml})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def submit(self, definition: dict, data: dict, name: str = "", **control) -> dict:
        answer = self.api.post(
            "/ai_workflow_job",
            json={"ai_workflow_def_id": definition["id"], "trigger_data_json": data, "job_name_str": name, **control},
        )
        assert answer.status_code == 201, answer.text
        return answer.json()

    def job(self, job: dict) -> dict:
        answer = self.api.get(f"/ai_workflow_job/{job['id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def steps(self, job: dict) -> list[dict]:
        body = self.api.get(f"/ai_workflow_job/{job['id']}/steps").json()
        return body["results"] if isinstance(body, dict) else body

    def until(self, job: dict, *states: str, seconds: float = 30) -> dict:
        """The job's row once it is in one of `states`."""
        return wait_for(
            lambda: (row := self.job(job))["status_str"] in states and row,
            seconds,
            f"job {job['id']} to be {' or '.join(states)}; it is {self.job(job)}; log: {self.log.read_text()[-2000:]}",
        )

    def finished(self, job: dict, seconds: float = 30) -> dict:
        return self.until(job, *FINAL, seconds=seconds)

    def processes(self, *words: str) -> list[int]:
        """The pids of this site's processes whose command line or title holds all `words`."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is_ours(int(entry.name)):
                title = _read(entry / "cmdline").replace("\0", " ")
                if all(word in title for word in words):
                    found.append(int(entry.name))
        return found

    def _is_ours(self, pid: int) -> bool:
        while pid > 1:
            if pid == self.process.pid:
                return True
            pid = parent_of(pid)
        return False


def parent_of(pid: int) -> int:
    """The process's parent, or 0 when it is gone."""
    status = _read(Path(f"/proc/{pid}/status"))
    return int(status.partition("PPid:")[2].split(maxsplit=1)[0]) if status else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
