"""A client that costs little: prepared requests over kept connections, so that the server is what is measured."""

import socket
import statistics
import threading
import time


def request(method: str, path: str, *, host: str, key: str = "", body: bytes = b"") -> bytes:
    """The bytes of an HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Accept: application/json"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection:
    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, sent: bytes) -> tuple[int, bytes]:
        """Status and body of the answer, which must announce its length."""
        self._socket.sendall(sent)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        announced = head.lower().partition(b"content-length:")[2]
        length = int(announced.split(b"\r\n", 1)[0])
        pieces, size = [body], len(body)
        while size < length:
            pieces.append(self._more())
            size += len(pieces[-1])
        return int(head[9:12]), b"".join(pieces)

    def _more(self) -> bytes:
        piece = self._socket.recv(1 << 18)
        if not piece:
            raise ConnectionError("The server closed the connection.")
        return piece


def load(port: int, sent: bytes, *, clients: int, seconds: float) -> dict:
    """What `clients` get done in `seconds`: requests per second, the latencies' median and 99th percentile in ms."""
    waits, stop = [], time.perf_counter() + seconds

    def go():
        connection = Connection(port)
        while (start := time.perf_counter()) < stop:
            status, body = connection.ask(sent)
            waits.append(time.perf_counter() - start)
            assert status in (200, 201), (status, body)

    threads = [threading.Thread(target=go) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waits.sort()
    return {
        "per second": len(waits) / seconds,
        "p50 ms": statistics.median(waits) * 1000,
        "p99 ms": waits[int(len(waits) * 0.99) - 1] * 1000,
    }
