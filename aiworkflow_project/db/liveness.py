"""Whether a database connection that rested is still there, found out without asking the server.

Django asks once a request, and that costs as much as most answers do. A server that hung up has sent something, if only
the end: where nothing waits to be read, the connection is as good as a question can tell. Else Django asks.
"""

import select

from django.core.signals import request_started
from django.db import connections


def look(**_):
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and connection.health_check_enabled:
            connection.health_check_done = _is_silent(connection)


def _is_silent(connection) -> bool:
    """Whether nothing came over the connection since the last answer; False where that can't be told."""
    try:
        if connection.vendor == "postgresql":
            number = connection.connection.fileno()
        else:
            number = connection.connection._sock.fileno()
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return not poll.poll(0)
    except Exception:  # whatever a driver raises for a connection that is closed
        return False


def register() -> None:
    """After Django's own receiver, which looks for connections that failed or are too old."""
    request_started.connect(look)
