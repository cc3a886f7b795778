"""Tells SQLite and PostgreSQL which index a list is best read by.

With few rows to be found they should find them by the filters and sort them; with many, walk along the order and leave
out what does not fit. SQLite knows neither how rare a value is nor what a sort will cost. PostgreSQL knows, but takes
each index that begins with the workspace for one in the order of the table, and so the walk for much cheaper than it
is. A column that is hidden in an expression is one that they look for no index of.
"""

import copy
import math
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections
from django.db.models import F, Func, lookups
from django.db.models.expressions import Col, OrderBy
from django.db.models.lookups import Exact, IContains, In, IsNull, Lookup
from django.db.models.sql.where import AND, WhereNode

from aiworkflow_project.db.counts import Counting

_UNTIL = lookups.LessThan, lookups.LessThanOrEqual
_SINCE = lookups.GreaterThan, lookups.GreaterThanOrEqual
PAGE = 100  # rows that are asked for at a time, or about as many
# About how many rows a table has, without counting them. PostgreSQL's is -1 before it has looked.
_HOW_MANY = {
    "sqlite": "SELECT max(rowid) FROM {}",
    "postgresql": "SELECT reltuples FROM pg_class WHERE oid = '{}'::regclass",
}


@dataclass(frozen=True)
class Near:
    """Columns of times of which no two in a row lie further apart than `within`, unless `unless` says so of the row.

    A model has it as `near`. Who asks for half of a table by one of them, in the order of another, would have the
    other half walked through first; so it is known where to begin.
    """

    columns: tuple[str, ...]
    within: timedelta
    unless: Func


class Hidden(Func):
    template = "+%(expressions)s"
    arity = 1

    def as_postgresql(self, compiler, connection):
        return self.as_sql(compiler, connection, template="(ARRAY[%(expressions)s])[1]")


def steered(queryset, columns: list[str], within: str, *, in_parts: bool = True) -> list:
    """The same rows in the same order, read by the better index: querysets, to be read one after the other.

    `columns` are the names of those that the list is ordered by; `within` is the one that all indexes begin with.
    There is one, unless it may be `in_parts`.
    """
    vendor = connections[queryset.db].vendor
    if vendor not in _HOW_MANY:
        return [queryset]
    filters = [one for one in _lookups(queryset.query.where)
               if _name(one) not in (within, *columns) or isinstance(one, IContains)]  # fmt: skip
    if not filters or _is_served(queryset.model, filters, columns, within):
        return [queryset]
    counted = Counting(queryset).capped()
    if counted.more:  # PostgreSQL walks along the order by itself
        walked = queryset if vendor == "postgresql" else _hiding(queryset, lambda name: name not in (within, *columns))
        return (_begun_near(queryset, walked, columns[0], within) if in_parts else []) or [walked]
    if counted.number > sorted_sooner(queryset):
        return [queryset]
    # The key stays in sight: the rows that a search has found are looked up by it.
    key = queryset.model._meta.pk.name
    return [_sorted(queryset, lambda name: name in columns and name != key)]


def _sorted(queryset, hides):
    """Read by what `hides` leaves in sight, and sorted."""
    order = [OrderBy(Hidden(F(part.expression.name)), part.descending, part.nulls_first, part.nulls_last)
             for part in map(as_order, queryset.query.order_by)]  # fmt: skip
    return _hiding(queryset, hides).order_by(*order)


def counts_on_its_way(parts: list) -> bool:
    """Whether to find the first rows all are read anyway, by a search, so that to count them apart would be another.

    Not on SQLite, which would put all columns of each row aside for it.
    """
    [first, *others] = parts
    return (
        connections[first.db].vendor == "postgresql"
        and not others
        and isinstance(as_order(first.query.order_by[0]).expression, Hidden)
        and any(isinstance(one, IContains) for one in _lookups(first.query.where))
    )


def _begun_near(queryset, walked, column: str, within: str) -> list:
    """The parts of a list in the order of one time that ends, or begins, with another time: nothing if it is no such.

    The rows whose times lie far apart are few, and are looked up. The walk along the order begins near the other's end.
    `walked` is the queryset as it is best read on such a walk.
    """
    near = getattr(queryset.model, "near", None)
    if near is None or column not in near.columns:
        return []
    order, conditions = as_order(queryset.query.order_by[0]), list(_lookups(queryset.query.where, of_all=True))
    descending = order.descending == queryset.query.standard_ordering
    bounds = [one.rhs for one in conditions if _name(one) in near.columns and _name(one) != column
              and isinstance(one, _UNTIL if descending else _SINCE)]  # fmt: skip
    if not bounds or any(_name(one) == column and isinstance(one, IsNull) for one in conditions):
        return []
    edge, beyond, inside = (
        (min(bounds) + near.within, "gt", "lte") if descending else (max(bounds) - near.within, "lt", "gte")
    )
    far = _sorted(queryset.filter(**{f"{column}__{beyond}": edge}), lambda name: name != within)
    parts = [far.filter(near.unless), walked.filter(**{f"{column}__{inside}": edge})]
    if queryset.model._meta.get_field(column).null:  # the least of all
        parts.insert(2 if descending else 0, walked.filter(**{column: None}))
    return parts


def sorted_sooner(queryset) -> int:
    """Up to how many rows are sooner looked up and sorted, all that a filter finds, than a page of them is come upon
    on the way along the order.

    Either way a row at a time is looked up; of all in the table a page is among the first `rows * PAGE / found`.
    """
    connection = connections[queryset.db]
    with connection.cursor() as cursor:
        cursor.execute(_HOW_MANY[connection.vendor].format(queryset.model._meta.db_table))
        rows = cursor.fetchone()[0] or 0
    return math.isqrt(max(int(rows), 0) * PAGE)


def _is_served(model, filters, columns: list[str], within: str) -> bool:
    """Whether an index has just these filters before the order's columns."""
    if not all(isinstance(one, Exact) or (isinstance(one, In) and len(one.rhs) == 1) for one in filters):
        return False
    wanted = {_name(one) for one in filters}
    for index in model._meta.indexes:
        first, *others = [name.removeprefix("-") for name in index.fields]
        if first == within and set(others[: len(wanted)]) == wanted and others[len(wanted) :] == columns:
            return True
    return False


def _lookups(node, *, of_all: bool = False):
    """Those of a condition; or, `of_all`, those that each row meets."""
    if of_all and (node.negated or node.connector != AND):
        return
    for child in node.children:
        if isinstance(child, WhereNode):
            yield from _lookups(child, of_all=of_all)
        elif isinstance(child, Lookup):
            yield child


def _name(lookup) -> str:
    return lookup.lhs.target.name if isinstance(lookup.lhs, Col) else ""


def as_order(part) -> OrderBy:
    """A part of a queryset's order, which may be a name with or without a minus."""
    return part if isinstance(part, OrderBy) else OrderBy(F(part.removeprefix("-")), part.startswith("-"))


def _hiding(queryset, hides):
    queryset = queryset.all()
    queryset.query.where = _hidden(queryset.query.where, hides)
    return queryset


def _hidden(node, hides):
    """A copy of a condition in which the columns are hidden whose names `hides` says."""
    if isinstance(node, Col):
        return Hidden(node) if hides(node.target.name) else node
    if isinstance(node, IContains):  # no index that has an order serves it, and the one that does is wanted
        return node
    node = copy.copy(node)
    if isinstance(node, WhereNode):
        node.children = [_hidden(child, hides) for child in node.children]
    elif isinstance(node, Lookup):
        node.lhs = _hidden(node.lhs, hides)
    else:
        node.set_source_expressions([_hidden(one, hides) for one in node.get_source_expressions()])
    return node
