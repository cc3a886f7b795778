"""Queries and updates that are built and compiled once, and then only executed: for the few that are made all the time.

Building a queryset and turning it into SQL costs Django several times what the database takes to answer it.
"""

import uuid
from datetime import UTC, datetime
from typing import NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import connection, models
from django.db.models.query import ValuesIterable, get_related_populators
from django.db.models.sql import UpdateQuery


def _sample(kind: str, number: int):
    """A value that stands for one of a call while a query is compiled. No query of ours has it in it for good."""
    return {
        "UUIDField": uuid.UUID(int=0xC7F0A1DE5D3C4A539B1E7D2F3AB90000 + number),
        "CharField": f"\ufdd1{number}",
        "TextField": f"\ufdd1{number}",
        "DateTimeField": datetime(1789, 7, 14, 12, 34, 56, number, tzinfo=UTC),
        "FloatField": 1789.0714 + number,
        "PositiveIntegerField": 1_789_071_400 + number,
        "PositiveSmallIntegerField": 17_890 + number,
    }[kind]


def _samples(fields: tuple[models.Field, ...]) -> list:
    return [_sample(field.get_internal_type(), number) for number, field in enumerate(fields, 1)]


def _places(fields, samples, parameters) -> list[list[int]]:
    """Where among the parameters the value of each field stands."""
    stand = [field.get_db_prep_value(sample, connection) for field, sample in zip(fields, samples, strict=True)]
    return [[place for place, value in enumerate(parameters) if value == one] for one in stand]


def _with(values, fields, places, parameters) -> list:
    """The parameters with the values put in their places."""
    parameters = list(parameters)
    for field, value, at in zip(fields, values, places, strict=True):
        for place in at:
            parameters[place] = field.get_db_prep_value(value, connection)
    return parameters


def cursor():
    """A cursor for a statement that is executed again and again with the same text."""
    return connection.prepared_cursor() if connection.vendor == "postgresql" else connection.cursor()


def fixed(sql: str, parameters) -> tuple:
    """The same for `cursor()`, with its values in the text where a server that keeps it shall plan for just these."""
    if connection.vendor == "postgresql":
        return connection.ops.compose_sql(sql, parameters), None
    return sql, parameters


class Condition(NamedTuple):
    """What may stand in a WHERE."""

    sql: str
    parameters: list


class _Compiled:
    def __init__(self, build, *fields):
        self._build, self._fields = build, fields
        self._by_vendor = {}

    def _of_this_vendor(self):
        if connection.vendor not in self._by_vendor:
            self._by_vendor[connection.vendor] = self._compile(_samples(self._fields))
        return self._by_vendor[connection.vendor]


class Prepared(_Compiled):
    """`build(*values)` is a queryset in which each value, of the model field named in `fields`, occurs as a parameter.

    Its SQL must not depend on the values. Calling it with values gives the list of results.
    """

    def __call__(self, *values) -> list:
        compiled = self._of_this_vendor()
        if compiled is None:
            return []
        sql, parameters, places, converters, result = compiled
        if self._fields:
            parameters = _with(values, self._fields, places, parameters)
        with cursor() as found:
            found.execute(sql, parameters)
            rows = found.fetchall()
        return [result(_converted(row, converters)) for row in rows] if converters else list(map(result, rows))

    def first(self, *values):
        """The first result, or None."""
        return next(iter(self(*values)), None)

    def exists(self, *values) -> "Condition":
        """That there is a result, to be asked within another statement."""
        sql, parameters, places, *_ = self._of_this_vendor()
        return Condition(f"EXISTS ({sql})", _with(values, self._fields, places, parameters))

    def _compile(self, samples):
        queryset = self._build(*samples)
        compiler = queryset.query.get_compiler(using=connection.alias)
        try:
            sql, parameters = compiler.as_sql()
        except EmptyResultSet:  # nothing can be found, whatever the values
            return None
        places = _places(self._fields, samples, parameters)
        if not self._fields:
            sql, parameters = fixed(sql, parameters)
        converters = compiler.get_converters([column[0] for column in compiler.select])
        return sql, parameters, places, list(converters.items()), _reader(queryset, compiler)


def _converted(row, converters) -> list:
    row = list(row)
    for place, (steps, expression) in converters:
        for convert in steps:
            row[place] = convert(row[place], expression, connection)
    return row


def _reader(queryset, compiler):
    """What makes a result of a row, as Django's iterables of values and of models do."""
    if queryset._iterable_class is ValuesIterable:
        names = list(queryset.query.selected)
        return lambda row: dict(zip(names, row, strict=True))
    model, selected = compiler.klass_info["model"], compiler.klass_info["select_fields"]
    own = slice(selected[0], selected[-1] + 1)
    names = [column[0].target.attname for column in compiler.select[own]]
    annotated = compiler.annotation_col_map or {}
    related = get_related_populators(compiler.klass_info, compiler.select, connection.alias)

    def instance(row):
        found = model.from_db(connection.alias, names, row[own])
        for populator in related:
            populator.populate(row, found)
        for name, place in annotated.items():
            setattr(found, name, row[place])
        return found

    return instance


class PreparedUpdate(_Compiled):
    """`build(*values)` is a queryset and what of it is changed, each value as in `Prepared`, or None where the field
    may be.

    Calling it with values gives the number of rows that were changed.
    """

    def __call__(self, *values) -> int:
        sql, parameters, places = self._of_this_vendor()
        with cursor() as changed:
            changed.execute(sql, _with(values, self._fields, places, parameters))
            return changed.rowcount

    def _compile(self, samples):
        queryset, changes = self._build(*samples)
        query = queryset.query.chain(UpdateQuery)
        query.add_update_values(changes)
        sql, parameters = query.get_compiler(using=connection.alias).as_sql()
        return sql, parameters, _places(self._fields, samples, parameters)
