"""Keeps one runner going: whoever holds the lock beside the socket has the runner as its child."""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from workflows.engine.client import runner_status
from workflows.engine.config import Config, current

_ROOT = Path(__file__).resolve().parents[2]
_PAUSES = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds before a runner that died young is started again
_YOUNG = 10.0
_STOP_SECONDS = 5.0
_KEPT = ("PATH", "TZ", "LD_LIBRARY_PATH")

_held: dict[str, int] = {}  # lock: the process that holds it, by this module's doing


class RunnerKeeper:
    """Starts the runner where nobody else keeps one, and starts it again when it dies.

    The kernel ends the runner when the thread that started it ends, so `tick()` is for the main thread, or for one
    that lives as long as the process. The lock is a record lock: it belongs to the process, goes with it, and no
    fork inherits it.
    """

    def __init__(self, config: Config | None = None):
        self._config = config = config or current()
        self._lock_path = os.path.abspath(f"{config.socket}.lock")
        self._lock: int | None = None
        self._owner: int | None = None
        self._process: subprocess.Popen | None = None
        self._started = 0.0
        self._failures = 0

    def tick(self) -> None:
        """See to it that a runner runs; to be called every second or so. Never waits."""
        if not self._holds_lock() and not self._take_lock():
            return
        if self._process is not None:
            if self._process.poll() is None:
                return
            died_young = time.monotonic() - self._started < _YOUNG
            self._failures = self._failures + 1 if died_young else 0
            self._process = None
        pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        if time.monotonic() >= self._started + pause or not self._started:
            self._start()

    def wait_until_ready(self, seconds: float) -> bool:
        """Whether a runner, ours or another's, answers within that time."""
        until = time.monotonic() + seconds
        while True:
            self.tick()
            if runner_status() is not None:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)

    def stop(self) -> None:
        """End our runner, with its children, and let another keeper have the lock."""
        if not self._holds_lock():
            return
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        _held.pop(self._lock_path, None)
        os.close(self._lock)
        self._lock = self._owner = None

    @property
    def pid(self) -> int | None:
        """The process number of our runner, if it is ours."""
        return self._process.pid if self._process is not None and self._holds_lock() else None

    def _holds_lock(self) -> bool:
        return self._lock is not None and self._owner == os.getpid()

    def _take_lock(self) -> bool:
        # Closing any descriptor of a locked file would let go of the lock, so a process never opens it twice.
        if _held.get(self._lock_path) == os.getpid():
            return False
        os.makedirs(os.path.dirname(self._lock_path), mode=0o700, exist_ok=True)
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock, self._owner, self._process = lock, os.getpid(), None
        _held[self._lock_path] = self._owner
        return True

    def _start(self) -> None:
        self._started = time.monotonic()
        command = [sys.executable, "-m", "workflows.engine.runner.server"]
        command += ["--socket", os.path.abspath(self._config.socket), "--keeper", str(os.getpid())]
        command += ["--residents", str(self._config.residents)]
        for name in self._config.components:
            command += ["--component", name]
        # A group of its own: Ctrl-C in a terminal is for us, and we end the runner in our own time.
        self._process = subprocess.Popen(
            command, cwd=_ROOT, env=_environment(), stdin=subprocess.DEVNULL, start_new_session=True
        )


def _environment() -> dict[str, str]:
    """All that the runner is told of ours: nothing about the database, no key, no secret."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(_ROOT), *_extra_paths()])),
        "PYTHONHASHSEED": "random",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HAYSTACK_TELEMETRY_ENABLED": "false",
        "ANONYMIZED_TELEMETRY": "False",
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0"),
        # One thread each: a run is one place of a worker, and threads must not exist before a fork.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # each arena counts 64 MB against the limit on a child's memory
    }


def _extra_paths() -> list[str]:
    with contextlib.suppress(KeyError):
        return [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path]
    return []
