"""Bounds how long a statement waits for another's lock. The servers' own answer is for ever (PostgreSQL) or a day."""

from django.db import connections
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_migrate
from django.dispatch import receiver

LOCK_SECONDS = 10


@receiver(connection_created, dispatch_uid="bound the waits for locks")
def bound(connection, **kwargs):
    _wait(connection, LOCK_SECONDS)


@receiver(pre_migrate, dispatch_uid="let migrations wait for locks")
def let_migrations_wait(using, **kwargs):
    """Migrations wait as long as it takes: MariaDB can't take back half of one."""
    _wait(connections[using], 24 * 3600)


def _wait(connection, seconds: int) -> None:
    match connection.vendor:
        case "postgresql":
            statement = f"SET lock_timeout = '{seconds}s'"
        case "mysql":
            statement = f"SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}"
        case _:  # SQLite has its own, `timeout` of DATABASE_URL
            return
    with connection.cursor() as cursor:
        cursor.execute(statement)
