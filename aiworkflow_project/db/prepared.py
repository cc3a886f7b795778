"""Queries that are built and compiled once, and then only executed: for the few that every request makes.

Building a queryset and turning it into SQL costs Django several times what the database takes to answer it.
"""

import copy
import uuid
from datetime import UTC, datetime

from django.core.exceptions import EmptyResultSet
from django.db import connections


def _sample(kind: str, number: int):
    """A value that stands for one of a call while a query is compiled. No query of ours has it in it for good."""
    return {
        "UUIDField": uuid.UUID(f"c7f0a1de-5d3c-4a53-9b1e-7d2f3ab9e0{number:02x}"),
        "CharField": f"\ufdd1{number}",
        "DateTimeField": datetime(1789, 7, 14, 12, 34, 56, number, tzinfo=UTC),
    }[kind]


class Prepared:
    """`build(*values)` is a queryset in which each value, of the model field named in `fields`, occurs as a parameter.

    Its SQL must not depend on the values. Calling it with values gives the list of results.
    """

    def __init__(self, build, *fields):
        self._build, self._fields = build, fields
        self._compiled = {}  # by vendor

    def __call__(self, *values) -> list:
        compiled = self._of(connections["default"])
        if compiled is None:
            return []
        queryset, compiler, converters, sql, parameters, places = compiled
        connection = connections[queryset.db]
        parameters = list(parameters)
        for field, value, at in zip(self._fields, values, places, strict=True):
            for place in at:
                parameters[place] = field.get_db_prep_value(value, connection)
        # Of its own, for another thread may be in the midst of the other.
        compiler = copy.copy(compiler)
        compiler.connection, compiler.as_sql = connection, lambda *_, **__: (sql, tuple(parameters))
        compiler.get_converters = lambda _: converters
        queryset = queryset._chain()
        queryset.query.get_compiler = lambda *_, **__: compiler
        return list(queryset._iterable_class(queryset))

    def first(self, *values):
        """The first result, or None."""
        return next(iter(self(*values)), None)

    def _of(self, connection):
        if connection.vendor not in self._compiled:
            samples = [_sample(field.get_internal_type(), number) for number, field in enumerate(self._fields, 1)]
            queryset = self._build(*samples)
            compiler = queryset.query.get_compiler(using=queryset.db)
            try:
                sql, parameters = compiler.as_sql()
            except EmptyResultSet:  # nothing can be found, whatever the values
                return self._compiled.setdefault(connection.vendor, None)
            places = []
            for field, sample in zip(self._fields, samples, strict=True):
                stands = field.get_db_prep_value(sample, connection)
                places.append([place for place, value in enumerate(parameters) if value == stands])
            converters = compiler.get_converters([column[0] for column in compiler.select])
            self._compiled[connection.vendor] = queryset, compiler, converters, sql, parameters, places
        return self._compiled[connection.vendor]
