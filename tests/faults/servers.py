"""Servers of a test's own, which it may stop, kill and start again: each on a free port, with its data in a folder."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import amqp
import psycopg
import pytest
import redis

from tests.journeys.site import free_port, wait_for


class Server:
    """Started with `start()`. `stop()` is a planned end, `kill()` an accident; both keep the data for a next start."""

    program: str
    user: str | None = None  # as whom it runs when the tests run as root

    def __init__(self, folder: Path):
        if not _find(self.program):
            pytest.skip(f"{self.program} is not installed")
        self.folder = folder
        self.port = free_port()
        self.folder.mkdir()
        if self.user and os.geteuid() == 0:
            for parent in (self.folder, *self.folder.parents):
                if parent.stat().st_uid == 0 and parent != Path("/tmp") and len(parent.parts) > 2:
                    parent.chmod(parent.stat().st_mode | 0o011)
            shutil.chown(self.folder, self.user, self.user)
        self.prepare()

    def prepare(self) -> None:
        """Makes the data that a first start needs."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), env=self.environment(), cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
                **self._as_user(),
            )  # fmt: skip
        wait_for(self._answers, 60, f"{self.program}: {self.folder / 'log'}")
        return self

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, self.stop_signal)
            self.process.wait(60)
        self.kill()

    stop_signal = signal.SIGTERM

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)
        wait_for(lambda: not self._listens(), what=f"{self.program} to be gone")

    def _as_user(self) -> dict:
        return {"user": self.user, "group": self.user} if self.user and os.geteuid() == 0 else {}

    def run(self, *command: str) -> None:
        subprocess.run(
            command, env=self.environment(), cwd=self.folder, check=True, capture_output=True, **self._as_user()
        )

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
        try:
            return self.ask()
        except OSError:
            return False

    def ask(self) -> bool:
        return self._listens()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Redis(Server):
    program = "redis-server"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self):
        return [
            _find(self.program), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
            "--save", "", "--appendonly", "yes", "--appendfsync", "always",
        ]  # fmt: skip

    def flush(self) -> None:
        redis.Redis(port=self.port).flushall()


class RabbitMQ(Server):
    program = "rabbitmq-server"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def prepare(self):
        self.dist_port, self.epmd_port = free_port(), free_port()
        (self.folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")

    def command(self):
        return [_find(self.program)]

    def flush(self) -> None:
        with amqp.Connection(f"127.0.0.1:{self.port}") as connection:
            connection.channel().queue_delete("aiworkflow")

    def environment(self):
        return super().environment() | {
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }

    def kill(self):
        super().kill()
        # Its name service has left our process group.
        subprocess.run(["epmd", "-port", str(self.epmd_port), "-kill"], check=False, capture_output=True)


class PostgreSQL(Server):
    program = "postgres"
    user = "postgres"
    stop_signal = signal.SIGINT  # "fast": open sessions are ended

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self):
        self.data = self.folder / "data"
        self.run(_find("initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")

    def command(self):
        return [
            _find(self.program), "-D", str(self.data), "-p", str(self.port), "-k", str(self.folder),
            "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60",
        ]  # fmt: skip

    def ask(self):
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _find(program: str) -> str | None:
    """The path of a server's program, also where its package puts it out of the way."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/lib/rabbitmq/bin")]
    return next((str(place / program) for place in places if (place / program).exists()), shutil.which(program))
