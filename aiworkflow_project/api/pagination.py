"""Pages of a list: by `limit` and `offset`, or by `cursor`; refused when out of range and never clamped."""

import re
from dataclasses import dataclass

from django.db.models import Count, Value, Window
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from aiworkflow_project.api.cursors import Order
from aiworkflow_project.db.counts import COUNT_AT_MOST, Counting
from aiworkflow_project.db.prepared import Prepared
from aiworkflow_project.db.steering import counts_on_its_way, steered

BY_OFFSET = ("limit", "offset")
NAMES = (*BY_OFFSET, "cursor", "count")
DEFAULT, MOST = 100, 1000
_FOUND = "rows_found"  # a column that no row of a list has
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


class Listing:
    """A page of a queryset as it was asked for, with its SQL compiled, to be read as often as it is asked for."""

    def __init__(self, queryset, wire, asked: Asked, within: str | None = None):
        """`within` is for tables that grow long: the column that their indexes begin with, see `db.steering`."""
        self.asked, self.wire = asked, wire
        self.order = Order(queryset, wire.Meta.wire)
        self.counting = Counting(queryset)
        self.backward, parts, first = False, [queryset], asked.offset
        if asked.cursor:
            place, self.backward = self.order.read(asked.cursor)
            parts = self.order.beyond(queryset, place, backward=self.backward)
        if within:
            names = [column.name for column in self.order.columns]
            parts = [some for part in parts for some in steered(part, names, within, in_parts=first <= MOST)]
        last = first + asked.limit + 1  # one more than the page, to see whether it is the last
        self._skip = first if len(parts) > 1 else 0  # how many of which part, nobody knows
        first -= self._skip
        self._counts = not asked.cursor and counts_on_its_way(parts)
        self._parts = [Prepared(lambda part=part: self._rows(part)[first:last]) for part in parts]

    def _rows(self, part):
        rows = self.wire.rows(part)
        return rows.annotate(**{_FOUND: Window(Count(Value(1)))}) if self._counts else rows

    def read(self) -> tuple[list[dict], bool, int | None]:
        """The rows of the page in the list's order, and whether there are more behind (before it, if `backward`).

        And how many rows the list has, where that was seen on the way.
        """
        rows, skip, last, found = [], self._skip, self._skip + self.asked.limit, None
        for part in self._parts:
            if len(rows) <= last:
                rows += part()
        if self._counts:
            for row in rows:
                found = row.pop(_FOUND)
        page = rows[skip:last]
        return page[::-1] if self.backward else page, len(rows) > last, found


class Pagination(BasePagination):
    """DRF's envelope, with a count that costs a bounded query, and none where the page itself tells it.

    `next` and `previous` are by offset on pages by offset, as far as offsets are quick, and by cursor beyond.
    """

    def paginate_queryset(self, queryset: list, request, view=None) -> list:
        """A page of a plain list. Querysets are read as a Listing, see `paginate`."""
        asked = read(request.query_params)
        self._begin(request, asked)
        self._link_by_offset(more=asked.offset + asked.limit < len(queryset))
        self.count = len(queryset)
        return queryset[asked.offset : asked.offset + asked.limit]

    def paginate(self, listing: Listing, request) -> list[dict]:
        """The rows of the page, as the listing's WireSerializer tells them."""
        self._begin(request, listing.asked)
        page, more, found = listing.read()
        if self.asked.cursor is None:
            self._link_from_offset(listing, page, more)
        else:
            self._link_from_cursor(listing, page, more)
        self._count(listing.counting, page, more, found)
        return listing.wire.answer(page)

    def _begin(self, request, asked: Asked) -> None:
        self.request, self.asked = request, asked
        self.next = self.previous = None
        self.is_estimated = False

    def _link_from_offset(self, listing: Listing, page: list, more: bool) -> None:
        beyond = more and self.asked.offset + self.asked.limit > CURSORS_FROM
        self._link_by_offset(more and not beyond)
        if beyond:
            self.next = self._at_cursor(listing.order, page[-1], backward=False)

    def _link_from_cursor(self, listing: Listing, page: list, more: bool) -> None:
        if page and (more or listing.backward):
            self.next = self._at_cursor(listing.order, page[-1], backward=False)
        if page and (more if listing.backward else self.asked.cursor):
            self.previous = self._at_cursor(listing.order, page[0], backward=True)

    def _count(self, counting: Counting, page: list, more: bool, found: int | None) -> None:
        asked = self.asked
        if found is not None and found <= COUNT_AT_MOST:
            self.count = found
        elif not more and not asked.cursor and (page or not asked.offset):
            self.count = asked.offset + len(page)
        elif asked.exact:
            self.count = counting.exact()
        else:
            counted = counting.capped()
            self.is_estimated = counted.more
            self.count = counting.estimated() if counted.more else counted.number

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

    def _at_cursor(self, order: Order, row: dict, *, backward: bool) -> str:
        address = remove_query_param(self.request.build_absolute_uri(), "offset")
        address = replace_query_param(address, "limit", self.asked.limit)
        return replace_query_param(address, "cursor", order.write(order.place_of(row), backward=backward))

    def get_paginated_response_schema(self, schema):
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["count", "count_is_estimated_flag", "next", "previous", "results"],
            "properties": {
                "count": {"type": "integer"},
                "count_is_estimated_flag": {
                    "type": "boolean",
                    "description": f"There are more than {COUNT_AT_MOST}, and `count` is no exact number.",
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
