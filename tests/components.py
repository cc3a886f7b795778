"""Components that misbehave, for tests of limits and faults. Only the runner of a test imports this."""

import time

from haystack import component


@component
class Sleeper:
    """Sleeps, and leaves a line in a file for each run that started and ended, where a file is named."""

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
        raise ValueError(message)
