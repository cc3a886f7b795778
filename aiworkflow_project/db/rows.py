"""How new rows are written, by whatever statement."""

from functools import cache

from django.db import connection, connections, models


@cache
def written(model: type[models.Model]) -> tuple[models.Field, ...]:
    """The fields of a new row; a key that the database makes is not among them."""
    return tuple(field for field in model._meta.local_concrete_fields if not isinstance(field, models.AutoField))


def values(row: models.Model) -> list:
    """What the database is to be given for them."""
    database = connections[connection.alias]  # itself: the fields ask it a lot, and by proxy each time takes as long
    return [field.get_db_prep_save(field.pre_save(row, add=True), database) for field in written(type(row))]


def columns(model: type[models.Model]) -> str:
    return ", ".join(connection.ops.quote_name(field.column) for field in written(model))


def insertion(model: type[models.Model]) -> str:
    """The statement up to its rows."""
    return f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({columns(model)})"
