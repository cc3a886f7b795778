"""Components that misbehave in every way that the runner must withstand. Only the runner of a test loads them."""

import ctypes
import datetime
import enum
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy
from haystack import Document, component
from haystack.core.component.types import Variadic
from haystack.dataclasses import ByteStream, ChatMessage, StreamingChunk

_libc = ctypes.CDLL(None, use_errno=True)


@component
class Sleeper:
    @component.output_types(slept=float)
    def run(self, seconds: float):
        time.sleep(seconds)
        return {"slept": seconds}


@component
class IgnoresSignals:
    """Sleeps, and neither TERM nor INT wakes it."""

    @component.output_types(slept=float)
    def run(self, seconds: float):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(seconds)
        return {"slept": seconds}


@component
class Stubborn:
    """Says when it begins, and from then on sleeps whatever is raised in it."""

    @component.output_types(slept=float)
    def run(self, seconds: float, streaming_callback: Any | None = None):
        try:
            streaming_callback(StreamingChunk(content="now"))
            time.sleep(seconds)
        except BaseException:
            time.sleep(seconds)
        return {"slept": seconds}


@component
class Scribbler:
    """Writes to the first connection of its process as if it were the runner's own code."""

    @component.output_types(never=str)
    def run(self, text: str):
        with socket.socket(fileno=os.dup(3)) as first:
            first.send(text.encode())
        time.sleep(60)
        return {"never": ""}


@component
class BusyInC:
    """One call in C that takes minutes and never lets go of the interpreter's lock."""

    @component.output_types(bits=int)
    def run(self, exponent: int):
        return {"bits": (3**exponent).bit_length()}


@component
class BusyThreads:
    """Burns processor time in a loop that no exception ends."""

    @component.output_types(never=str)
    def run(self, seconds: float):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                sum(range(1000))
            except BaseException:  # noqa: S112 - it is meant to be stubborn
                continue
        return {"never": ""}


@component
class MemoryHog:
    @component.output_types(size=int)
    def run(self, megabytes: int):
        return {"size": len(bytearray(megabytes * 1024 * 1024))}


class _Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")

    __repr__ = __str__


class _Refused(Exception):
    def __init__(self, status_code: int):
        super().__init__(f"the provider answered {status_code}")
        self.status_code = status_code


@component
class Raiser:
    """Ends in the way it is told to."""

    @component.output_types(never=str)
    def run(self, how: str):
        if how == "value":
            raise ValueError("这里出错了")
        if how == "unprintable":
            raise _Unprintable
        if how == "group":
            raise ExceptionGroup("two at once", [ValueError("first"), KeyError("second")])
        if how == "exit":
            sys.exit(3)
        if how == "os._exit":
            os._exit(0)
        if how == "77":
            os._exit(77)
        if how == "alarm":
            os.kill(os.getpid(), signal.SIGALRM)
        if how == "segfault":
            ctypes.string_at(0)
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "timeout":
            raise TimeoutError("the model took too long")
        if how == "path":
            open("/nowhere/at/all")  # noqa: SIM115
        if how == "scratch":
            raise RuntimeError(f"failed in {os.getcwd()} and {sys.prefix}")
        if how.isdigit():
            raise _Refused(int(how))
        return {"never": how}


@component
class NotADict:
    @component.output_types(value=str)
    def run(self, text: str):
        return text


@component
class FailsToWarmUp:
    def warm_up(self):
        raise RuntimeError("no model here")

    @component.output_types(text=str)
    def run(self, text: str):
        return {"text": text}


class Colour(enum.Enum):
    RED = "红"


class Strange:
    """No JSON can say what this is."""


@component
class Giver:
    """Gives a value of the kind it is told to."""

    @component.output_types(value=Any)
    def run(self, kind: str):
        cycle: list = []
        cycle.append(cycle)
        deep: Any = 1
        for _ in range(5000):
            deep = [deep]
        document = Document(id="d1", content="北京天气", meta={"page": 1}, score=0.5, embedding=[0.1, 0.2])
        return {
            "value": {
                "document": document,
                "documents": [document],
                "message": ChatMessage.from_assistant("你好"),
                "bytes": ByteStream(b"\x00\xff", mime_type="image/png", meta={"name": "图"}),
                "numpy": {"array": numpy.array([[1.5, 2.0]]), "number": numpy.float32(0.5), "whole": numpy.int64(7)},
                "times": datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC),
                "enum": Colour.RED,
                "set": {"b", "a"},
                "nan": [float("nan"), float("inf")],
                "big": 2**70,
                "surrogate": "a\ud800b",
                "strange": {"list": [1, Strange()]},
                "cycle": cycle,
                "deep": deep,
                "key": {(1, 2): 3},
            }[kind]
        }


@component
class Huge:
    @component.output_types(text=str)
    def run(self, megabytes: int):
        return {"text": "字" * (megabytes * 1024 * 1024 // 3)}


@component
class Flooder:
    """Prints more than any pipe holds, to both streams, and leaves a last word."""

    @component.output_types(printed=int)
    def run(self, megabytes: int):
        line = "x" * 1023 + "\n"
        for _ in range(megabytes * 512):
            sys.stdout.write(line)
            sys.stderr.write(line)
        return {"printed": megabytes}


@component
class Forker:
    """Leaves a process behind, past every check that Python makes, and says its number."""

    @component.output_types(pid=int)
    def run(self, leave_the_group: bool, then_sleep: float = 0.0):
        pid = _libc.fork()
        if pid == 0:
            if leave_the_group:
                _libc.setsid()
                if _libc.fork():
                    _libc._exit(0)
            _libc.sleep(300)
            _libc._exit(0)
        time.sleep(then_sleep)
        return {"pid": pid}


@component
class StartsProcesses:
    @component.output_types(refused=dict[str, str])
    def run(self, marker: str):
        refused = {}
        for name, start in {
            "subprocess": lambda: subprocess.run(["/usr/bin/touch", marker], check=True),
            "system": lambda: os.system(f"touch {marker}"),  # noqa: S605
            "posix_spawn": lambda: os.posix_spawn("/usr/bin/touch", ["touch", marker], {}),
            "exec": lambda: os.execv("/usr/bin/touch", ["touch", marker]),  # noqa: S606
            "fork": lambda: os.fork(),
            "kill": lambda: os.kill(os.getppid(), 0),
            "exec in C": lambda: _check(_libc.execl(b"/usr/bin/touch", b"touch", marker.encode(), None)),
            "kill in C": lambda: _check(_libc.kill(os.getppid(), 0)),
        }.items():
            try:
                start()
            except OSError as error:
                refused[name] = type(error).__name__
        return {"refused": refused}


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@component
class Caller:
    """Calls an address by the means it is told to."""

    @component.output_types(answer=str)
    def run(self, host: str, port: int, by: str = "httpx"):
        if by == "httpx":
            return {"answer": httpx.get(f"http://{host}:{port}/", timeout=5).text}
        if by == "stubborn":  # as client libraries do: any Exception is swallowed and tried again
            for _ in range(3):
                try:
                    socket.create_connection((host, port), timeout=2).close()
                except Exception:
                    time.sleep(0.01)
            return {"answer": "gave up"}
        if by == "connect":
            with socket.socket() as sock:
                sock.connect((host, port))
            return {"answer": "connected"}
        if by == "udp":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"hello", (host, port))
            return {"answer": "sent"}
        if by == "unix":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(host)
            return {"answer": "connected"}
        if by == "C":
            with socket.socket() as sock:
                address = _libc.connect(sock.fileno(), _sockaddr(host, port), 16)
                return {"answer": "connected" if address == 0 else os.strerror(ctypes.get_errno())}
        if by == "thread":
            found = []
            thread = threading.Thread(target=lambda: found.append(self.run(host, port, "connect")))
            thread.start()
            thread.join()
            return {"answer": str(found)}
        if by == "listen":
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))
            return {"answer": "listens"}
        raise ValueError(by)


def _sockaddr(host: str, port: int) -> bytes:
    return socket.AF_INET.to_bytes(2, sys.byteorder) + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)


@component
class Looker:
    """Looks around: its environment, which files it can read, where it can write."""

    @component.output_types(environment=dict[str, str], read=dict[str, str], written=dict[str, str], home=str, cwd=str)
    def run(self, read: list[str], write: list[str]):
        return {
            "environment": dict(os.environ),
            "read": {path: _try(lambda path=path: Path(path).read_bytes()) for path in read},
            "written": {path: _try(lambda path=path: Path(path).write_text("was here")) for path in write},
            "home": os.path.expanduser("~"),
            "cwd": os.getcwd(),
        }


def _try(act) -> str:
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "done"


@component
class FirstEnvironment:
    """Reads the environment that its process was started with, which no later change can hide."""

    @component.output_types(text=str)
    def run(self, needle: str):
        return {"text": "found" if needle.encode() in Path("/proc/self/environ").read_bytes() else "not found"}


@component
class SaysSecret:
    """Lets a secret out by every way that a component has: its result, its steps, its error."""

    @component.output_types(value=str)
    def run(self, name: str, fail: bool = False):
        if fail:
            raise ValueError(f"wrong key {os.environ[name]}")
        return {"value": f"key {os.environ[name]}"}


@component
class Streamer:
    @component.output_types(replies=list[str])
    def run(self, text: str, streaming_callback: Any | None = None):
        for letter in text:
            if streaming_callback:
                streaming_callback(StreamingChunk(content=letter))
        return {"replies": [text]}


@component
class Typed:
    """Says what its inputs have become in Python."""

    @component.output_types(kinds=dict[str, str])
    def run(
        self,
        documents: list[Document] | None = None,
        messages: list[ChatMessage] | None = None,
        stream: ByteStream | None = None,
        number: float | None = None,
        choice: Literal["a", "b"] = "a",
        anything: Any = None,
    ):
        return {
            "kinds": {
                "documents": ",".join(f"{type(each).__name__}:{each.content}" for each in documents or []),
                "messages": ",".join(f"{each.role.value}:{each.text}" for each in messages or []),
                "stream": f"{type(stream).__name__}:{stream.data!r}" if stream else "",
                "number": repr(number),
                "choice": choice,
                "anything": repr(anything),
            }
        }


@component
class Branch:
    """Goes on by one of two ways."""

    @component.output_types(left=str, right=str)
    def run(self, text: str, side: str = "left"):
        return {side: text} if side in ("left", "right") else {}


@component
class Echo:
    @component.output_types(text=str)
    def run(self, text: str):
        return {"text": text}


@component
class Pair:
    @component.output_types(text=str)
    def run(self, first: str, second: str):
        return {"text": first + second}


@component
class Gather:
    @component.output_types(texts=list[str])
    def run(self, texts: Variadic[str]):
        return {"texts": list(texts)}


@component
class Again:
    """Goes round until it has been visited often enough."""

    def __init__(self, times: int):
        self.times = times
        self.count = 0

    @component.output_types(again=str, done=str)
    def run(self, text: str):
        self.count += 1
        return {"done": text} if self.count >= self.times else {"again": text}


@component
class BadInit:
    def __init__(self, size: int):
        if size > 3:
            raise ValueError("size must be at most 3")
        self.size = size

    @component.output_types(text=str)
    def run(self, text: str):
        return {"text": text}


@component
class HeavyInit:
    def __init__(self, megabytes: int):
        self.data = bytearray(megabytes * 1024 * 1024)

    @component.output_types(text=str)
    def run(self, text: str):
        return {"text": text}


@component
class Numbers:
    @component.output_types(number=int)
    def run(self, number: int):
        return {"number": number}


@component
class NotOnTheList:
    """Never among the components that a test allows."""

    @component.output_types(text=str)
    def run(self, text: str):
        return {"text": text}


@component
class Counter:
    """Counts the runs that it has served, and says in which process and thread."""

    def __init__(self, label: str = ""):
        self.label = label
        self.count = 0

    @component.output_types(count=int, process=int, thread=int)
    def run(self, seconds: float = 0.0, computing: float = 0.0, times: int = 1):
        self.count += 1
        for _ in range(times):
            time.sleep(seconds)
            end = time.thread_time() + computing
            while time.thread_time() < end:
                sum(range(1000))
        return {"count": self.count, "process": os.getpid(), "thread": threading.get_ident()}


@component
class Waits:
    """Waits for an answer that never comes, as for a model's."""

    @component.output_types(never=str)
    def run(self, port: int):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            return {"never": str(sock.recv(1))}


@component
class Busy:
    """Computes in Python until it is interrupted, and never calls anybody."""

    @component.output_types(never=str)
    def run(self, seconds: float):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(1000))
        return {"never": ""}


@component
class Keeper:
    """Keeps memory from one run to the next."""

    def __init__(self):
        self.kept = []

    @component.output_types(kept=int, process=int)
    def run(self, megabytes: int):
        self.kept.append(b"x" * (megabytes * 1024 * 1024))
        return {"kept": len(self.kept), "process": os.getpid()}
