"""Rows that are inserted by a statement made once for each model.

Django's bulk_create makes the statement and asks each field how to write it, every time; that costs several times what
the database takes.
"""

from contextlib import nullcontext
from functools import cache

from django.db import connection, connections, models, transaction

from aiworkflow_project.db import prepared


def insert(*groups: list[models.Model], channel: str = "") -> None:
    """As `bulk_create` of new objects, each group of one model; a key that the database makes is not read back.

    All rows or none, also outside of a transaction. With them PostgreSQL tells those who listen to `channel`.
    """
    groups = [rows for rows in groups if rows]
    if not groups:
        return
    if connection.vendor == "postgresql" and all(len(rows) == 1 for rows in groups):
        _insert_at_once([row for [row] in groups], channel)
    else:
        with nullcontext() if connection.in_atomic_block else transaction.atomic():
            for rows in groups:
                _insert(rows)
            if channel:
                notify(channel)
    for rows in groups:
        for row in rows:
            row._state.adding, row._state.db = False, connection.alias


def notify(channel: str) -> None:
    """Let PostgreSQL tell those who listen, once the transaction is committed; nothing on other databases."""
    if connection.vendor == "postgresql":
        with prepared.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [channel])


def _insert(rows: list[models.Model]) -> None:
    fields, head, places = _statement(type(rows[0]), connection.vendor)
    if connection.vendor == "postgresql":
        with prepared.cursor() as cursor:
            cursor.executemany(head + places, [_values(row, fields) for row in rows])
        return
    at_once = connection.ops.bulk_batch_size(fields, rows)
    with connection.cursor() as cursor:
        for first in range(0, len(rows), at_once):
            some = rows[first : first + at_once]
            values = [value for row in some for value in _values(row, fields)]
            cursor.execute(head + ", ".join([places] * len(some)), values)


def _insert_at_once(rows: list[models.Model], channel: str) -> None:
    """One statement, which is a transaction of its own, for one row of each model: one answer to wait for."""
    statements, values = [], []
    for row in rows:
        fields, head, places = _statement(type(row), connection.vendor)
        statements.append(head + places)
        values += _values(row, fields)
    *others, last = statements
    if others:
        last = f"WITH {', '.join(f'other_{n} AS ({other})' for n, other in enumerate(others))} {last}"
    if channel:
        last, values = f"{last} RETURNING pg_notify(%s, '')", [*values, channel]
    with prepared.cursor() as cursor:
        cursor.execute(last, values)


def _values(row: models.Model, fields: list[models.Field]) -> list:
    database = connections[connection.alias]  # itself: the fields ask it a lot, and by proxy each time takes as long
    return [field.get_db_prep_save(field.pre_save(row, add=True), database) for field in fields]


@cache
def _statement(model: type[models.Model], vendor: str) -> tuple[list[models.Field], str, str]:
    """The fields that are written, the statement up to its rows, and the places of a row's values."""
    fields = [field for field in model._meta.local_concrete_fields if not isinstance(field, models.AutoField)]
    name = connection.ops.quote_name
    columns = ", ".join(name(field.column) for field in fields)
    head = f"INSERT INTO {name(model._meta.db_table)} ({columns}) VALUES "  # noqa: S608 - of names only
    return fields, head, f"({', '.join(['%s'] * len(fields))})"
