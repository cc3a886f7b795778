"""Stands between us and the server, and hands on what is said."""

import contextlib
import socket
import threading


class Relay:
    """Listens on `port` until `close()`. What a side says is handed on as the two methods make it."""

    def __init__(self, host: str, port: int):
        self._target = host, port
        self._ends = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._ends[0].getsockname()[1]
        threading.Thread(target=self._serve, args=self._ends, daemon=True).start()

    def from_client(self, said: bytes) -> bytes | None:
        """None: nothing that the client says is handed on any more."""
        return said

    def from_server(self, said: bytes) -> bytes | None:
        return said

    def _serve(self, listener):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
                self._ends += [client, server]
                for way in ((client, server, self.from_client), (server, client, self.from_server)):
                    threading.Thread(target=self._hand_on, args=way, daemon=True).start()

    @staticmethod
    def _hand_on(source, target, change):
        with contextlib.suppress(OSError):
            while said := source.recv(65536):
                if (handed := change(said)) is None:
                    return
                target.sendall(handed)
            target.shutdown(socket.SHUT_WR)

    def close(self):
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
