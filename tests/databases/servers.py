"""The database that the tests run on, and databases of their own for the sites that tests start.

TEST_DB says which: sqlite (the default), postgres or mariadb on this machine, or the URL of another server, whose
database is then only used to connect.

The name of each database tells which process made it, and that process holds a lock of the server while it lives.
What a run left that was broken off is known by its free lock, and the next run drops it.
"""

import atexit
import os
import re
import secrets
import time
from functools import cached_property
from pathlib import Path

from django.db.utils import ConnectionHandler

from aiworkflow_project import database_url

URLS = {
    "sqlite": "",
    "postgres": "postgresql://postgres@127.0.0.1:5432/postgres",
    "mariadb": "mysql://root@127.0.0.1:3306/mysql",
}
NAME = re.compile(r"(test_aiworkflow_[0-9a-f]{8})_\d+")
STATEMENTS = {
    "postgresql": {
        "lock": "SELECT pg_try_advisory_lock(hashtext(%s))",
        "unlock": "SELECT pg_advisory_unlock(hashtext(%s))",
        "list": "SELECT datname FROM pg_database",
        "make": "CREATE DATABASE {}",
        "drop": "DROP DATABASE IF EXISTS {} WITH (FORCE)",
        "clients": "SELECT pid FROM pg_stat_activity WHERE datname = %s",
        "hang up": "SELECT pg_terminate_backend(%s)",
    },
    "mysql": {
        "lock": "SELECT GET_LOCK(%s, 0)",
        "unlock": "SELECT RELEASE_LOCK(%s)",
        "list": "SHOW DATABASES",
        "make": "CREATE DATABASE {} CHARACTER SET latin1",  # the tables are to be right in spite of it
        "drop": "DROP DATABASE IF EXISTS {}",
        "clients": "SELECT id FROM information_schema.processlist WHERE db = %s",
        "hang up": "KILL %s",
    },
}


class Server:
    """Makes databases on the server at `url`, and drops them when this process ends."""

    def __init__(self, url: str):
        self._url = url
        self._mark = f"test_aiworkflow_{secrets.token_hex(4)}"
        self._names = []

    def make(self, options: str = "") -> str:
        """The URL of a new, empty database."""
        name = self.reserve()
        self._do("make", name=f"{name} {options}")
        address, mark, parameters = self._url.partition("?")
        return f"{address.rpartition('/')[0]}/{name}{mark}{parameters}"

    def hang_up(self, url: str) -> int:
        """End every connection to the database, as the server's restart does, and return how many there were."""
        name = url.rpartition("/")[2]
        clients = self._do("clients", [name])
        for client in clients:
            self._do("hang up", client)
        while set(clients) & set(self._do("clients", [name])):  # the servers only told their processes to end
            time.sleep(0.01)
        return len(clients)

    def reserve(self) -> str:
        """The name of a database that the caller makes."""
        if not self._names:
            self._do("lock", [self._mark])
            self._drop_what_dead_processes_left()
            atexit.register(self._drop_ours)
        self._names.append(f"{self._mark}_{len(self._names)}")
        return self._names[-1]

    def _drop_what_dead_processes_left(self) -> None:
        for (name,) in self._do("list"):
            match = NAME.fullmatch(name)
            if match and match[1] != self._mark and self._do("lock", [match[1]])[0][0]:
                self._do("drop", name=name)
                self._do("unlock", [match[1]])

    def _drop_ours(self) -> None:
        for name in self._names:
            self._do("drop", name=name)

    def _do(self, what: str, parameters=None, *, name: str = "") -> list[tuple]:
        with self._wrapper.connection.cursor() as cursor:
            cursor.execute(STATEMENTS[self._wrapper.vendor][what].format(name), parameters)
            return list(cursor.fetchall()) if cursor.description else []

    @cached_property
    def _wrapper(self):
        settings = database_url.parse(self._url, default=Path(), base_dir=Path())
        wrapper = ConnectionHandler({"default": settings})["default"]
        # Connected by hand: pytest-django keeps Django from it in tests that don't ask for the database.
        wrapper.connection = wrapper.get_new_connection(wrapper.get_connection_params())
        wrapper._set_autocommit(True)
        return wrapper


def _chosen_url() -> str:
    name = os.environ.get("TEST_DB", "") or "sqlite"
    if name not in URLS and "://" not in name:
        raise SystemExit(f"DB (or TEST_DB) must be one of {', '.join(URLS)}, or the URL of a server, not {name!r}.")
    return URLS.get(name, name)


URL = _chosen_url()
CHOSEN = Server(URL) if URL else None


def environment() -> dict[str, str]:
    """What gives a process a database of its own. Nothing for SQLite: that is a file in DATA_DIR."""
    return {"DATABASE_URL": CHOSEN.make()} if CHOSEN else {}
