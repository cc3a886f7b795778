"""Counts that cost the same however long a list is: exact up to a limit, and no further."""

import json
from dataclasses import dataclass

from django.core.exceptions import EmptyResultSet
from django.db import connections

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
    """The rows of a queryset, to be counted as often as needed: its SQL is made once."""

    def __init__(self, queryset):
        self._using = queryset.db
        try:
            self._sql, self._parameters = queryset.order_by().values("pk").query.sql_with_params()
        except EmptyResultSet:  # nothing can be found, and there is no SQL to find it with
            self._sql = None

    def capped(self) -> Count:
        """Count without ever finding more than COUNT_AT_MOST + 1 rows."""
        number = self._number(f" LIMIT {COUNT_AT_MOST + 1}")
        return Count(min(number, COUNT_AT_MOST), number > COUNT_AT_MOST)

    def exact(self) -> int:
        return self._number()

    def estimated(self) -> int:
        """How many rows of more than COUNT_AT_MOST there may be: PostgreSQL's guess, COUNT_AT_MOST on the others."""
        connection = connections[self._using]
        if connection.vendor != "postgresql":
            return COUNT_AT_MOST
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {self._sql}", self._parameters)
            [[found]] = cursor.fetchall()
        plans = json.loads(found) if isinstance(found, str) else found
        return max(plans[0]["Plan"]["Plan Rows"], COUNT_AT_MOST)

    def _number(self, limit: str = "") -> int:
        if self._sql is None:
            return 0
        with connections[self._using].cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM ({self._sql}{limit}) AS found", self._parameters)
            return cursor.fetchone()[0]


def capped(queryset) -> Count:
    return Counting(queryset).capped()
