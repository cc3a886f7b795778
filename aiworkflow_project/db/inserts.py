"""Rows that are inserted by a statement made once for each model.

Django's bulk_create makes the statement and asks each field how to write it, every time; that costs several times what
the database takes.
"""

from functools import cache

from django.db import connection, models

from aiworkflow_project.db import prepared


def insert(rows: list[models.Model]) -> None:
    """As `bulk_create` of new objects of one model; a key that the database makes is not read back.

    All rows or, on an error, those of earlier statements: call it in a transaction.
    """
    if not rows:
        return
    fields, head, places = _statement(type(rows[0]), connection.vendor)
    at_once = connection.ops.bulk_batch_size(fields, rows)
    with prepared.cursor() if len(rows) == 1 else connection.cursor() as cursor:
        for first in range(0, len(rows), at_once):
            some = rows[first : first + at_once]
            values = [
                field.get_db_prep_save(field.pre_save(row, add=True), connection) for row in some for field in fields
            ]
            cursor.execute(head + ", ".join([places] * len(some)), values)
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


@cache
def _statement(model: type[models.Model], vendor: str) -> tuple[list[models.Field], str, str]:
    """The fields that are written, the statement up to its rows, and the places of a row's values."""
    fields = [field for field in model._meta.local_concrete_fields if not isinstance(field, models.AutoField)]
    name = connection.ops.quote_name
    columns = ", ".join(name(field.column) for field in fields)
    head = f"INSERT INTO {name(model._meta.db_table)} ({columns}) VALUES "  # noqa: S608 - of names only
    return fields, head, f"({', '.join(['%s'] * len(fields))})"
