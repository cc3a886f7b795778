"""Commits that fail, for a database that goes away just then."""

import contextlib
from unittest import mock

from django.db import OperationalError, connection


@contextlib.contextmanager
def failing(*, unheard: bool):
    """Within it each commit fails, and each statement that is a transaction of its own and changes something.

    With `unheard` it has been made all the same: only the answer was lost.
    """
    really_commit = connection.commit

    def commit():
        if unheard:
            really_commit()
        raise OperationalError("gone")

    def execute(do, sql, params, many, context):
        if connection.in_atomic_block or sql.startswith(("SELECT", "BEGIN")):
            return do(sql, params, many, context)
        if unheard:
            do(sql, params, many, context)
        raise OperationalError("gone")

    with mock.patch.object(connection, "commit", commit), connection.execute_wrapper(execute):
        yield
