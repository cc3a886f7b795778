"""Django's backend for PostgreSQL, with statements that the server keeps prepared, and times that are read in C.

To parse and plan a statement of ours takes the server longer than to execute it.
"""

from django.db.backends.postgresql import base, operations
from psycopg import adapters
from psycopg.postgres import types
from psycopg.pq import Format

READER_OF_TIMES = adapters.get_loader(types["timestamptz"].oid, Format.TEXT)  # in the session's time zone: UTC


class DatabaseOperations(operations.DatabaseOperations):
    def last_executed_query(self, cursor, sql, params):
        """As Django's, which finds nothing where the statement was prepared."""
        return super().last_executed_query(cursor, sql, params) or self.compose_sql(sql, params)


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations

    def get_new_connection(self, conn_params):
        connection = super().get_new_connection(conn_params)
        connection.autocommit = True  # as Django has it next; so that to ask now begins no transaction
        connection.adapters.register_loader("timestamptz", READER_OF_TIMES)
        if _is_straight(connection):
            connection.prepare_threshold = 1  # when a statement comes for the second time
        return connection

    def create_cursor(self, name=None):
        """As Django's, which would first ask the reader of times for a time zone of its own."""
        if name is None:
            return self.connection.cursor()
        return base.ServerSideCursor(self.connection, name=name, scrollable=False, withhold=self.connection.autocommit)

    def prepared_cursor(self):
        """A cursor for statements that are executed again and again, with the same text."""
        self.ensure_connection()
        return self._prepare_cursor(base.ServerBindingCursor(self.connection))


def _is_straight(connection) -> bool:
    """Whether nothing stands between us and the server. A pooler may give each transaction another of its sessions,
    and what was prepared in one is not known in the next; it makes up the number by which we know our session."""
    [[number]] = connection.execute("SELECT pg_backend_pid()").fetchall()
    return number == connection.info.backend_pid
