"""A wire that can be cut: forwards TCP to a server, and on demand refuses, cuts or swallows what passes."""

import contextlib
import socket
import threading


class Wire:
    """`with Wire(host, port) as wire:` listens on `wire.port`. Open at first.

    `cut()` ends what is open and refuses what is new, as a server that is down does; `swallow()` keeps what is open but
    lets nothing through, as a broken network does; `mend()` lets all pass again (what was open is ended).
    """

    def __init__(self, host: str, port: int):
        self.target = host, port
        self.lock = threading.Lock()
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.open = threading.Event()  # whether bytes go through
        self.open.set()

    def __enter__(self) -> "Wire":
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._serve()
        return self

    def __exit__(self, *exc_info) -> None:
        self.cut()

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # else the thread that accepts would keep it open
        self.listener.close()
        self._end_all()

    def swallow(self) -> None:
        self.open.clear()

    def mend(self) -> None:
        self._end_all()
        self.open.set()
        if self.listener.fileno() < 0:
            self.listener = socket.create_server(("127.0.0.1", self.port))
            self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = client, server
            with self.lock:
                self.pairs.append(pair)
            for source, sink in (pair, pair[::-1]):
                threading.Thread(target=self._pump, args=(source, sink, pair), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, pair) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.open.wait()
                sink.sendall(data)
        self._end(pair)

    def _end(self, pair) -> None:
        with self.lock:
            if pair in self.pairs:
                self.pairs.remove(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _end_all(self) -> None:
        for pair in list(self.pairs):
            self._end(pair)
