"""The near side of the runner's socket: ask it something, or start a run and follow it."""

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from workflows.engine import policy, sharing
from workflows.engine.config import Config, current
from workflows.engine.errors import RunnerLost, RunnerUnavailable

_LONGEST_PATH = 100  # bytes of a Unix socket's address, less some
_CONNECT_SECONDS = 5.0
_CHUNK = 256 * 1024
_CHUNKS = 32  # at a time: whoever follows many runs must not be kept by one that never pauses
_OUT_OF_TIME = {14, 24}  # SIGALRM, SIGXCPU
_OUT_OF_MEMORY_CODE = 77
_ENDS_OF_RESIDENTS = {
    "hung": "The process that it shared with other runs was ended, because one of those could not be stopped.",
    "crashed": "The process that it shared with other runs ended, by the doing of one of them.",
}
_ANSWERS = ("result", "error", "description", "problems", "catalog", "pong")


def request(payload: dict, seconds: float, *, grace: float = 5.0, patience: float = 0.0) -> list[dict]:
    """Every message that the runner answers with, the closing one left out.

    Where the child died, the last message is an `error` that says so. Raises RunnerUnavailable where no runner
    answers within `patience` seconds (a keeper takes one or two to bring one up), and RunnerLost where it went away,
    or took longer than `seconds`.
    """
    run = _patiently(payload, patience)
    messages: list[dict] = []
    until = time.monotonic() + seconds + grace  # the runner ends what is late by itself, if it can
    try:
        while not run.ended:
            left = until - time.monotonic()
            if left <= 0:
                raise RunnerLost(f"The runner has not answered within {seconds:g} seconds.")
            run.wait(left)
            messages += run.receive()
    finally:
        run.kill()
    return messages


def _patiently(payload: dict, patience: float) -> "Run":
    until = time.monotonic() + patience
    while True:
        try:
            return Run(payload)
        except RunnerUnavailable:
            if time.monotonic() >= until:
                raise
            time.sleep(0.1)


def start_run(
    pipeline_yaml: str,
    description: dict,
    data: dict,
    *,
    seconds: int,
    documents_dir: Path,
    labels: dict,
    alone: bool = False,
) -> "Run":
    """Start a run of a checked definition on accepted data; it has `seconds`, by the runner's own clock.

    It shares a process with others of its kind where the definition says `keep_warm: true`, unless it is to be
    `alone`. Raises RunnerUnavailable where no runner answers.
    """
    config = current()
    settings = _settings(
        pipeline_yaml,
        tuple((name, output["source"]) for name, output in description["outputs"].items()),
        tuple(description["streams"]),
        tuple(description["secrets"]),
        str(documents_dir),
        config,
    )
    return Run(
        {"data": data, "seconds": seconds, "labels": labels},
        settings=settings,
        warm=description.get("workflow", {}).get("keep_warm", False) and config.residents > 0 and not alone,
    )


@lru_cache(maxsize=256)
def _settings(
    pipeline_yaml: str, outputs: tuple, streams: tuple, secrets: tuple, documents_dir: str, config: Config
) -> sharing.Settings:
    return sharing.Settings(
        {
            "op": "run",
            "yaml": pipeline_yaml,
            "outputs": dict(outputs) or None,
            "streams": streams,
            "memory_mb": config.memory_mb,
            "result_bytes": config.result_bytes,
            "components": sorted(policy.allowed_components(config)),
            "hosts": config.hosts,
            "secrets": policy.secret_values(secrets, config),
            "documents_dir": documents_dir,
        }
    )


def runner_status() -> dict | None:
    """What the runner says of itself (`pid`, `haystack_version`, `children`, `uptime_seconds`), or None."""
    try:
        messages = request({"op": "ping"}, seconds=0.0, grace=2.0)
    except (RunnerUnavailable, RunnerLost):
        return None
    return next(({**message} for message in messages if message["kind"] == "pong"), None)


class Run:
    """One request's answer, as it comes in. Closing it, or dying, ends the child on the other side at once.

    `payload` is the request, or what it has beside `settings`; with these it may share a process: `warm`.
    """

    def __init__(self, payload: dict, *, settings: sharing.Settings | None = None, warm: bool = False):
        line = (settings.request(payload) if settings else sharing.encoded(payload)) + b"\n"
        if warm:
            line = f"warm {settings.key} {payload['seconds']}\n".encode() + line
        self.ended = False
        self.outcome: dict | None = None  # the `result` or `error` message, once there is one
        self.received = 0  # bytes
        self._stopped = False
        self._rest = b""
        self._socket = _connect()
        try:
            self._socket.sendall(line)
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise RunnerUnavailable("The runner does not take requests.") from error

    def fileno(self) -> int:
        """For select(): readable when `receive()` has something to say."""
        return self._socket.fileno()

    def wait(self, seconds: float) -> None:
        """Return when there is something to receive, or after so long."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.poll(max(0, seconds) * 1000)

    def receive(self) -> list[dict]:
        """Every message that has come in by now, without waiting.

        The last one of a run is its outcome: `result` or `error`, also where the child died without a word. Then
        `ended` is true. Raises RunnerLost when the runner has gone away before that.
        """
        if self.ended:
            return []
        messages = []
        lost = not self._fill()
        *lines, self._rest = self._rest.split(b"\n")
        for message in _parsed(lines):
            if message["kind"] == "exit":
                messages += self._end(message)
                return messages
            if message["kind"] in _ANSWERS:
                if self.outcome is not None:
                    continue
                self.outcome = message
            messages.append(message)
        if lost:
            if messages:
                return messages  # the next call finds the end again
            self.kill()
            raise RunnerLost("The runner went away in the middle of a run.")
        return messages

    def stop(self) -> None:
        """Ask the run to end: the runner sends TERM, and KILL two seconds later."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End the run at once, and hear no more of it."""
        self.ended = True
        self._socket.close()

    def _fill(self) -> bool:
        """Read what is there, or enough of it for one turn; False at the end of the stream."""
        pieces = [self._rest]
        open_ = True
        for _ in range(_CHUNKS):
            try:
                piece = self._socket.recv(_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                piece = b""
            if not piece:
                open_ = False
                break
            pieces.append(piece)
            self.received += len(piece)
        self._rest = b"".join(pieces)
        return open_

    def _end(self, exit_: dict) -> list[dict]:
        self.kill()
        if self.outcome is not None:
            return []
        self.outcome = {"kind": "error", "component": None, "transient": False, **self._death(exit_)}
        return [self.outcome]

    def _death(self, exit_: dict) -> dict:
        code, signal = exit_.get("code"), exit_.get("signal")
        if exit_.get("resident") in _ENDS_OF_RESIDENTS:  # however that ended, it need not have been this run's doing
            return {"code": "resident_ended", "message": _ENDS_OF_RESIDENTS[exit_["resident"]]}
        if signal in _OUT_OF_TIME:
            return {"code": "timed_out", "message": "The run took longer than it may."}
        if self._stopped and signal is not None:
            return {"code": "stopped", "message": "The run was stopped."}
        if code == _OUT_OF_MEMORY_CODE:
            return {"code": "out_of_memory", "message": "The run needed more memory than it may have."}
        how = f"by signal {signal}" if signal is not None else f"with code {code}"
        return {"code": "crashed", "message": f"The run's process ended {how}, without an answer."}


def _parsed(lines: list[bytes]) -> Iterator[dict]:
    for line in lines:
        try:
            message = json.loads(line)
        except ValueError:
            continue  # empty, or the beginning of a line in whose middle the child died
        if isinstance(message, dict) and isinstance(message.get("kind"), str):
            yield message


def _connect() -> socket.socket:
    path = current().socket
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(_CONNECT_SECONDS)
    try:
        with short_address(path) as address:
            found.connect(address)
    except OSError as error:
        found.close()
        raise RunnerUnavailable(f"No runner answers on {path}.") from error
    return found


@contextlib.contextmanager
def short_address(path: str) -> Iterator[str]:
    """An address for the socket at `path` that fits into the 107 bytes a Unix socket's address may have."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)
