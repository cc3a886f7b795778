"""Who runs when, told by the runs themselves: each keeps a connection open to the witness for as long as it lives."""

import selectors
import socket
import threading
from collections import Counter
from dataclasses import dataclass


@dataclass
class _Line:
    """The connection of one run, and what it has said: its name, and at its end that it is done."""

    socket: socket.socket
    said: bytes = b""

    @property
    def name(self) -> str:
        """Empty until it is said."""
        name, end, _ = self.said.partition(b"\n")
        return name.decode() if end else ""


class Witness:
    """`with Witness() as witness:` listens on `witness.address`; see tests.components.Witnessed.

    One thread hears everybody, and of what has come those first who run already: a run that began after another's end
    is not taken for one beside it, however late the two are heard.
    """

    def __enter__(self) -> "Witness":
        self.running: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()  # those that came to their end by themselves
        self.twice_at_once: list[str] = []
        self.most_at_once = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._hear_all, daemon=True).start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)

    def _hear_all(self) -> None:
        with self.listener, selectors.DefaultSelector() as lines:
            lines.register(self.listener, selectors.EVENT_READ)
            while True:
                heard = [key.data for key, _events in lines.select()]
                for line in sorted(heard, key=_rank):
                    if line:
                        self._hear(line, lines)
                        continue
                    try:
                        new, _ = self.listener.accept()
                    except OSError:
                        return
                    lines.register(new, selectors.EVENT_READ, _Line(new))

    def _hear(self, line: _Line, lines: selectors.BaseSelector) -> None:
        known = line.name
        try:
            piece = line.socket.recv(4096)
        except OSError:
            piece = b""
        line.said += piece
        if line.name and not known:
            self._begin(line.name)
        if not piece:
            lines.unregister(line.socket)
            line.socket.close()
            if line.name:
                self.running[line.name] -= 1
                self.ended[line.name] += line.said.endswith(b"\ndone\n")

    def _begin(self, name: str) -> None:
        self.started[name] += 1
        self.running[name] += 1
        if self.running[name] > 1:
            self.twice_at_once.append(name)
        self.most_at_once = max(self.most_at_once, self.running.total())


def _rank(line: _Line | None) -> int:
    """Who runs is heard first, then who is about to, then who asks to be heard."""
    if line is None:
        return 2
    return 0 if line.name else 1
