"""MariaDB behind a filter of MySQL's protocol that refuses what MatrixOne refuses, and says it was MatrixOne.

It is a list of refusals, not MatrixOne: what it lets through is still MariaDB's answer. Where it must answer for
something that MariaDB lacks (mo_catalog), it translates.
"""

import contextlib
import re
import socket
import struct
import threading

BANNER = "8.0.30-MatrixOne-v4.2.0"
COM_QUERY = 3
CLIENT_SSL = 0x0800
OK = b"\x00\x00\x00\x02\x00\x00\x00"

REFUSED = [
    (re.compile(r"^\s*ROLLBACK\s+TO\b", re.I), 20101, "internal error: ROLLBACK TO SAVEPOINT is not supported"),
    (re.compile(r"\b(SKIP LOCKED|NOWAIT)\b|\bFOR UPDATE OF\b", re.I), 1064, "SQL parser error near SKIP LOCKED"),
    (re.compile(r"\binformation_schema\.check_constraints\b", re.I), 1064, "no such table check_constraints"),
    (re.compile(r"\bLIKE BINARY\b", re.I), 1064, "SQL parser error near BINARY"),
    (re.compile(r"^\s*(CREATE|ALTER) TABLE\b.*\bCHECK\s*\(", re.I | re.S), 1064, "SQL parser error near CHECK"),
    (re.compile(r"^\s*ALTER DATABASE\b", re.I), 1064, "SQL parser error near DATABASE"),
    (re.compile(r"\bGENERATED ALWAYS\b", re.I), 1064, "SQL parser error near GENERATED"),
    (re.compile(r"^\s*(LOCK TABLES|CREATE TRIGGER|XA)\b", re.I), 1064, "SQL parser error"),
    (re.compile(r"\binnodb_lock_wait_timeout\b", re.I), 1193, "Unknown system variable innodb_lock_wait_timeout"),
    (re.compile(r";\s*\S"), 1064, "SQL parser error: one statement at a time"),
]
WITHOUT_EFFECT = re.compile(r"^\s*(RELEASE\s+)?SAVEPOINT\b|^\s*SET SESSION TRANSACTION\b", re.I)
REWRITTEN = [
    (re.compile(r"\bVERSION\(\)", re.I), f"'{BANNER}'"),
    (re.compile(r"@@sql_auto_is_null", re.I), "1"),
    # An empty table there, up to 4.2.
    (
        re.compile(r"\binformation_schema\.key_column_usage AS kc\b", re.I),
        "(SELECT * FROM information_schema.key_column_usage WHERE 1 = 0) AS kc",
    ),
    (
        re.compile(r"\binformation_schema\.key_column_usage\b(?! AS| WHERE 1 = 0)", re.I),
        "(SELECT * FROM information_schema.key_column_usage WHERE 1 = 0) AS k",
    ),
    # MatrixOne's own catalogue, made of what MariaDB knows.
    (
        re.compile(r"\bmo_catalog\.mo_foreign_keys\b", re.I),
        "(SELECT constraint_name, table_schema AS db_name, table_name, column_name, referenced_table_name AS "
        "refer_table_name, referenced_column_name AS refer_column_name FROM information_schema.key_column_usage "
        "WHERE referenced_table_name IS NOT NULL) AS known",
    ),
]


class MatrixOneLike:
    """`with MatrixOneLike("127.0.0.1", 3306) as server:` listens on `server.port`; `refused` holds what it refused."""

    def __init__(self, host: str, port: int):
        self.target = host, port
        self.refused: list[str] = []

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            threading.Thread(target=self._answers, args=(server, client), daemon=True).start()
            threading.Thread(target=self._questions, args=(client, server), daemon=True).start()

    def _answers(self, server, client):
        with contextlib.suppress(OSError), client:
            _number, greeting = _read(server)
            client.sendall(_packet(0, _as_matrixone(greeting)))
            while data := server.recv(65536):
                client.sendall(data)

    def _questions(self, client, server):
        with contextlib.suppress(OSError), server:
            while True:
                number, payload = _read(client)
                if number or not payload or payload[0] != COM_QUERY:
                    server.sendall(_packet(number, payload))
                    continue
                query = payload[1:].decode("utf-8", "surrogateescape")
                answer = self._own_answer(query)
                if answer:
                    client.sendall(_packet(1, answer))
                    continue
                for pattern, replacement in REWRITTEN:
                    query = pattern.sub(lambda _found, text=replacement: text, query)
                server.sendall(_packet(0, bytes([COM_QUERY]) + query.encode("utf-8", "surrogateescape")))

    def _own_answer(self, query: str) -> bytes | None:
        if WITHOUT_EFFECT.search(query):
            return OK
        bare = re.sub(r"'(?:[^'\\]|\\.|'')*'", "''", query)  # what stands in a text is not meant
        for pattern, code, message in REFUSED:
            if pattern.search(bare):
                self.refused.append(query)
                return b"\xff" + struct.pack("<H", code) + b"#HY000" + message.encode()
        return None


def _as_matrixone(greeting: bytes) -> bytes:
    _version, rest = greeting[1:].split(b"\0", 1)
    capabilities = 4 + 8 + 1  # after the thread's id, the first part of the salt, and a filler
    (lower,) = struct.unpack_from("<H", rest, capabilities)
    rest = rest[:capabilities] + struct.pack("<H", lower & ~CLIENT_SSL) + rest[capabilities + 2 :]
    return greeting[:1] + BANNER.encode() + b"\0" + rest


def _packet(number: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number & 0xFF]) + payload


def _read(source: socket.socket) -> tuple[int, bytes]:
    head = _exactly(source, 4)
    return head[3], _exactly(source, int.from_bytes(head[:3], "little"))


def _exactly(source: socket.socket, number: int) -> bytes:
    data = bytearray()
    while len(data) < number:
        piece = source.recv(number - len(data))
        if not piece:
            raise OSError("closed")
        data += piece
    return bytes(data)
