"""The default broker: the project's own database, where a job's row is its own message."""

import contextlib
import logging
from time import monotonic, sleep

import psycopg
from django.db import DatabaseError, close_old_connections, connections
from django_q.brokers.orm import ORM
from django_q.conf import Conf

from jobs.models import Job
from jobs.queue.look import look
from jobs.services import CHANNEL

logger = logging.getLogger(__name__)

SETTLE = 0.05  # seconds that a worker is given to claim what was found, before another is woken
LISTEN = 1.0  # seconds to wait for a notification, before we look all the same
GLANCE = 0.02  # seconds between two glances at whether somebody has written to SQLite's file


class WakeUps(ORM):
    """Looks for pending jobs ten times a second; on PostgreSQL when told of one, on SQLite when the file has changed.

    django-q2's table carries what else a site may send to its workers; a message is deleted when it is taken instead
    of locked until acknowledged, for locked rows of dead clusters would only pile up.
    """

    def __init__(self, list_key: str | None = None):
        super().__init__(list_key)
        self._listener = None
        self._woke_one = False
        self._version: int | None = None  # of SQLite's file, before the last look
        self._in_vain = False  # whether it had changed, and not for us

    def dequeue(self) -> list[tuple[None, str]]:
        if self._woke_one:
            self._woke_one = False
            sleep(SETTLE)
        try:
            if found := self._look() or self._message():
                self._in_vain = False
                return found
            self._wait()
        except (DatabaseError, psycopg.Error):
            logger.warning("The database could not be asked for jobs.", exc_info=True)
            self._hang_up()
            close_old_connections()
            sleep(LISTEN)
        return []

    def _message(self) -> list[tuple[None, str]]:
        message = self.get_connection().filter(key=self.list_key).order_by("pk").first()
        if message is None:
            return []
        deleted, _ = self.get_connection().filter(pk=message.pk).delete()
        return [(None, message.payload)] if deleted else []  # else another cluster was faster

    def _look(self) -> list[tuple[None, str]]:
        if not Job.objects.ready().exists():
            return []
        self._woke_one = True
        return look()

    def _wait(self) -> None:
        vendor = connections[Conf.ORM].vendor
        if vendor == "postgresql":
            self._wait_to_be_told()
        elif vendor == "sqlite":
            self._wait_for_a_change()
        else:
            sleep(Conf.POLL)

    def _wait_for_a_change(self) -> None:
        """A glance costs less than a look. Where others write all the time, we look as often as elsewhere."""
        if self._in_vain:
            sleep(Conf.POLL)
        until = monotonic() + LISTEN
        while (version := self._version_of_the_file()) == self._version and monotonic() < until:
            sleep(GLANCE)
        self._in_vain = version != self._version
        self._version = version

    def _version_of_the_file(self) -> int:
        """Another one whenever another connection has written."""
        connection = connections[Conf.ORM]
        connection.ensure_connection()
        with connection.wrap_database_errors:  # without Django's cursor, which costs as much as a look
            return connection.connection.execute("PRAGMA data_version").fetchone()[0]

    def _wait_to_be_told(self) -> None:
        if self._listener is None:
            self._listener = connections[Conf.ORM].copy()
            self._listener.ensure_connection()
            self._listener.connection.execute(f"LISTEN {CHANNEL}")
            return  # what was told of before is found by looking
        for _ in self._listener.connection.notifies(timeout=LISTEN, stop_after=1):
            pass

    def _hang_up(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(DatabaseError, psycopg.Error):
                self._listener.close()
            self._listener = None
