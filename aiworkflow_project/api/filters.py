"""What a list may be narrowed by: filters that refuse what they don't understand."""

import re
from datetime import UTC, datetime

import django_filters
from django import forms
from django.core.exceptions import ValidationError as FormError
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ErrorDetail, ValidationError

from aiworkflow_project.api import ordering, pagination


class TimeField(forms.CharField):
    """An ISO 8601 time, as UTC. One without an offset is read in the server's time zone."""

    def to_python(self, value):
        # An unescaped "+" of an offset arrives as a blank.
        text = re.sub(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)$", r"\1+\2", value)
        try:
            time = datetime.fromisoformat(text)
            if time.tzinfo is None:
                time = timezone.make_aware(time)
            return time.astimezone(UTC)
        except (ValueError, OverflowError):
            raise FormError("Not an ISO 8601 time.", code="invalid") from None


class WordsField(forms.CharField):
    """One or several words, separated by commas; where it says `among`, nothing else."""

    def __init__(self, *, among=None, **options):
        self.among = among
        super().__init__(**options)

    def to_python(self, value):
        words = list(dict.fromkeys(word.strip() for word in value.split(",") if word.strip()))
        if not words:
            raise FormError("Name at least one.", code="required")
        for word in words:
            if self.among and word not in self.among:
                raise FormError(f"Choose from: {', '.join(self.among)}.", code="invalid_choice")
        return words

    def run_validators(self, value):
        super().run_validators(",".join(value))


class FlagField(forms.CharField):
    def to_python(self, value):
        flags = {"true": True, "1": True, "false": False, "0": False}
        if value.lower() not in flags:
            raise FormError("Must be true or false.", code="invalid")
        return flags[value.lower()]

    def run_validators(self, value):
        pass


@extend_schema_field(OpenApiTypes.DATETIME)
class TimeFilter(django_filters.Filter):
    field_class = TimeField


@extend_schema_field(OpenApiTypes.STR)
class WordsFilter(django_filters.Filter):
    field_class = WordsField


@extend_schema_field(OpenApiTypes.BOOL)
class FlagFilter(django_filters.Filter):
    field_class = FlagField


@extend_schema_field(OpenApiTypes.STR)
class TextFilter(django_filters.Filter):
    """`may_be_empty` is for texts to search for: the empty one is found everywhere."""

    field_class = forms.CharField

    def __init__(self, *args, may_be_empty=False, **options):
        super().__init__(*args, strip=False, **options)
        self.may_be_empty = may_be_empty


@extend_schema_field(OpenApiTypes.UUID)
class IdFilter(django_filters.Filter):
    field_class = forms.UUIDField


class StrictFilterSet(django_filters.FilterSet):
    """A FilterSet that builds only the filters that were asked for, each of which must then have a value.

    Copying every filter and form field for each request is what makes the library slow.
    """

    def __init__(self, data=None, queryset=None, *, request=None, prefix=None):
        declared, data = self.base_filters, data or {}
        self.base_filters = {name: declared[name] for name in declared if name in data}
        try:
            super().__init__(data, queryset, request=request, prefix=prefix)
        finally:
            del self.base_filters  # the class's own again
        for filter_ in self.filters.values():
            filter_.extra["required"] = not getattr(filter_, "may_be_empty", False)


def strangers(params, known) -> dict:
    """The errors of the parameters that are not `known`, or are given more than once."""
    wrong = {}
    for name in params:
        if name not in known:
            message = f"There is no such parameter. Known are: {', '.join(sorted(known))}."
            wrong[name] = [ErrorDetail(message, code="unknown")]
        elif len(params.getlist(name)) > 1:
            wrong[name] = [ErrorDetail("Given more than once.", code="repeated")]
    return wrong


def between(name: str, column: str) -> dict:
    """The two filters of a time column: `after` includes the instant, `before` excludes it."""
    return {
        f"{name}_after": TimeFilter(field_name=column, lookup_expr="gte", help_text="At this time or later."),
        f"{name}_before": TimeFilter(field_name=column, lookup_expr="lt", help_text="Before this time."),
    }


class StrictFilterBackend(DjangoFilterBackend):
    """Reads every parameter of a list (filters, order, page) and refuses all that are wrong at once.

    The view says `filterset_class`, and `ordering_choices` with `ordering_default` where it can be sorted.
    """

    def filter_queryset(self, request, queryset, view):
        params = request.query_params
        choices = getattr(view, "ordering_choices", None)
        wrong = {}
        filterset = self._filterset(request, queryset, view)
        known = {
            *pagination.NAMES,
            *(ordering.NAMES if choices else ()),
            *(filterset.base_filters if filterset else ()),
        }
        wrong |= strangers(params, known)
        if filterset and not filterset.is_valid():
            wrong |= translated(filterset.errors)
        order = None
        for read in self._readers(params, choices, view, queryset.model):
            try:
                order = read() or order
            except ValidationError as error:
                wrong |= error.detail
        if wrong:
            raise ValidationError(wrong)
        if filterset:
            queryset = filterset.qs
        return queryset.order_by(*order) if order else queryset

    @staticmethod
    def _readers(params, choices, view, model):
        yield lambda: pagination.read(params) and None
        if choices:
            yield lambda: ordering.read(params, choices, view.ordering_default, model)

    @staticmethod
    def _filterset(request, queryset, view):
        of_view = getattr(view, "filterset_class", None)
        return of_view(request.query_params, queryset, request=request) if of_view else None


def translated(errors) -> dict:
    """A form's errors as DRF tells them."""
    return {
        name: [ErrorDetail(message, code=problem.code or "invalid") for problem in problems.as_data()
               for message in problem.messages]
        for name, problems in errors.items()
    }  # fmt: skip
