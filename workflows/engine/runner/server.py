"""The runner's server, `python -m workflows.engine.runner.server --socket PATH`: a fork per request, Haystack warm.

One thread and one loop, which never waits for anybody: it doesn't even read the requests, the children do. Of those
that a resident may serve it reads the first line, `warm <key> <seconds>`.

It listens as soon as it can serve anything, and imports all the rest bit by bit between two turns of the loop. A run
waits for the whole: many runs wait together, and each would have to do it again.
"""

import argparse
import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from workflows.engine.runner.residents import GRACE, Residents

# Before Haystack is imported anywhere: it reads these once. (Its telemetry would post component names to the world.)
os.environ.update({"HAYSTACK_TELEMETRY_ENABLED": "false", "ANONYMIZED_TELEMETRY": "False", "TQDM_DISABLE": "1"})

_PR_SET_CHILD_SUBREAPER = 36
_LONGEST_PATH = 100  # bytes of a Unix socket's address, less some
_BACKLOG = 1024
_SECONDS_TO_SPEAK = 30.0
_WARM, _RUN, _LONGEST_GREETING = b"warm ", b'{"op":"run"', 128
_OUTPUT_HEAD, _OUTPUT_TAIL = 16 * 1024, 16 * 1024  # bytes of a child's output that reach the log


@dataclass
class Child:
    pid: int
    pidfd: int
    output: int  # the reading end of its standard output and error
    scratch: Path
    ended: Callable[[dict], None]  # to be told, at its end, the `code` that it ended with or the `signal`
    kill_at: float | None = None
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    dropped: int = 0

    def signal(self, number: int) -> None:
        """To its whole group: what it may have started goes with it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
            return
        with contextlib.suppress(ProcessLookupError):  # it hasn't made its group yet
            signal.pidfd_send_signal(self.pidfd, number)


class Server:
    def __init__(self, path: str, residents: int, preparation: Iterator[None]):
        self.path = path
        self.preparation = preparation
        self.is_prepared = False
        self.residents = Residents(self, residents)
        self.silent: dict[int, tuple[socket.socket, float]] = {}  # clients that have not begun to speak, and until when
        self.scratch = Path(f"{path}.scratch")
        self.started = time.monotonic()
        self.children: dict[int, Child] = {}
        self.handlers: dict = {}  # file descriptor: what to call with its events
        self.strays: set[int] = set()  # processes of ours to be reaped: cleaners, and what children left behind
        self.stopping = False
        self.epoll = select.epoll()

    # --- the loop

    def serve(self) -> None:
        """Answer until SIGTERM or SIGINT, then end every child and leave."""
        self._empty_scratch()
        self.listener = listen(self.path)
        self.inode = os.stat(self.path).st_ino
        self.wakes, wake = socket.socketpair()
        self.wakes.setblocking(False)
        wake.setblocking(False)
        self.wake = wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.watch(self.listener.fileno(), select.EPOLLIN, self._accept)
        self.watch(self.wakes.fileno(), select.EPOLLIN, lambda events: self.wakes.recv(4096))
        log(f"ready on {self.path} as process {os.getpid()}")
        try:
            while not self.stopping:
                self._turn()
        finally:
            self._leave()

    def _turn(self) -> None:
        said = [(fd, self.handlers.get(fd), events) for fd, events in self.epoll.poll(self._patience())]
        for fd, handler, events in said:
            # An earlier one of this turn may have closed it, and its number may be another's by now.
            if handler and self.handlers.get(fd) is handler:
                handler(events)
        now = time.monotonic()
        for child in list(self.children.values()):
            if child.kill_at and now >= child.kill_at:
                child.kill_at = None
                child.signal(signal.SIGKILL)
        self.residents.tick(now)
        for connection, until in list(self.silent.values()):
            if now >= until:
                self._forget(connection)
        self._reap_strays()
        if not self.is_prepared:
            self._prepare()

    def _prepare(self, *, wholly: bool = False) -> None:
        for _ in self.preparation:
            if not wholly or self.stopping:
                return
        self.is_prepared = True

    def _patience(self) -> float:
        if not self.is_prepared:
            return 0.0
        times = [child.kill_at for child in self.children.values() if child.kill_at]
        times += [self.residents.due, *(until for _, until in self.silent.values())]
        longest = 0.2 if self.strays else 60.0
        return max(0.0, min([at - time.monotonic() for at in times] + [longest]))

    def watch(self, fd: int, events: int, handler) -> None:
        self.handlers[fd] = handler
        self.epoll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        if self.handlers.pop(fd, None):
            self.epoll.unregister(fd)

    def _stop(self, *_) -> None:
        self.stopping = True

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            if os.stat(self.path).st_ino == self.inode:
                os.unlink(self.path)
        self.listener.close()
        for child in self.children.values():
            child.signal(signal.SIGKILL)
        for child in list(self.children.values()):
            self._bury(child)
        shutil.rmtree(self.scratch, ignore_errors=True)

    # --- a child's life

    def _accept(self, _events: int) -> None:
        try:
            connection, _ = self.listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no file descriptors left: those who wait are served when a child has ended
            log(f"cannot accept: {error}")
            self.unwatch(self.listener.fileno())
            return
        self.silent[connection.fileno()] = connection, time.monotonic() + _SECONDS_TO_SPEAK
        self.watch(connection.fileno(), select.EPOLLIN, lambda events: self._hear(connection))

    def _hear(self, connection: socket.socket) -> None:
        """A client begins to speak: a resident serves it, or a child of its own."""
        head = b""
        with contextlib.suppress(OSError):
            head = connection.recv(_LONGEST_GREETING, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        greeting, end, _ = head.partition(b"\n")
        is_warm = bool(head) and (greeting + end).startswith(_WARM[: len(head)])
        if is_warm and not end and len(head) < _LONGEST_GREETING:
            return  # the rest of the line is on its way
        self.silent.pop(connection.fileno())
        self.unwatch(connection.fileno())
        if is_warm or head.startswith(_RUN):
            self._prepare(wholly=True)
        connection.setblocking(True)
        try:
            if not is_warm or not self._take_warm(connection, greeting):
                self._start_child(connection)
        except OSError as error:
            log(f"cannot start a child: {error}")
            connection.close()

    def _take_warm(self, connection: socket.socket, greeting: bytes) -> bool:
        try:
            _, key, seconds = greeting.decode().split(" ")
            seconds = float(seconds)
        except ValueError:
            return False  # a child finds that it makes no sense
        connection.recv(len(greeting) + 1)  # a child does not know of it
        return self.residents.take(connection, key, seconds)

    def _forget(self, connection: socket.socket) -> None:
        del self.silent[connection.fileno()]
        self.unwatch(connection.fileno())
        connection.close()

    def _start_child(self, connection: socket.socket) -> None:
        child = self.fork(connection, ended=lambda end: self.say_farewell(connection, end))
        self.watch(connection.fileno(), select.EPOLLRDHUP, lambda events: self._client_moved(child, connection, events))

    def fork(self, connection: socket.socket, *, ended: Callable[[dict], None], resident: bool = False) -> Child:
        """A child that serves the request on this connection; as a resident, those that are handed to it there."""
        output, child_output = os.pipe()
        number = f"{time.monotonic_ns():x}"
        scratch = self.scratch / number
        scratch.mkdir(mode=0o700)
        status = {
            "pid": os.getpid(),
            "children": len(self.children),
            "residents": len(self.residents),
            "uptime_seconds": round(time.monotonic() - self.started, 3),
        }
        # The child must not see a signal before it has thrown away our handlers: they would write to our own pipe.
        held = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, held)
        try:
            pid = os.fork()
            if pid == 0:
                _become_child(connection, child_output, scratch, status, resident)
        except OSError:
            os.close(output)
            scratch.rmdir()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
            os.close(child_output)
        os.set_blocking(output, False)
        child = Child(pid, os.pidfd_open(pid), output, scratch, ended)
        self.children[pid] = child
        self.watch(child.pidfd, select.EPOLLIN, lambda events: self._bury(child))
        self.watch(output, select.EPOLLIN, lambda events: self._drain(child))
        return child

    def _client_moved(self, child: Child, connection: socket.socket, events: int) -> None:
        """The client asks for the end, or is gone."""
        if events & (select.EPOLLHUP | select.EPOLLERR):
            self.unwatch(connection.fileno())
            child.signal(signal.SIGKILL)
        elif events & select.EPOLLRDHUP:
            self.epoll.modify(connection.fileno(), 0)  # a full close is still told
            child.kill_at = time.monotonic() + GRACE
            child.signal(signal.SIGTERM)

    def _drain(self, child: Child) -> bool:
        """Take what the child has printed, so that it never waits for us; keep its beginning and its end."""
        try:
            data = os.read(child.output, 65536)
        except BlockingIOError:
            return False
        if not data:
            self.unwatch(child.output)
            return False
        room = _OUTPUT_HEAD - len(child.head)
        if room > 0:
            child.head += data[:room]
            data = data[room:]
        child.tail += data
        surplus = len(child.tail) - _OUTPUT_TAIL
        if surplus > 0:
            del child.tail[:surplus]
            child.dropped += surplus
        return True

    def _bury(self, child: Child) -> None:
        """A child has ended, or is about to: end its group, tell its client how it ended, tidy up."""
        child.signal(signal.SIGKILL)  # while it is unreaped nobody else can have its number
        _, status = os.waitpid(child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.log_output(child)
        for fd in (child.pidfd, child.output):
            self.unwatch(fd)
            os.close(fd)
        del self.children[child.pid]
        self._end_strays()
        child.ended({"code": code if code >= 0 else None, "signal": -code if code < 0 else None})
        self._remove(child.scratch)
        if self.listener.fileno() >= 0 and self.listener.fileno() not in self.handlers:
            self.watch(self.listener.fileno(), select.EPOLLIN, self._accept)

    def say_farewell(self, connection: socket.socket, end: dict) -> None:
        """Tell the client how its request's child ended, and close, when it has taken that."""
        self.unwatch(connection.fileno())
        # A newline first: the child may have died in the middle of a line.
        self._send_last(connection, b"\n" + json.dumps({"kind": "exit", **end}).encode() + b"\n")

    def _send_last(self, connection: socket.socket, line: bytes) -> None:
        try:
            sent = connection.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:  # the client is gone
            sent = len(line)
        fd = connection.fileno()
        if sent == len(line) or self.stopping:
            self.unwatch(fd)
            connection.close()
        elif fd in self.handlers:
            self.handlers[fd] = lambda events: self._send_last(connection, line[sent:])
        else:
            self.watch(fd, select.EPOLLOUT, lambda events: self._send_last(connection, line[sent:]))

    def log_output(self, child: Child) -> None:
        """Write what a child has printed since the last time to our log."""
        for _ in range(16):
            if not self._drain(child):
                break
        if not child.head:
            return
        text = bytes(child.head)
        if child.dropped:
            text += f"\n… {child.dropped} bytes left out …\n".encode()
        text += bytes(child.tail)
        for line in text.decode("utf-8", "replace").splitlines():
            log(f"child {child.pid}: {line}")
        child.head, child.tail, child.dropped = bytearray(), bytearray(), 0

    # --- what children leave behind

    def _end_strays(self) -> None:
        """Processes whose parent, a child of ours, is gone become ours (we are their subreaper): end them."""
        with contextlib.suppress(OSError):
            found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            for pid in set(map(int, found)) - self.children.keys() - self.strays:
                log(f"ending process {pid}, which a child left behind")
                self.strays.add(pid)
                os.kill(pid, signal.SIGKILL)

    def _reap_strays(self) -> None:
        for pid in list(self.strays):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue  # it is still ending
            self.strays.discard(pid)
            self._end_strays()  # it may have left children of its own, which are ours since it died

    def _remove(self, scratch: Path) -> None:
        try:
            scratch.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # not empty. A large tree takes its time, so that isn't done in the loop
            pid = os.fork()
            if pid == 0:
                shutil.rmtree(scratch, ignore_errors=True)
                os._exit(0)
            self.strays.add(pid)

    def _empty_scratch(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(mode=0o700, parents=True)


def listen(path: str) -> socket.socket:
    """A listening socket at `path`, for its owner only, in place of whatever was there."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = f"{path}.{os.getpid()}"
    mask = os.umask(0o177)
    try:
        with _short(temporary) as address:
            listener.bind(address)
    finally:
        os.umask(mask)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    os.rename(temporary, path)  # only now can a client find it, and it answers at once
    return listener


@contextlib.contextmanager
def _short(path: str):
    """An address for `path` that fits into a Unix socket's 107 bytes."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def log(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"runner: {text}\n".encode("utf-8", "replace"))


def _become_child(connection: socket.socket, output: int, scratch: Path, status: dict, is_resident: bool) -> None:
    """The child's side of the fork. Never returns."""
    code = 1
    try:
        os.setsid()
        from workflows.engine.runner import child, resident, sandbox

        sandbox.die_with_parent(status["pid"])
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _own_standard_streams(output)
        keep = 3
        if connection.fileno() != keep:
            os.dup2(connection.fileno(), keep, inheritable=False)
        os.closerange(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        serve = resident.serve if is_resident else child.answer
        code = serve(socket.socket(fileno=keep), scratch, status)
    except MemoryError:
        code = 77
    except BaseException as error:
        with contextlib.suppress(BaseException):
            log(f"child: {type(error).__name__}: {error}")
    finally:
        os._exit(code)


def _own_standard_streams(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _preparation(components: list[str]) -> Iterator[None]:
    """Import every component, so that no child has to, and run once what all of them need."""
    from workflows.engine.runner import catalog

    for _ in catalog.import_all():
        yield
    for name in components:
        try:
            importlib.import_module(name.rpartition(".")[0])
        except Exception as error:
            log(f"cannot import {name}: {error}")
        yield
    from workflows.engine.runner import rehearsal

    rehearsal.rehearse()
    if threading.active_count() > 1:
        log("threads are running beside the loop: " + ", ".join(thread.name for thread in threading.enumerate()))
    gc.collect()
    gc.freeze()  # what is here now is never collected, so that children don't copy its pages by looking at it


def main() -> None:
    parser = argparse.ArgumentParser(prog="workflows.engine.runner.server")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--keeper", type=int, help="the process that keeps the runner, and with which it ends")
    parser.add_argument("--residents", type=int, default=0, help="how many children may stay to serve warm runs")
    parser.add_argument("--component", action="append", default=[], help="a further component class, to be imported")
    arguments = parser.parse_args()

    from workflows.engine.runner import sandbox

    if arguments.keeper:
        sandbox.die_with_parent(arguments.keeper)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    importlib.import_module("workflows.engine.runner.resident")  # and with it all that any child needs
    sys.stdout.flush()
    Server(os.path.abspath(arguments.socket), arguments.residents, _preparation(arguments.component)).serve()


if __name__ == "__main__":
    main()
