"""Components that misbehave, for tests of limits and faults. Only the runner of a test imports this."""

import os
import signal
import socket
import tempfile
import time

from haystack import component


@component
class Sleeper:
    @component.output_types(slept=float)
    def run(self, seconds: float):
        time.sleep(seconds)
        return {"slept": seconds}


@component
class BusyLoop:
    @component.output_types(turns=int)
    def run(self, seconds: float):
        end, turns = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            try:
                turns += 1
            except BaseException:  # noqa: S112 - it is meant to be stubborn
                continue
        return {"turns": turns}


@component
class HoldsTheGIL:
    """One call in C that takes minutes and never lets go of the interpreter's lock."""

    @component.output_types(digits=int)
    def run(self, exponent: int):
        return {"digits": (3**exponent).bit_length()}


@component
class MemoryHog:
    @component.output_types(size=int)
    def run(self, megabytes: int):
        return {"size": len(bytearray(megabytes * 1024 * 1024))}


@component
class Raiser:
    @component.output_types(never=str)
    def run(self, message: str):
        raise ValueError(message.replace("<nul>", "\0"))


@component
class Witnessed:
    """Sleeps, and keeps a connection to a witness open while it does: see tests/faults/witness.py."""

    def __init__(self, address: str):
        self.address = address

    @component.output_types(slept=float)
    def run(self, name: str, seconds: float):
        host, _, port = self.address.rpartition(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(f"{name}\n".encode())
            time.sleep(seconds)
            line.sendall(b"done\n")
        return {"slept": seconds}


@component
class Deaf:
    """Sleeps on, whatever signal or exception it gets."""

    @component.output_types(slept=float)
    def run(self, seconds: float):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                time.sleep(end - time.monotonic())
            except BaseException:  # noqa: S112 - it is meant to be stubborn
                continue
        return {"slept": seconds}


@component
class DiskFiller:
    """Writes until the disk, or its share of it, is full."""

    @component.output_types(size=int)
    def run(self, megabytes: int):
        with tempfile.TemporaryFile() as file:
            for _ in range(megabytes):
                file.write(b"x" * 1024 * 1024)
            return {"size": file.tell()}


class Unspeakable:
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


@component
class Answers:
    """Answers something that is no decent result."""

    @component.output_types(it=object)
    def run(self, what: str):
        match what:
            case "huge":
                return {"it": "字" * 30_000_000}
            case "an object":
                return {"it": object()}
            case "unspeakable":
                return {"it": Unspeakable()}
            case "a cycle":
                cycle: list = []
                cycle.append(cycle)
                return {"it": cycle}
            case "nul":
                return {"it": "甲\x00乙 \ud83d"}


@component
class RaisesUnspeakable:
    @component.output_types(never=str)
    def run(self):
        class Wordless(Exception):
            def __str__(self):
                raise RuntimeError("no words")

        raise Wordless


@component
class Dies:
    """Ends its own process, as a crash in C does."""

    @component.output_types(never=str)
    def run(self, signum: int):
        os.kill(os.getpid(), signum)
        return {"never": "signal 0 only asks whether it is there"}
