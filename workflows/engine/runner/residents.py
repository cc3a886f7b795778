"""The server's side of residents: which definition has one, what runs in it, and when it ends.

They are few. Where there is no room for another, and none that is idle to make room, a run has a child of its own.
A definition has one, and as many as there are processors where its runs compute and wait for each other.
"""

import contextlib
import itertools
import json
import math
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Any

GRACE = 2.0  # seconds that a run which was told to stop may take, before its resident is ended for it
_GRACE_WITHOUT_CLIENT = 1.0
_IDLE_SECONDS = 600.0
RUNS_AT_ONCE = 512
_PROCESSORS = len(os.sched_getaffinity(0))


@dataclass(eq=False)
class Run:
    connection: socket.socket
    ends_at: float
    stop_code: str = ""
    kill_at: float | None = None


@dataclass(eq=False)
class Resident:
    key: str
    control: socket.socket
    child: Any = None  # the server's Child
    runs: dict[int, Run] = field(default_factory=dict)
    used_at: float = 0.0
    retired: bool = False
    crowded: bool = False  # whether runs have waited in it for their turn, when it was last heard
    why: str = "crashed"


class Residents:
    def __init__(self, server, most: int):
        self._server = server
        self._most = most
        self._all: list[Resident] = []
        self._numbers = itertools.count(1)
        self.due = math.inf  # when there is something to do, at the earliest

    def __len__(self) -> int:
        return len(self._all)

    def take(self, connection: socket.socket, key: str, seconds: float) -> bool:
        """Have the resident of this key serve the request on this connection, or say that none can."""
        resident = self._resident(key)
        if resident is None or len(resident.runs) >= RUNS_AT_ONCE:
            return False
        number, now = next(self._numbers), time.monotonic()
        try:
            socket.send_fds(resident.control, [json.dumps({"run": number}).encode()], [connection.fileno()])
        except OSError:  # it hasn't taken what came before, or is gone
            return False
        run = resident.runs[number] = Run(connection, ends_at=now + seconds)
        resident.used_at = now
        self._note(run.ends_at)
        self._server.watch(
            connection.fileno(), select.EPOLLRDHUP, lambda events: self._client_moved(resident, number, run, events)
        )
        return True

    def tick(self, now: float) -> None:
        if now < self.due:
            return
        for resident in list(self._all):
            for number, run in list(resident.runs.items()):
                if run.kill_at and now >= run.kill_at:
                    self._end(resident, "hung")
                    break
                if not run.stop_code and now >= run.ends_at:
                    self._stop(resident, number, run, "timed_out", GRACE)
            if not resident.runs and (resident.retired or now - resident.used_at > _IDLE_SECONDS):
                self._end(resident, "idle")
        ends = [run.kill_at or run.ends_at for resident in self._all for run in resident.runs.values()]
        idle = [resident.used_at + _IDLE_SECONDS for resident in self._all if not resident.runs]
        self.due = min(ends + idle, default=math.inf)

    def _note(self, at: float) -> None:
        """There will be something to do."""
        self.due = min(self.due, at)

    def _resident(self, key: str) -> Resident | None:
        ours = [resident for resident in self._all if resident.key == key and not resident.retired]
        if not ours:
            return self._start(key)
        if self._has_room() and len(ours) < _PROCESSORS and all(resident.crowded for resident in ours):
            with contextlib.suppress(OSError):  # those that are there serve it too
                return self._start(key)
        return min(ours, key=lambda resident: len(resident.runs))

    def _has_room(self) -> bool:
        """Those that only end their last runs are not counted, unless there are as many of them."""
        at_work = sum(not resident.retired for resident in self._all)
        return at_work < self._most and len(self._all) < 2 * self._most

    def _start(self, key: str) -> Resident | None:
        if not self._has_room():
            idle = [resident for resident in self._all if not resident.runs and not resident.retired]
            if not idle:
                return None
            self._end(min(idle, key=lambda resident: resident.used_at), "idle")
        control, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        resident = Resident(key, control)
        try:
            resident.child = self._server.fork(childs, resident=True, ended=lambda end: self._bury(resident, end))
        except OSError:
            control.close()
            raise
        finally:
            childs.close()
        control.setblocking(False)
        self._server.watch(control.fileno(), select.EPOLLIN, lambda events: self._hear(resident))
        self._all.append(resident)
        self._note(0.0)
        return resident

    def _hear(self, resident: Resident) -> None:
        while True:
            try:
                text = resident.control.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                text = b""
            try:
                message = json.loads(text)
                tired, crowded = message["tired"], message["crowded"]
                run = resident.runs.pop(message["ended"])
            except (ValueError, KeyError, TypeError):  # nothing, because it is gone; or a component speaks in its place
                self._server.unwatch(resident.control.fileno())
                if resident in self._all:
                    self._end(resident, "crashed")
                return
            resident.used_at = time.monotonic()
            resident.retired = resident.retired or tired
            resident.crowded = crowded
            if not resident.runs:
                self._note(0.0)
            if resident.child.pid in self._server.children:
                self._server.log_output(resident.child)
            self._server.say_farewell(run.connection, {"code": 0, "signal": None})

    def _client_moved(self, resident: Resident, number: int, run: Run, events: int) -> None:
        """The client asks for the end, or is gone."""
        if events & (select.EPOLLHUP | select.EPOLLERR):
            self._server.unwatch(run.connection.fileno())
            self._stop(resident, number, run, "stopped", _GRACE_WITHOUT_CLIENT)
        elif events & select.EPOLLRDHUP:
            self._server.epoll.modify(run.connection.fileno(), 0)  # a full close is still told
            self._stop(resident, number, run, "stopped", GRACE)

    def _stop(self, resident: Resident, number: int, run: Run, code: str, grace: float) -> None:
        kill_at = time.monotonic() + grace
        run.kill_at = min(run.kill_at or kill_at, kill_at)
        self._note(run.kill_at)
        if not run.stop_code:
            run.stop_code = code
            with contextlib.suppress(OSError):  # it takes nothing: then it is ended
                resident.control.send(json.dumps({"stop": number, "code": code}).encode())

    def _end(self, resident: Resident, why: str) -> None:
        resident.why, resident.retired = why, True
        self._all.remove(resident)
        resident.child.signal(signal.SIGKILL)

    def _bury(self, resident: Resident, end: dict) -> None:
        """Its process is gone: tell each of its runs, and whether that was its own doing."""
        if resident in self._all:
            self._all.remove(resident)
        if resident.control.fileno() in self._server.handlers:
            self._hear(resident)  # of runs that had ended before it did
        for run in resident.runs.values():
            if run.stop_code == "timed_out":
                end_of_run = {"code": None, "signal": int(signal.SIGALRM)}
            elif run.stop_code:
                end_of_run = {"code": None, "signal": int(signal.SIGKILL)}
            else:
                end_of_run = {**end, "resident": resident.why}
            self._server.say_farewell(run.connection, end_of_run)
        self._server.unwatch(resident.control.fileno())
        resident.control.close()
