"""Where inner names meet the wire: serializers that read and write by one table of names."""

import copy
from functools import cache
from operator import attrgetter

import orjson
from django.db.models import CharField as CharColumn
from django.db.models import DateTimeField as DateTimeColumn
from django.db.models import F, Func, TextField, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils.functional import cached_property
from rest_framework import serializers
from rest_framework.utils.serializer_helpers import BindingDict

from workflows.fields import AnyTextField, dump


class StrictCharField(serializers.CharField):
    """Text that came as text: a number or a boolean is a mistake, not a spelling."""

    def to_internal_value(self, data):
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class MomentField(serializers.DateTimeField):
    """A time that every time zone can tell: the calendar ends with the years 1 and 9999."""

    def to_internal_value(self, value):
        try:
            moment = super().to_internal_value(value)
        except OverflowError:
            self.fail("overflow")
        if not 1 < moment.year < 9999:
            self.fail("overflow")
        return moment


class RawJSON(Func):
    """A JSON text column as the text it is, to be put into the answer without parsing it first."""

    template = "%(expressions)s"

    def __init__(self, name: str):
        self.column = name
        super().__init__(F(name), output_field=TextField())

    def of(self, instance):
        value = getattr(instance, self.column)
        return None if value is None else orjson.Fragment(dump(value))


class OrNull(NullIf):
    """A text column whose emptiness is null on the wire."""

    def __init__(self, name: str):
        self.column = name
        super().__init__(F(name), Value(""), output_field=AnyTextField())

    def of(self, instance):
        return getattr(instance, self.column) or None


class OrFalse(Coalesce):
    """A flag's column that is null until it is set."""

    def __init__(self, name: str):
        self.column = name
        super().__init__(F(name), False)

    def of(self, instance):
        return bool(getattr(instance, self.column))


class WireSerializer(serializers.ModelSerializer):
    """A serializer whose `Meta.wire` maps each wire name to the inner name, or to an expression for reading, whose
    `of` tells the same of an instance.

    It validates what comes in. What goes out is selected under its wire name by the database (`rows`), which
    costs a third of what serializing model instances does; the fields then only document it. Fields that the
    model can't describe are declared as usual; their source is filled in from the table.
    """

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        CharColumn: StrictCharField,
        DateTimeColumn: MomentField,
        TextField: StrictCharField,
    }

    @classmethod
    def rows(cls, queryset):
        """`queryset` as dictionaries by wire name."""
        plain = [name for name, inner in cls.Meta.wire.items() if name == inner]
        renamed = {
            name: F(inner) if isinstance(inner, str) else inner
            for name, inner in cls.Meta.wire.items()
            if name != inner
        }
        return queryset.values(*plain, **renamed)

    @classmethod
    def answer(cls, rows) -> list[dict]:
        """Rows made ready for the renderer: raw JSON goes out as it is stored."""
        raw = [name for name, inner in cls.Meta.wire.items() if isinstance(inner, RawJSON)]
        rows = list(rows)
        for row in rows if raw else ():
            for name in raw:
                if row[name] is not None:
                    row[name] = orjson.Fragment(row[name])
        return rows

    @classmethod
    def row_of(cls, instance) -> dict:
        """What `answer` would tell of an instance that was just saved, without asking the database again."""
        return {name: read(instance) for name, read in cls._readers()}

    # Made once for each class: to make these for each request takes longer than to read its body.

    @classmethod
    @cache
    def _readers(cls) -> list:
        return [
            (name, attrgetter(inner.replace("__", ".")) if isinstance(inner, str) else inner.of)
            for name, inner in cls.Meta.wire.items()
        ]

    @classmethod
    @cache
    def _read_off(cls) -> dict:
        return super(WireSerializer, cls()).get_fields()

    @classmethod
    @cache
    def _fields_of_new_rows(cls) -> BindingDict:
        owner = cls(data={})
        fields = BindingDict(owner)
        for name, field in owner.get_fields().items():
            fields[name] = field
        return fields

    @classmethod
    @cache
    def _validators_read_off(cls) -> list:
        return super(WireSerializer, cls()).get_validators()

    def get_field_names(self, declared_fields, info):
        return list(self.Meta.wire)

    def get_extra_kwargs(self):
        given = super().get_extra_kwargs()
        for name, inner in self.Meta.wire.items():
            if isinstance(inner, str) and inner != name:
                given.setdefault(name, {})["source"] = inner
        return given

    @cached_property
    def fields(self):
        """To read the body of a new row, the same fields for all: nothing of a body stays in them, nor do they ask
        whose they are."""
        if not hasattr(self, "initial_data") or self.partial or self.instance is not None:
            return super().fields
        return self._fields_of_new_rows()

    def get_fields(self):
        reads = hasattr(self, "initial_data")  # then those that are only shown are of no use
        fields = {
            name: copy.deepcopy(field) for name, field in self._read_off().items() if not (reads and field.read_only)
        }
        for name in self._declared_fields.keys() & fields.keys():
            inner = self.Meta.wire[name]
            if isinstance(inner, str) and inner != name:
                fields[name].source = inner.replace("__", ".")
        return fields

    def get_validators(self):
        return list(self._validators_read_off())

    def to_internal_value(self, data):
        """Refuses what has no name here. Read-only names are let pass: clients send back what they were given."""
        value, wrong = {}, {}
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            wrong = error.detail
        if isinstance(data, dict):
            for name in data.keys() - self.Meta.wire.keys():
                wrong[str(name)] = [serializers.ErrorDetail("There is no such field.", code="unknown")]
        if wrong:
            raise serializers.ValidationError(wrong)
        return value
