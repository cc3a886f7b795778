"""Ties processes together on Linux, so that none outlives the one that looks after it."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Have the kernel send us `signum` when `parent` dies, even if it is killed. To be called in the child."""
    _libc.prctl(PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signum)
