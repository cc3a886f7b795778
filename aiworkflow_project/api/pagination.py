"""Pages of a list: by `limit` and `offset`, or by `cursor`; refused when out of range and never clamped."""

import re
from dataclasses import dataclass

from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from aiworkflow_project.api.cursors import Order
from aiworkflow_project.db import counts

BY_OFFSET = ("limit", "offset")
NAMES = (*BY_OFFSET, "cursor", "count")
DEFAULT, MOST = 100, 1000
LAST_OFFSET = 2**63 - 1 - MOST  # what every database can count to
CURSORS_FROM = 10_000  # to skip so many rows takes long enough that `next` is a cursor instead


@dataclass(frozen=True)
class Asked:
    """What was asked for. `cursor` is None without one, and empty for the first page by cursor."""

    limit: int
    offset: int
    cursor: str | None
    exact: bool


def read(params) -> Asked:
    """What the parameters ask for. Raises ValidationError with every parameter that is wrong."""
    wrong = {}
    limit = _number(params, "limit", DEFAULT, 1, MOST, wrong)
    offset = _number(params, "offset", 0, 0, LAST_OFFSET, wrong)
    if "cursor" in params and "offset" in params:
        wrong["cursor"] = [ErrorDetail("Give a cursor or an offset, not both.", code="invalid")]
    if params.get("count", "exact") != "exact":
        wrong["count"] = [ErrorDetail("The only choice is: exact.", code="invalid_choice")]
    if wrong:
        raise ValidationError(wrong)
    return Asked(limit, offset, params.get("cursor"), "count" in params)


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
    """DRF's envelope, with a count that costs a bounded query, and none where the page itself tells it.

    `next` and `previous` are by offset on pages by offset, as far as offsets are quick, and by cursor beyond.
    """

    def paginate_queryset(self, queryset, request, view=None):
        """The rows of the page, as the view's WireSerializer tells them. A plain list is paged as it is."""
        self.request, self.asked = request, read(request.query_params)
        self.next = self.previous = None
        if isinstance(queryset, list):
            return self._of_list(queryset)
        wire = view.get_serializer_class()
        self.order = Order(queryset, wire.Meta.wire)
        if self.asked.cursor is None:
            page, more = self._by_offset(wire.rows(queryset))
        else:
            page, more = self._by_cursor(queryset, wire)
        self._count(queryset, page, more)
        return wire.answer(page)

    def _of_list(self, rows: list) -> list:
        limit, offset = self.asked.limit, self.asked.offset
        self._link_by_offset(more=offset + limit < len(rows))
        self.count, self.is_estimated = len(rows), False
        return rows[offset : offset + limit]

    def _by_offset(self, rows) -> tuple[list, bool]:
        limit, offset = self.asked.limit, self.asked.offset
        page = list(rows[offset : offset + limit + 1])
        more, page = len(page) > limit, page[:limit]
        if more and offset + limit > CURSORS_FROM:
            self.next = self._at_cursor(page[-1], backward=False)
            self._link_by_offset(more=False)
        else:
            self._link_by_offset(more)
        return page, more

    def _by_cursor(self, queryset, wire) -> tuple[list, bool]:
        limit, backward = self.asked.limit, False
        parts = [queryset]
        if self.asked.cursor:
            place, backward = self.order.read(self.asked.cursor)
            parts = self.order.beyond(queryset, place, backward=backward)
        page = []
        for part in parts:
            if len(page) <= limit:
                page += wire.rows(part)[: limit + 1 - len(page)]
        more, page = len(page) > limit, page[:limit]
        if backward:
            page.reverse()
        if page and (more or backward):
            self.next = self._at_cursor(page[-1], backward=False)
        if page and (more if backward else self.asked.cursor):
            self.previous = self._at_cursor(page[0], backward=True)
        return page, more

    def _count(self, queryset, page: list, more: bool) -> None:
        """Of the queryset, not of the rows: these join tables that don't change the number."""
        asked, self.is_estimated = self.asked, False
        if not more and not asked.cursor and (page or not asked.offset):
            self.count = asked.offset + len(page)
        elif asked.exact:
            self.count = queryset.order_by().count()
        else:
            counted = counts.capped(queryset)
            self.is_estimated = counted.more
            self.count = counts.estimated(queryset) if counted.more else counted.number

    def get_paginated_response(self, data):
        return Response(
            {
                "count": self.count,
                "count_is_estimated_flag": self.is_estimated,
                "next": self.next,
                "previous": self.previous,
                "results": data,
            }
        )

    def _link_by_offset(self, more: bool) -> None:
        limit, offset = self.asked.limit, self.asked.offset
        if more:
            self.next = self._at_offset(offset + limit)
        if offset:
            self.previous = self._at_offset(max(offset - limit, 0))

    def _at_offset(self, offset: int) -> str:
        address = replace_query_param(self.request.build_absolute_uri(), "limit", self.asked.limit)
        if offset:
            return replace_query_param(address, "offset", offset)
        return remove_query_param(address, "offset")

    def _at_cursor(self, row: dict, *, backward: bool) -> str:
        address = remove_query_param(self.request.build_absolute_uri(), "offset")
        address = replace_query_param(address, "limit", self.asked.limit)
        return replace_query_param(address, "cursor", self.order.write(self.order.place_of(row), backward=backward))

    def get_paginated_response_schema(self, schema):
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["count", "count_is_estimated_flag", "next", "previous", "results"],
            "properties": {
                "count": {"type": "integer"},
                "count_is_estimated_flag": {
                    "type": "boolean",
                    "description": f"There are more than {counts.COUNT_AT_MOST}, and `count` is no exact number.",
                },
                "next": link,
                "previous": link,
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view):
        by_offset = [
            _parameter("limit", "How many rows to return.", type="integer", minimum=1, maximum=MOST, default=DEFAULT),
            _parameter("offset", "How many rows to skip.", type="integer", minimum=0, default=0),
        ]
        if not view.filter_backends:  # a plain list
            return by_offset
        return [
            *by_offset,
            _parameter("cursor", "Out of `next` or `previous`; empty for the first page by cursor.", type="string"),
            _parameter("count", "`exact` counts all, however long it takes.", type="string", enum=["exact"]),
        ]


def _parameter(name: str, description: str, **schema) -> dict:
    return {"name": name, "in": "query", "description": description, "schema": schema}
