"""Counts that cost the same however long a list is: exact up to a limit, and no further."""

import json
from dataclasses import dataclass

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Value

from aiworkflow_project.db import prepared

COUNT_AT_MOST = 10_000


@dataclass(frozen=True)
class Count:
    """How many there are, counted up to a limit: `more` says that there are more than `number`."""

    number: int
    more: bool = False

    def __str__(self):
        return f"{self.number:,}+" if self.more else f"{self.number:,}"

    def __bool__(self):
        return self.number > 0


class Counting:
    """The rows of a queryset, to be counted as often as needed: its SQL is made once.

    That there are more than COUNT_AT_MOST, and how many more, is found out once: keep this for no longer than a list
    may lag behind in that. Fewer are counted each time.
    """

    def __init__(self, queryset):
        self._more, self._estimate = False, None
        try:
            # Nothing of the rows is asked for, so that an index will do.
            self._sql, self._parameters = queryset.order_by().values(found=Value(1)).query.sql_with_params()
        except EmptyResultSet:  # nothing can be found, and there is no SQL to find it with
            self._sql = None

    def capped(self) -> Count:
        """Count without ever finding more than COUNT_AT_MOST + 1 rows."""
        if not self._more:
            number = self._number(f" LIMIT {COUNT_AT_MOST + 1}")
            if number <= COUNT_AT_MOST:
                return Count(number)
            self._more = True
        return Count(COUNT_AT_MOST, more=True)

    def exact(self) -> int:
        return self._number()

    def estimated(self) -> int:
        """How many rows of more than COUNT_AT_MOST there may be: PostgreSQL's guess, COUNT_AT_MOST on the others."""
        if self._estimate is None:
            self._estimate = max(self.guessed(), COUNT_AT_MOST)
        return self._estimate

    def guessed(self) -> int:
        """How many rows there are by PostgreSQL's statistics, nowhere near exact; 0 on the others."""
        if connection.vendor != "postgresql" or self._sql is None:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {self._sql}", self._parameters)
            [[found]] = cursor.fetchall()
        plans = json.loads(found) if isinstance(found, str) else found
        return plans[0]["Plan"]["Plan Rows"]

    def _number(self, limit: str = "") -> int:
        if self._sql is None:
            return 0
        with prepared.cursor() as cursor:
            cursor.execute(*prepared.fixed(f"SELECT COUNT(*) FROM ({self._sql}{limit}) AS found", self._parameters))
            return cursor.fetchone()[0]


def capped(queryset) -> Count:
    return Counting(queryset).capped()
