"""What a child may do: its limits, its environment, its files and its hosts. Put on before anything is loaded."""

import ctypes
import math
import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from workflows.engine.runner import landlock
from workflows.engine.runner.egress import EgressRefused, Guard

__all__ = ["EgressRefused", "Limits", "die_with_parent", "enter", "ring_after"]

_PR_SET_PDEATHSIG = 1
_FILE_BYTES = 512 * 1024 * 1024
_OPEN_FILES = 256
_OPEN_FILES_MORE = 8  # for each further run of the same process
STACK_BYTES = 2 * 1024 * 1024  # of such a run's thread: it is address space, of which little is ever used
_CPU_GRACE = 2  # the clock on the wall rings first, unless several threads compute at once

# Kept from the runner's own environment, which its keeper has already emptied of all that matters.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONHASHSEED")
_KEPT_PREFIXES = ("HAYSTACK_", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_", "ANONYMIZED_", "HF_HUB_OFFLINE")

_READABLE = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin",
    "/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf",
    "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/localtime", "/etc/timezone",
    "/etc/ld.so.cache", "/etc/os-release", "/etc/mime.types", "/etc/alternatives",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu",
    "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    seconds: float | None = 60.0
    memory_mb: int = 1024  # beyond what the runner itself takes up
    hosts: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    documents_dir: Path | None = None
    runs: int = 1  # that share this process; where they are several, somebody else looks after their time


def die_with_parent(parent: int, with_signal: int = signal.SIGKILL) -> None:
    """Have the kernel end this process when its parent ends; end it now if that has already happened."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def ring_after(seconds: float | None) -> None:
    """End this process after so long, or not at all. SIGALRM's default is death: no busy C code can put it off."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0 if seconds is None else max(0.001, seconds))


def enter(limits: Limits, scratch: Path) -> Guard:
    """Put all limits on this process, for good. The guard that comes back knows of refused calls."""
    ring_after(limits.seconds)
    _limit_resources(limits)
    _empty_environment(limits, scratch)
    os.umask(0o077)
    os.chdir(scratch)
    guard = Guard(limits.hosts)
    landlock.forbid_new_privileges()
    writable = [scratch, "/dev/null"]
    if limits.documents_dir:
        os.makedirs(limits.documents_dir, mode=0o700, exist_ok=True)
        writable.append(limits.documents_dir)
    landlock.restrict([*_READABLE, *python_paths()], writable, guard.ports)
    guard.install()
    return guard


def _limit_resources(limits: Limits) -> None:
    memory = _virtual_bytes() + limits.memory_mb * 1024 * 1024
    cpu = resource.RLIM_INFINITY if limits.seconds is None else int(limits.seconds) + 1 + _CPU_GRACE
    open_files = _OPEN_FILES + (limits.runs - 1) * _OPEN_FILES_MORE
    for what, limit, most in (
        (resource.RLIMIT_AS, memory, memory + limits.runs * STACK_BYTES if limits.runs > 1 else memory),
        (resource.RLIMIT_CPU, cpu, cpu),
        (resource.RLIMIT_FSIZE, _FILE_BYTES, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, open_files, open_files),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (_least(limit, hard), _least(most, hard)))


def _least(limit: int, hard: int) -> int:
    return min((limit, hard), key=lambda each: math.inf if each == resource.RLIM_INFINITY else each)


def room_for_stacks(threads: int) -> None:
    """Let this process have so much more, or less, address space as the stacks of its threads take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (soft + threads * STACK_BYTES, hard))


def _virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _empty_environment(limits: Limits, scratch: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update({"HOME": str(scratch), "TMPDIR": str(scratch), "XDG_CACHE_HOME": str(scratch)})
    os.environ.update(limits.secrets)
    if limits.documents_dir:
        os.environ["AIWORKFLOW_DOCUMENTS_DIR"] = str(limits.documents_dir)


@cache
def python_paths() -> tuple[Path, ...]:
    """The interpreter, the installed packages and the packages of the project; not what else lies beside those."""
    installed = [Path(path) for path in {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}]
    found = [path for path in installed if path != Path("/")]
    for entry in map(Path, filter(None, sys.path)):
        if any(entry.is_relative_to(path) for path in installed) or not entry.is_dir():
            continue
        # The project's root may hold the data folder and files with secrets, so only its packages are named.
        found += (child for child in entry.iterdir() if child.suffix == ".py" or (child / "__init__.py").is_file())
    return tuple(found)
