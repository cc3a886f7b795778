"""How new rows are written, by whatever statement."""

import uuid
from functools import cache
from types import NoneType

from django.db import connection, connections, models

# What these fields give to the database as it is. By the exact type: an Enum's member, say, is to be prepared.
_AS_IT_IS = {
    models.AutoField: int,
    models.BigAutoField: int,
    models.BooleanField: bool,
    models.CharField: str,
    models.DateTimeField: NoneType,
    models.FloatField: float,
    models.PositiveIntegerField: int,
    models.PositiveSmallIntegerField: int,
    models.UUIDField: uuid.UUID,
}


@cache
def written(model: type[models.Model]) -> tuple[models.Field, ...]:
    """The fields of a new row; a key that the database makes is not among them."""
    return tuple(field for field in model._meta.local_concrete_fields if not isinstance(field, models.AutoField))


def values(row: models.Model) -> list:
    """What the database is to be given for them."""
    database = connections[connection.alias]  # itself: the fields ask it a lot, and by proxy each time takes as long
    return [
        value
        if type(value := getattr(row, name)) in as_it_is
        else field.get_db_prep_save(field.pre_save(row, add=True), database)
        for field, name, as_it_is in _fields(type(row), database.vendor)
    ]


@cache
def _fields(model: type[models.Model], vendor: str) -> list[tuple[models.Field, str, frozenset[type]]]:
    return [(field, field.attname, plain(field, vendor)) for field in written(model)]


@cache
def plain(field: models.Field, vendor: str) -> frozenset[type]:
    """The types of values that need not be prepared for the database, which takes longer than to find out."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    if type(field) not in _AS_IT_IS:
        return frozenset()
    is_changed = isinstance(field, models.UUIDField) and vendor != "postgresql"
    is_refused = isinstance(field, models.AutoField) and vendor == "mysql"  # where it is 0
    return frozenset({NoneType} if is_changed or is_refused else {NoneType, _AS_IT_IS[type(field)]})


def columns(model: type[models.Model]) -> str:
    return ", ".join(connection.ops.quote_name(field.column) for field in written(model))


def insertion(model: type[models.Model]) -> str:
    """The statement up to its rows."""
    return f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({columns(model)})"
