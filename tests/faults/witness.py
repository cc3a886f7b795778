"""Who runs when, told by the runs themselves: each keeps a connection open to the witness for as long as it lives."""

import socket
import threading
from collections import Counter


class Witness:
    """`with Witness() as witness:` listens on `witness.address`; see tests.components.Witnessed."""

    def __enter__(self) -> "Witness":
        self.lock = threading.Lock()
        self.running: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()  # those that came to their end by themselves
        self.twice_at_once: list[str] = []
        self.most_at_once = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._listen, args=(line,), daemon=True).start()

    def _listen(self, line: socket.socket) -> None:
        with line, line.makefile("r", encoding="utf-8") as words:
            name = words.readline().strip()
            with self.lock:
                self.started[name] += 1
                self.running[name] += 1
                if self.running[name] > 1:
                    self.twice_at_once.append(name)
                self.most_at_once = max(self.most_at_once, self.running.total())
            try:
                said = words.readline()
            except OSError:
                said = ""
            with self.lock:
                self.running[name] -= 1
                self.ended[name] += said == "done\n"
