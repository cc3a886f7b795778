"""Django's backend for SQLite, where the threads of a process take turns at writing, and times are soon read.

SQLite lets one connection write, and the others ask again after ever longer sleeps: some may not get there for half a
second while the file lies idle. Threads that queue here are let in as soon as the one before is through. Between
processes it stays with the sleeps.
"""

import os
import sqlite3
from datetime import datetime
from threading import Lock

from django.db.backends.sqlite3 import base, operations

_turns: dict[str, Lock] = {}  # by file
os.register_at_fork(after_in_child=_turns.clear)  # whoever has the turn stayed behind


def _time(text: bytes) -> datetime:
    return datetime.fromisoformat(f"{text.decode()}+00:00")


sqlite3.register_converter("datetime", _time)  # of columns of this type, which Django reads and then makes aware of UTC


class DatabaseOperations(operations.DatabaseOperations):
    def convert_datetimefield_value(self, value, expression, connection):
        if type(value) is datetime:
            return value
        return super().convert_datetimefield_value(value, expression, connection)


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations
    _turn = None

    def _start_transaction_under_autocommit(self):
        turn = _turns.setdefault(self.settings_dict["NAME"], Lock())
        # The turn is a courtesy: who waits too long for it goes and asks SQLite, which says what is wrong.
        self._turn = turn if turn.acquire(timeout=self.settings_dict["OPTIONS"].get("timeout", 5.0)) else None
        try:
            super()._start_transaction_under_autocommit()
        except BaseException:
            self._end_turn()
            raise

    def _commit(self):
        try:
            super()._commit()
        finally:
            self._end_turn()

    def _rollback(self):
        try:
            super()._rollback()
        finally:
            self._end_turn()

    def _close(self):
        try:
            super()._close()
        finally:
            self._end_turn()

    def _end_turn(self):
        turn, self._turn = self._turn, None
        if turn:
            turn.release()
