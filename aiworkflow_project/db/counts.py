"""Counts that cost the same however long a list is: exact up to a limit, and no further."""

import json
from dataclasses import dataclass

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


def capped(queryset) -> Count:
    """Count without ever finding more than COUNT_AT_MOST + 1 rows."""
    number = queryset.order_by()[: COUNT_AT_MOST + 1].count()
    return Count(min(number, COUNT_AT_MOST), number > COUNT_AT_MOST)


def estimated(queryset) -> int:
    """How many rows of more than COUNT_AT_MOST there may be: PostgreSQL's guess, COUNT_AT_MOST on the others."""
    if connections[queryset.db].vendor != "postgresql":
        return COUNT_AT_MOST
    plan = json.loads(queryset.order_by().explain(format="json"))
    return max(plan[0]["Plan"]["Plan Rows"], COUNT_AT_MOST)
