"""Pages of a list: `limit` and `offset`, refused when out of range and never clamped."""

import re

from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

NAMES = ("limit", "offset")
DEFAULT, MOST = 100, 1000
LAST_OFFSET = 2**63 - 1 - MOST  # what every database can count to


def read(params) -> tuple[int, int]:
    """Limit and offset. Raises ValidationError with every parameter that is wrong."""
    wrong = {}
    limit = _number(params, "limit", DEFAULT, 1, MOST, wrong)
    offset = _number(params, "offset", 0, 0, LAST_OFFSET, wrong)
    if wrong:
        raise ValidationError(wrong)
    return limit, offset


def _number(params, name: str, default: int, least: int, most: int, wrong: dict) -> int:
    text = params.get(name, str(default))
    if not re.fullmatch(r"-?[0-9]+", text, re.ASCII):
        wrong[name] = [ErrorDetail("A whole number is required.", code="invalid")]
        return default
    # Python refuses to read thousands of digits; twenty are out of range as well.
    number = int(text[:20])
    if not least <= number <= most:
        wrong[name] = [ErrorDetail(f"Must be between {least} and {most}.", code="out_of_range")]
        return default
    return number


class Pagination(BasePagination):
    """DRF's envelope, with a count that costs a query only where the page itself doesn't tell it."""

    def paginate_queryset(self, queryset, request, view=None):
        """The rows of the page, as the view's WireSerializer tells them. A plain list is paged as it is."""
        self.request = request
        self.limit, self.offset = read(request.query_params)
        wire = None if isinstance(queryset, list) else view.get_serializer_class()
        rows = wire.rows(queryset) if wire else queryset
        page = list(rows[self.offset : self.offset + self.limit])
        if len(page) < self.limit and (page or self.offset == 0):
            self.count = self.offset + len(page)
        else:
            # Of the queryset, not of the rows: these join tables that don't change the number.
            self.count = queryset.count() if wire else len(queryset)
        return wire.answer(page) if wire else page

    def get_paginated_response(self, data):
        return Response({"count": self.count, "next": self._next(), "previous": self._previous(), "results": data})

    def _next(self):
        if self.offset + self.limit >= self.count:
            return None
        return self._at(self.offset + self.limit)

    def _previous(self):
        return self._at(max(self.offset - self.limit, 0)) if self.offset else None

    def _at(self, offset):
        address = self.request.build_absolute_uri()
        address = replace_query_param(address, "limit", self.limit)
        if offset:
            return replace_query_param(address, "offset", offset)
        return remove_query_param(address, "offset")

    def get_paginated_response_schema(self, schema):
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["count", "next", "previous", "results"],
            "properties": {"count": {"type": "integer"}, "next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view):
        return [
            {
                "name": "limit",
                "in": "query",
                "description": "How many rows to return.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT},
            },
            {
                "name": "offset",
                "in": "query",
                "description": "How many rows to skip.",
                "schema": {"type": "integer", "minimum": 0, "default": 0},
            },
        ]
