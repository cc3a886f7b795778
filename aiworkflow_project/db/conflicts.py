"""Writing beside others: locking rows, and again where the database gave a transaction up for the sake of another."""

import random
import time
from functools import wraps

from django.db import OperationalError, connection

TRIES = 5
PATIENCE = 10.0  # seconds after which no further try is begun

POSTGRESQL = {"40001", "40P01"}  # could not be serialized, deadlock
MYSQL = {1205, 1213}  # waited too long for a lock, deadlock


def retried(write):
    """Runs `write`, which makes one transaction, again as a whole when it lost to another one.

    Within a transaction of the caller's, a part can't be tried again: the error is the caller's.
    """

    @wraps(write)
    def run(*args, **kwargs):
        began = time.monotonic()
        for pause in (0.02 * 2**n for n in range(1, TRIES)):
            try:
                return write(*args, **kwargs)
            except OperationalError as error:
                if connection.in_atomic_block or not is_conflict(error) or time.monotonic() - began > PATIENCE:
                    raise
            time.sleep(random.uniform(0, pause))  # noqa: S311 - so that two that met do not meet again
        return write(*args, **kwargs)

    return run


def locked(rows):
    """The QuerySet with its rows locked until the transaction ends; not against those who only refer to a row."""
    return rows.select_for_update(no_key=connection.features.has_select_for_no_key_update)


def is_conflict(error: OperationalError) -> bool:
    """Whether the same transaction may well succeed when it is tried again."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) in POSTGRESQL or bool(cause and cause.args and cause.args[0] in MYSQL)
