"""A child that stays: it serves the runs of one definition, several at once, where that says `keep_warm: true`.

Each run has a pipeline and a thread to itself while it lasts. Both stay together for good, so that what belongs to the
thread that made it (a database's connection, an event loop) is used by no other, and serve one run after the other.
"""

import collections
import contextlib
import contextvars
import ctypes
import json
import os
import queue
import resource
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from haystack import Pipeline

from workflows.engine import sharing
from workflows.engine.runner import child, execution, sandbox
from workflows.engine.runner.failures import RunFailed
from workflows.engine.runner.replies import Replies
from workflows.engine.runner.residents import RUNS_AT_ONCE

RUNS_IN_ALL = 2000  # then another takes its place: what leaks, leaks no further
_MEMORY_IN_ALL = 0.5  # of what it may have, beyond what it began with
_PATIENCE = 0.005  # seconds that runs wait for one of the busy slots, before some have others
_PATIENCE_WITH_COMPUTING = 0.1  # the same while those compute
_LONGEST_WAIT = 1.0  # seconds of a run for its turn, then one more may begin, if there is anything left for it
_COMPUTING = 0.2  # of the time, and more: others are at work on this machine too
_FULL = 0.7  # of the time, in which one interpreter's threads want the processor
_CROWDED = 0.05  # seconds that a run waits for its turn
_WEIGHED_EVERY = 0.1  # seconds
_SECONDS_TO_ASK = 30
_TIME_TO_ASK = struct.pack("ll", _SECONDS_TO_ASK, 0)  # a timeval
_DEAF_SECONDS = 1.0  # less than the server gives a run that was told to stop

_python = ctypes.pythonapi
_python.PyThreadState_SetAsyncExc.argtypes = (ctypes.c_ulong, ctypes.py_object)


class RunStopped(BaseException):
    """Raised within a run that was cancelled or is over its time."""


@dataclass(eq=False)
class _Run:
    number: int  # the server's
    connection: socket.socket
    replies: Replies
    request: dict | None = None  # None until it is read
    slot: "_Slot | None" = None
    came: float = field(default_factory=time.monotonic)
    stop_code: str = ""
    told_to_stop: float | None = None
    begun: bool = False
    ended: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)  # of these: it can be interrupted in between only


def serve(control: socket.socket, scratch: Path, status: dict) -> int:
    """Take runs until the server ends us. What it sends: `{"run": 1}` with a connection, `{"stop": 1, "code": "…"}`;
    what it is told: `{"ended": 1, "tired": false, "crowded": false}`."""
    sandbox.ring_after(_SECONDS_TO_ASK)
    message, connection = _receive(control)
    request = json.loads(child.read(connection))
    child.import_components(request)
    guard = sandbox.enter(child.limits(request, runs=RUNS_AT_ONCE), scratch)
    threading.stack_size(sandbox.STACK_BYTES)
    resident = _Resident(control, guard, request)
    resident.take(message["run"], connection, request)
    while True:
        resident.obey()


class _Resident:
    def __init__(self, control: socket.socket, guard: sandbox.Guard, request: dict):
        self.guard = guard
        self.settings = sharing.Settings(request)
        self._control = control
        self._runs: dict[int, _Run] = {}
        self._waiting: collections.deque[_Run] = collections.deque()
        self._moved = 0.0  # since when the first of those waits to be the next
        self._looked = _Use(0.0, 0.0, 0)  # when it was last looked at how they fare
        self._grown = 0.0, 0.0  # when it was last looked whether one more may begin, and what was wanted by then
        self._idle: list[_Slot] = []
        self._lock = threading.Lock()
        self._served = 0
        self._weighed = 0.0
        self._most_bytes = _private_bytes() + _MEMORY_IN_ALL * request["memory_mb"] * 1024 * 1024
        self.short_of_memory = False
        guard.watch_call = self._note_call

    def obey(self) -> None:
        """Do what the server says next."""
        said = select.select([self._control], [], [], self._patience())[0]
        self._leave_the_deaf()
        if said:
            message, connection = _receive(self._control)
            if connection is not None:
                self.take(message["run"], connection)
            else:
                self._stop(message["stop"], message["code"])
        if self._waiting and self._patience() == 0 and self._more_may_begin():
            # Twice as many each time: those that wait for a model have all begun soon.
            for _ in range(max(self._under_way(), 1)):
                self._begin_next()
        elif self._has_time_to_spare():
            self._begin_next()

    def _patience(self) -> float:
        """Seconds until there is something to do, whatever the server says."""
        if not self._waiting:
            return _DEAF_SECONDS / 4
        return max(min(self._looked.at + _PATIENCE - time.monotonic(), _DEAF_SECONDS / 4), 0)

    def _more_may_begin(self) -> bool:
        """Whether those that have slots wait for something, or none of them has ended for too long."""
        with self._lock:
            before, now = self._looked, _Use.by_now()
            self._looked = now
            runs = [run.slot for run in self._runs.values() if run.slot]
            return now.at - self._moved > _PATIENCE_WITH_COMPUTING or (
                now.was_idle_since(before) and not any(slot.wants_the_processor() for slot in runs)
            )

    def _has_time_to_spare(self) -> bool:
        """Whether runs have waited for long, and our threads have wanted the processor for less than they may.

        What they did not get of it counts, since others would not get it either.
        """
        with self._lock:
            if self._longest_wait() < _LONGEST_WAIT:
                return False
        since, before = self._grown
        now = time.monotonic()
        passed = now - since
        if passed < _LONGEST_WAIT:
            return False
        try:
            wanted = _wanted_seconds()
        except OSError:  # no descriptor is left to look with
            return False
        self._grown = now, wanted
        return passed < 2 * _LONGEST_WAIT and wanted - before < _FULL * passed

    def _longest_wait(self) -> float:
        """Of a run for its turn. Within our lock."""
        return time.monotonic() - self._waiting[0].came if self._waiting else 0.0

    def _under_way(self) -> int:
        """How many runs have a slot."""
        with self._lock:
            return len(self._runs) - len(self._waiting)

    def take(self, number: int, connection: socket.socket, request: dict | None = None) -> None:
        """Begin a run: at once while no other is under way, else with the next slot that is done.

        Those that compute would only take the interpreter from each other, at a few switches for each call of the
        system. Those that wait for a model are soon found out: when none has been done for `_PATIENCE` seconds, and
        the processor has been idle, the next ones have slots of their own.
        """
        run = self._runs[number] = _Run(number, connection, Replies(connection), request)
        with self._lock:
            if not self._waiting:
                self._note_move()
            self._waiting.append(run)
        if not self._under_way():
            self._begin_next()

    def _begin_next(self) -> None:
        with self._lock:
            if not self._waiting:  # a slot was faster
                return
            run = self._next()
            slot = self._idle.pop() if self._idle else None
        if slot is None:
            self._make_room(1)
            slot = _Slot(self)
            slot.start()
        slot.inbox.put(run)

    def ended(self, run: _Run, slot: "_Slot | None") -> _Run | None:
        """A run has given its answer, in this thread. Returns the one that `slot` is to serve next, if one waits."""
        following = None
        with self._lock:
            del self._runs[run.number]
            crowded = self._longest_wait() > _CROWDED
            if slot and self._waiting:
                following = self._next()
            elif slot:
                self._idle.append(slot)
        self._served += 1
        run.connection.close()
        tired = self._served >= RUNS_IN_ALL or self.short_of_memory or self._has_grown()
        if slot is None:
            self._make_room(-1)
        said = {"ended": run.number, "tired": tired, "crowded": crowded}
        self._control.send(json.dumps(said).encode())
        return following

    def _next(self) -> _Run:
        """The first that waits, which is to have a slot now. Within our lock."""
        self._note_move()
        return self._waiting.popleft()

    def _note_move(self) -> None:
        self._moved = time.monotonic()
        self._looked = _Use.by_now()

    def _has_grown(self) -> bool:
        """Whether it takes too much memory. While other runs are under way, that is looked at now and then only."""
        now = time.monotonic()
        if self._runs and now - self._weighed < _WEIGHED_EVERY:
            return False
        self._weighed = now
        return _private_bytes() > self._most_bytes

    def _make_room(self, threads: int) -> None:
        with self._lock:
            sandbox.room_for_stacks(threads)

    def _stop(self, number: int, code: str) -> None:
        run = self._runs.get(number)
        if run is None:
            return
        with run.lock:
            if run.told_to_stop is None:
                run.told_to_stop = time.monotonic()
                if not run.ended:
                    run.stop_code = code
                    if run.begun:
                        run.slot.interrupt()

    def _leave_the_deaf(self) -> None:
        """A run that can't say its last word, because its client doesn't read, must not be taken for one that hangs."""
        for run in list(self._runs.values()):
            told = run.told_to_stop
            if told is not None and time.monotonic() - told > _DEAF_SECONDS and run.replies.is_sending:
                with contextlib.suppress(OSError):
                    run.connection.shutdown(socket.SHUT_RDWR)

    def _note_call(self, sock: socket.socket) -> None:
        slot = _slot.get()
        if slot is not None:
            slot.note_call(sock)


class _Slot(threading.Thread):
    """A thread and the pipeline that lives in it; they serve one run at a time, and end after one that went wrong."""

    def __init__(self, resident: _Resident):
        super().__init__(daemon=True)
        self.inbox: queue.SimpleQueue[_Run] = queue.SimpleQueue()
        self._resident = resident
        self._pipeline: Pipeline | None = None
        self._calls: dict[int, int] = {}  # descriptor of a socket: its number in the kernel

    def run(self) -> None:
        healthy, following = True, None
        while healthy:
            run = following or self.inbox.get()
            run.slot = self
            line, healthy = b"", False
            with contextlib.suppress(RunStopped):
                with run.lock:
                    run.begun = not run.stop_code
                if run.begun:
                    line, healthy = contextvars.copy_context().run(self._answer, run)
            self._close(run)
            if run.stop_code and not healthy:
                said = "The run took longer than it may." if run.stop_code == "timed_out" else "The run was stopped."
                line = _error(run, RunFailed(run.stop_code, said))
            with contextlib.suppress(OSError):  # the client is gone
                run.replies.send_line(line)
            if not healthy:
                self._pipeline = None  # before we say that we are done
            following = self._resident.ended(run, self if healthy else None)

    def wants_the_processor(self) -> bool:
        """Whether this thread would compute now, if it had a processor, or can't be seen, for want of a descriptor."""
        try:
            stat = Path(f"/proc/self/task/{self.native_id}/stat").read_text()
        except OSError:
            return True
        return stat.rpartition(")")[2].split()[0] == "R"

    def interrupt(self) -> None:
        """Raise RunStopped in our thread as soon as it is in Python, and end the calls that it may be waiting for."""
        _python.PyThreadState_SetAsyncExc(self.ident, RunStopped)
        for descriptor, number in list(self._calls.items()):
            with contextlib.suppress(OSError):
                copy = os.dup(descriptor)
                if os.fstat(copy).st_ino != number:  # it is another's by now
                    os.close(copy)
                    continue
                with socket.socket(fileno=copy) as call:
                    call.shutdown(socket.SHUT_RDWR)

    def note_call(self, sock: socket.socket) -> None:
        self._calls[sock.fileno()] = os.fstat(sock.fileno()).st_ino

    @staticmethod
    def _close(run: _Run) -> None:
        """From here on the run can't be interrupted any more."""
        while True:
            try:
                with run.lock:
                    run.ended = True
                _python.PyThreadState_SetAsyncExc(threading.get_ident(), ctypes.py_object())
                return
            except RunStopped:
                continue

    def _answer(self, run: _Run) -> tuple[bytes, bool]:
        """The run's last line, and whether pipeline and thread are fit for another."""
        _slot.set(self)
        resident = self._resident
        resident.guard.begin_run()
        request = run.request
        try:
            if request is None:
                run.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIME_TO_ASK)
                request = resident.settings.read(child.read(run.connection))
            run.replies.blot_out((request.get("secrets") or {}).values())
            if self._pipeline is None:
                self._pipeline = execution.load(request, resident.guard)
            return execution.run(self._pipeline, request, run.replies, resident.guard), True
        except RunFailed as error:
            if not run.stop_code:
                child.log(error, request or {})
            return _error(run, self._whose_fault(error)), False
        except OSError:  # the client is gone, or never asks
            return b"", False
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            child.log(error, {})
            return _error(run, RunFailed("bad_request", f"This request cannot be served: {error}")), False

    def _whose_fault(self, error: RunFailed) -> RunFailed:
        """Memory is shared: who runs out of it need not be who has taken it. The run is put back, and has a child of
        its own then."""
        if error.fields["code"] != "out_of_memory":
            return error
        self._resident.short_of_memory = True
        return RunFailed("resident_ended", "The runs that shared a process needed more memory than it may have.")


_slot: contextvars.ContextVar[_Slot | None] = contextvars.ContextVar("slot", default=None)


def _error(run: _Run, error: RunFailed) -> bytes:
    return run.replies.encode({"kind": "error", **error.fields})


def _receive(control: socket.socket) -> tuple[dict, socket.socket | None]:
    text, descriptors, _flags, _address = socket.recv_fds(control, 4096, 1)
    if not text:
        os._exit(0)  # the server is gone
    if not descriptors:
        return json.loads(text), None
    # What it is, it would ask the kernel for, in three calls.
    return json.loads(text), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptors[0])


class _Use(NamedTuple):
    """What this process has had of the processor by a time."""

    at: float
    seconds: float
    preempted: int  # how often a thread had to leave it that would have gone on

    @classmethod
    def by_now(cls) -> "_Use":
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(time.monotonic(), used.ru_utime + used.ru_stime, used.ru_nivcsw)

    def was_idle_since(self, before: "_Use") -> bool:
        """Whether hardly anything was computed, and not for want of a processor."""
        passed = self.at - before.at
        # That late we are woken where somebody has the interpreter, or others the processors.
        in_time = passed < 2 * _PATIENCE and self.preempted == before.preempted
        return in_time and self.seconds - before.seconds < _COMPUTING * passed


def _wanted_seconds() -> float:
    """For how long our threads have had the processor, or waited for it."""
    total = 0
    for folder in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            ran, waited, _times = (folder / "schedstat").read_text().split()
            total += int(ran) + int(waited)
    return total / 1e9


def _private_bytes() -> int:
    _size, resident, shared, *_rest = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * resource.getpagesize()
