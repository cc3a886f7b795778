"""What a child says to its client: one line of JSON at a time, with every secret blotted out."""

import json
import socket
import threading
from collections.abc import Iterable

BLOT = "[secret]"
_SHORTEST_SECRET = 6  # shorter ones would blot out half of any text


class Replies:
    """Sends messages on a connection, whole and in order, from whichever thread."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._lock = threading.Lock()
        self._held = b""
        self._secrets: list[str] = []

    def blot_out(self, secrets: Iterable[str]) -> None:
        """Never let one of these texts through, wherever it stands in a message."""
        texts = [text for text in secrets if len(text) >= _SHORTEST_SECRET]
        self._secrets = sorted((json.dumps(text, ensure_ascii=False)[1:-1] for text in texts), key=len, reverse=True)

    @property
    def is_sending(self) -> bool:
        return self._lock.locked()

    def send(self, kind: str, **fields) -> None:
        self.send_line(self.encode({"kind": kind, **fields}))

    def encode(self, message: dict) -> bytes:
        text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        for secret in self._secrets:
            text = text.replace(secret, BLOT)
        return text.encode("utf-8", "replace") + b"\n"

    def hold(self, kind: str, **fields) -> None:
        """Send it with what is sent next. Each call of the system lets another run's thread go first."""
        line = self.encode({"kind": kind, **fields})
        with self._lock:
            self._held += line

    def send_line(self, line: bytes) -> None:
        with self._lock:
            line, self._held = self._held + line, b""
            self._connection.sendall(line)
