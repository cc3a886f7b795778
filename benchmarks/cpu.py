"""What processes take of the processor."""

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


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


def of_tree(pid: int) -> float:
    """Seconds of the processor that a process and all that came from it have used, those that are gone too."""
    return _sum(_processes(), {pid})


def of_servers(name: str) -> float:
    """The same of all processes of a name, as the kernel tells it: a database server, say, with its sessions."""
    processes = _processes()
    return _sum(processes, {pid for pid, (own, _parent, _seconds) in processes.items() if own == name})


def _sum(processes: dict, roots: set[int]) -> float:
    children = {}
    for pid, (_name, parent, _seconds) in processes.items():
        children.setdefault(parent, []).append(pid)
    seen, left = set(), list(roots)
    while left:
        one = left.pop()
        if one not in seen:
            seen.add(one)
            left += children.get(one, ())
    return sum(processes[pid][2] for pid in seen if pid in processes)
