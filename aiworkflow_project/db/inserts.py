"""Rows that are inserted by a statement made once for each model.

Django's bulk_create makes the statement and asks each field how to write it, every time; that costs several times what
the database takes.
"""

from functools import cache, lru_cache

from django.db import connection, models, transaction

from aiworkflow_project.db import prepared
from aiworkflow_project.db import rows as new_rows
from aiworkflow_project.db.postgresql import records
from aiworkflow_project.db.prepared import Condition


def insert(*groups: list[models.Model], channel: str = "", only_if: Condition | None = None) -> bool:
    """As `bulk_create` of new objects, each group of one model; a key that the database makes is not read back.

    All rows or none, also outside of a transaction. With them PostgreSQL tells those who listen to `channel`. Returns
    whether `only_if` held; if not, nothing is inserted and nobody told.
    """
    groups = [rows for rows in groups if rows]
    if not groups:
        return True
    if connection.vendor == "postgresql":
        inserted = _insert_at_once(groups, channel, only_if)
    else:
        with transaction.atomic(savepoint=False):
            if inserted := only_if is None or _holds(only_if):
                for rows in groups:
                    _insert(rows)
    if inserted:
        alias = connection.alias
        for rows in groups:
            for row in rows:
                row._state.adding, row._state.db = False, alias
    return inserted


def notify(channel: str) -> None:
    """Let PostgreSQL tell those who listen, once the transaction is committed; nothing on other databases."""
    if connection.vendor == "postgresql":
        with prepared.cursor() as cursor:
            cursor.execute(NOTIFY, [channel])


NOTIFY = "SELECT pg_notify(%s, '')"


def _insert_at_once(groups: list[list[models.Model]], channel: str, only_if: Condition | None) -> bool:
    """One statement, which is a transaction of its own: one answer to wait for."""
    sql, asked = only_if or ("", [])
    parameters = []
    for each in [*map(records.of, groups), *([channel] if channel else [])]:
        parameters += [each, *asked]
    with prepared.cursor() as cursor:
        cursor.execute(_at_once(tuple(type(rows[0]) for rows in groups), bool(channel), sql), parameters)
        return cursor.rowcount > 0


@lru_cache(maxsize=64)
def _at_once(kinds: tuple[type[models.Model], ...], tells: bool, condition: str) -> str:
    parts = [records.insertion(kind, f"rows_{n}") for n, kind in enumerate(kinds)] + [NOTIFY] * tells
    if condition:  # in each: all parts see what was there before any of them
        parts = [f"{part} WHERE {condition}" for part in parts]
    return records.together(parts[:-1], parts[-1])


def _holds(condition: Condition) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {condition.sql}", condition.parameters)
        return bool(cursor.fetchone()[0])


def _insert(rows: list[models.Model]) -> None:
    model, fields = type(rows[0]), new_rows.written(type(rows[0]))
    at_once = connection.ops.bulk_batch_size(fields, rows)
    head, places = _statement(model, connection.vendor)
    with connection.cursor() as cursor:
        for first in range(0, len(rows), at_once):
            some = rows[first : first + at_once]
            values = [value for row in some for value in new_rows.values(row)]
            cursor.execute(head + ", ".join([places] * len(some)), values)


@cache
def _statement(model: type[models.Model], vendor: str) -> tuple[str, str]:
    """The statement up to its rows, and the places of a row's values."""
    return f"{new_rows.insertion(model)} VALUES ", f"({', '.join(['%s'] * len(new_rows.written(model)))})"
