"""What processes take of the processor."""

import os
from collections import Counter
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def tree(*roots: int) -> list[int]:
    """Processes and all that came from them."""
    children = {}
    for pid, (_name, parent, _seconds) in _processes().items():
        children.setdefault(parent, []).append(pid)
    found = []
    for pid in (left := list(roots)):
        if pid not in found:
            found.append(pid)
            left += children.get(pid, ())
    return found


def of_tree(*roots: int) -> float:
    """Seconds of the processor that processes and all that came from them have used, those that are gone too."""
    return by_part(*roots).total()


def of_servers(name: str) -> float:
    """The same of all processes of a name, as the kernel tells it: a database server, say, with its sessions."""
    return of_tree(*(pid for pid, (own, _parent, _seconds) in _processes().items() if own == name))


def by_part(*roots: int, parts: dict[str, str] | None = None) -> Counter:
    """The same, apart for each part: that is known by a word of its command line, and the rest is `else`."""
    spent, processes = Counter(), _processes()
    for pid in tree(*roots):
        if pid in processes:
            spent[_part(pid, parts or {})] += processes[pid][2]
    return spent


def _part(pid: int, parts: dict[str, str]) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:  # it ended meanwhile
        command = []
    return next((part for part, word in parts.items() if word in command), "else")


def _processes() -> dict[int, tuple[str, int, float]]:
    """By number: name, parent, and seconds of the processor with those of children that were waited for."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        fields = tail.split()
        found[int(stat.parent.name)] = head.partition("(")[2], int(fields[1]), sum(map(int, fields[11:15])) / TICK
    return found
