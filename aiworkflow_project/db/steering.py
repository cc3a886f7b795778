"""Tells SQLite and PostgreSQL which index a list is best read by.

With few rows to be found they should find them by the filters and sort them; with many, walk along the order and leave
out what does not fit. SQLite knows neither how rare a value is nor what a sort will cost. PostgreSQL knows, but takes
each index that begins with the workspace for one in the order of the table, and so the walk for much cheaper than it
is. A column that is hidden in an expression is one that they look for no index of.
"""

import copy
import math

from django.db import connections
from django.db.models import F, Func
from django.db.models.expressions import Col, OrderBy
from django.db.models.lookups import Exact, In, Lookup
from django.db.models.sql.where import WhereNode

from aiworkflow_project.db.counts import Counting

PAGE = 100  # rows that are asked for at a time, or about as many
# About how many rows a table has, without counting them. PostgreSQL's is -1 before it has looked.
_HOW_MANY = {
    "sqlite": "SELECT max(rowid) FROM {}",
    "postgresql": "SELECT reltuples FROM pg_class WHERE oid = '{}'::regclass",
}


class Hidden(Func):
    template = "+%(expressions)s"
    arity = 1

    def as_postgresql(self, compiler, connection):
        return self.as_sql(compiler, connection, template="(ARRAY[%(expressions)s])[1]")


def steered(queryset, columns: list[str], within: str):
    """The same rows in the same order, read by the better index.

    `columns` are the names of those that the list is ordered by; `within` is the one that all indexes begin with.
    """
    vendor = connections[queryset.db].vendor
    if vendor not in _HOW_MANY:
        return queryset
    filters = [one for one in _lookups(queryset.query.where) if _name(one) not in (within, *columns)]
    if not filters or _is_served(queryset.model, filters, columns, within):
        return queryset
    counted = Counting(queryset).capped()
    if counted.more:  # PostgreSQL walks along the order by itself
        return queryset if vendor == "postgresql" else _hiding(queryset, lambda name: name not in (within, *columns))
    if counted.number > sorted_sooner(queryset):
        return queryset
    order = [OrderBy(Hidden(F(part.expression.name)), part.descending, part.nulls_first, part.nulls_last)
             for part in map(as_order, queryset.query.order_by)]  # fmt: skip
    # The key stays in sight: the rows that a search has found are looked up by it.
    key = queryset.model._meta.pk.name
    return _hiding(queryset, lambda name: name in columns and name != key).order_by(*order)


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


def _lookups(node):
    for child in node.children:
        if isinstance(child, WhereNode):
            yield from _lookups(child)
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
    node = copy.copy(node)
    if isinstance(node, WhereNode):
        node.children = [_hidden(child, hides) for child in node.children]
    elif isinstance(node, Lookup):
        node.lhs = _hidden(node.lhs, hides)
    else:
        node.set_source_expressions([_hidden(one, hides) for one in node.get_source_expressions()])
    return node
