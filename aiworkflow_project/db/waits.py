"""Bounds how long one session can hold up others: by waiting for a lock, and by keeping one without a word.

The servers' own answers are for ever, a day, or two hours. A worker that is frozen, or cut off from the network in the
middle of a transaction, would else keep its jobs' rows locked for so long, and nobody could take them over.
"""

from django.conf import settings
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_migrate
from django.dispatch import receiver

LOCK_SECONDS = 10


@receiver(connection_created, dispatch_uid="bound the waits")
def bound(connection, **kwargs):
    _set(connection, lock=LOCK_SECONDS, silence=settings.JOB_LEASE_SECONDS)


@receiver(pre_migrate, dispatch_uid="let migrations wait")
def let_migrations_wait(using, **kwargs):
    """Migrations wait as long as it takes: MariaDB can't take back half of one."""
    _set(connections[using], lock=24 * 3600, silence=0)


def _set(connection, *, lock: int, silence: int) -> None:
    """`lock`: seconds to wait for one; `silence`: seconds after which an open transaction is given up, 0 for never."""
    match connection.display_name:
        case "PostgreSQL":
            statement = (
                f"SET lock_timeout = '{lock}s'; SET idle_in_transaction_session_timeout = '{silence}s'; "
                "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4"
            )
        case "MariaDB":
            statement = (
                f"SET SESSION lock_wait_timeout = {lock}, innodb_lock_wait_timeout = {lock}, "
                f"idle_transaction_timeout = {silence}"
            )
        case "MySQL":  # has nothing for transactions that are idle
            statement = f"SET SESSION lock_wait_timeout = {lock}, innodb_lock_wait_timeout = {lock}"
        case _:  # SQLite has its own, `timeout` of DATABASE_URL; MatrixOne does not know these
            return
    with connection.cursor() as cursor:
        cursor.execute(statement)
