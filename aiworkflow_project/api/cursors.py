"""Cursors: a place in a list, told by the values of the row there, so that no row before it has to be counted."""

from dataclasses import dataclass

from django.core import signing
from django.db.models import BooleanField, Func, Value
from django.db.models.expressions import F
from rest_framework.exceptions import ErrorDetail, ValidationError

from aiworkflow_project.db.steering import as_order

_signer = signing.Signer(salt="aiworkflow.cursor")


class Beyond(Func):
    """Whether a row lies behind `values` in the order of `columns`, all of which rise, or fall with `descending`."""

    output_field = BooleanField()

    def __init__(self, columns: list[F], values: list[Value], *, descending: bool):
        super().__init__(*columns, *values)
        self.sign = "<" if descending else ">"

    def as_sql(self, compiler, connection, **_):
        columns, values, parameters = self._compiled(compiler)
        return f"({', '.join(columns)}) {self.sign} ({', '.join(values)})", parameters

    def as_mysql(self, compiler, connection, **_):
        """Spelled out: MariaDB finds no index for a comparison of rows."""
        columns, values, parameters = self._compiled(compiler)
        sql, used = f"{columns[-1]} {self.sign} {values[-1]}", [parameters[-1]]
        for column, value, parameter in reversed(list(zip(columns[:-1], values[:-1], parameters[:-1], strict=True))):
            sql = f"({column} {self.sign} {value} OR ({column} = {value} AND {sql}))"
            used = [parameter, parameter, *used]
        return sql, used

    def _compiled(self, compiler):
        parts = [compiler.compile(part) for part in self.source_expressions]
        half = len(parts) // 2
        sqls = [sql for sql, _ in parts]
        return sqls[:half], sqls[half:], [one for _, parameters in parts for one in parameters]


@dataclass(frozen=True)
class Column:
    """One column of an order. `wire` is its name in the rows of an answer."""

    name: str
    wire: str
    field: object


class Order:
    """The order of a queryset whose columns are all on the wire, all rise or all fall, and end in a unique one.

    Only the first may be null; a null is less than every value, as in `ordering`.
    """

    def __init__(self, queryset, wire: dict):
        named = {inner: name for name, inner in wire.items() if isinstance(inner, str)}
        self.columns, falls = [], set()
        for part in queryset.query.order_by:
            part = as_order(part)
            name = part.expression.name
            name = queryset.model._meta.pk.name if name == "pk" else name
            self.columns.append(Column(name, named[name], queryset.model._meta.get_field(name)))
            falls.add(part.descending)
        [self.descending] = falls
        self.name = f"{'-' if self.descending else ''}{','.join(column.wire for column in self.columns)}"

    def place_of(self, row: dict) -> list:
        return [row[column.wire] for column in self.columns]

    def write(self, place: list, *, backward: bool) -> str:
        """The cursor that stands behind (or before) the row at `place`."""
        return _signer.sign_object([self.name, int(backward), [_as_json(value) for value in place]])

    def read(self, cursor: str) -> tuple[list, bool]:
        """The place that a cursor tells, and whether it looks backward. Raises ValidationError."""
        try:
            name, backward, told = _signer.unsign_object(cursor)
        except (signing.BadSignature, ValueError):
            raise _refused("Not a cursor of this server: take one from `next` or `previous`.", "invalid") from None
        if name != self.name:
            raise _refused("This cursor belongs to another order of the list.", "other_order")
        return [column.field.to_python(value) for column, value in zip(self.columns, told, strict=True)], bool(backward)

    def beyond(self, queryset, place: list, *, backward: bool) -> list:
        """What lies behind `place` (before it, if `backward`), nearest first, as one or two querysets to be joined.

        Two where nulls are among the values: with an OR between them no index would be read in its order.
        """
        descending = self.descending != backward
        queryset = queryset.reverse() if backward else queryset
        first, value = self.columns[0], place[0]
        if not first.field.null:
            return [queryset.filter(self._compared(self.columns, place, descending))]
        nulls, others = queryset.filter(**{first.name: None}), queryset.exclude(**{first.name: None})
        if value is None:
            rest = nulls.filter(self._compared(self.columns[1:], place[1:], descending))
            return [rest] if descending else [rest, others]
        rest = others.filter(self._compared(self.columns, place, descending))
        return [rest, nulls] if descending else [rest]

    @staticmethod
    def _compared(columns, place, descending) -> Beyond:
        values = [Value(value, output_field=column.field) for column, value in zip(columns, place, strict=True)]
        return Beyond([F(column.name) for column in columns], values, descending=descending)


def _as_json(value):
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _refused(message: str, code: str) -> ValidationError:
    return ValidationError({"cursor": [ErrorDetail(message, code=code)]})
