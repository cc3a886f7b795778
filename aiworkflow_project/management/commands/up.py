"""`manage.py up`: everything in one command — database, first administrator, examples, runner, web and workers."""

import fcntl
import os
import signal
import subprocess
import sys
import time
import urllib.request
from functools import partial
from urllib.error import URLError

from django.conf import settings
from django.core.checks import Tags
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from accounts.services import make_first_administrator
from aiworkflow_project.processes import die_with_parent
from workflows import engine

START_SECONDS = 60
PAUSE = 0.3


class Command(BaseCommand):
    help = "Starts everything and serves until SIGINT or SIGTERM, which let running jobs end for DRAIN_SECONDS."

    def add_arguments(self, parser):
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8001)
        parser.add_argument("--workers", type=int, default=settings.WORKERS, help="worker processes")
        parser.add_argument("--sample", action="store_true", help="run the sample jobs once all is up")

    def handle(self, *args, host, port, workers, sample, **options):
        if workers < 1:
            raise CommandError("--workers must be at least 1.")
        self.stopping = False
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        with OnlyOneHere(f"http://{host}:{port}"):
            signal.signal(signal.SIGINT, self._ask_to_stop)
            signal.signal(signal.SIGTERM, self._ask_to_stop)
            self.keeper = engine.RunnerKeeper()
            self.children = {}
            try:
                self._prepare()
                self._start("web", "serve", "--host", host, "--port", str(port))
                self._start("workers", "qcluster", "--workers", str(workers))
                self._announce(f"http://{host}:{port}")
                if sample and not self.stopping:
                    call_command("run_sample", stdout=self.stdout)
                    self._say_addresses(f"http://{host}:{port}")
                self._look_after_children()
            finally:
                self._stop_children()
                self.keeper.stop()

    def _prepare(self):
        self.keeper.tick()  # it imports Haystack while we migrate
        try:
            self.check(tags=[Tags.database], databases=["default"])
        except DatabaseError as error:
            raise CommandError(f"The database can't be used: {error}") from error
        call_command("migrate", verbosity=0, interactive=False)
        if not settings.DEBUG:
            call_command("collectstatic", verbosity=0, interactive=False)
        password = make_first_administrator(**settings.FIRST_ADMIN)
        if password:
            username = settings.FIRST_ADMIN["username"]
            self.stdout.write(f"\nThe first administrator (shown this once): {username} / {password}\n")
        self.keeper.wait_until_ready(START_SECONDS)
        call_command("load_examples", stdout=self.stdout)

    def _start(self, name: str, *command: str) -> None:
        # A session of its own: Ctrl-C in the terminal is for us alone, and we stop the children in order.
        # What they would check, we have checked.
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command, "--skip-checks"],
            cwd=settings.BASE_DIR,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
        )
        self.children[name] = (process, command)

    def _announce(self, address: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.stopping and not _answers(f"{address}/ping"):
            if time.monotonic() > deadline or self.children["web"][0].poll() is not None:
                raise CommandError(f"The web server does not answer at {address}. Is the port taken?")
            self.keeper.tick()
            time.sleep(0.1)
        self._say_addresses(address)

    def _say_addresses(self, address: str) -> None:
        self.stdout.write(
            f"\nAI WorkFlow is up; Ctrl-C stops it.\n"
            f"  console  {address}/admin/\n  API      {address}/api/v1/\n  docs     {address}/docs\n\n"
        )
        self.stdout.flush()

    def _look_after_children(self) -> None:
        while not self.stopping:
            self.keeper.tick()
            for name, (process, command) in self.children.items():
                if process.poll() is not None and not self.stopping:
                    self.stderr.write(f"The {name} ended with code {process.returncode}; started again.")
                    time.sleep(1)
                    self._start(name, *command)
                    break
            time.sleep(PAUSE)

    def _ask_to_stop(self, signum, frame):
        self.stopping = True

    def _stop_children(self) -> None:
        """Drain: no new requests, then no new claims, then wait for the runs."""
        if not self.children:
            return
        self.stdout.write("Stopping: running jobs may end first.")
        for process, _command in self.children.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + settings.DRAIN_SECONDS + 15
        for name, (process, _command) in self.children.items():
            while process.poll() is None and time.monotonic() < deadline:
                self.keeper.tick()
                time.sleep(0.05)
            if process.poll() is None:
                self.stderr.write(f"The {name} did not stop in time and are killed.")
                process.kill()


class OnlyOneHere:
    """Holds the data folder's lock, or says who does. The kernel lets go of it when the process ends, however."""

    def __init__(self, address: str):
        self.address = address

    def __enter__(self):
        self.file = open(settings.DATA_DIR / "up.lock", "a+")
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.file.seek(0)
            raise CommandError(
                f"AI WorkFlow already runs on {settings.DATA_DIR} ({self.file.read().strip()}). Nothing was started."
            ) from None
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()}, {self.address}")
        self.file.flush()

    def __exit__(self, *exc_info):
        self.file.truncate(0)
        self.file.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own address
            return answer.status == 200
    except (URLError, OSError):
        return False
