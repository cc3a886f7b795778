"""How API addresses are written: each answers with and without a trailing slash."""

import uuid
from functools import cache

from django.urls import path, reverse

_ANY = uuid.UUID(int=0)


def route(address: str, view, name: str) -> list:
    """Two patterns for one address. Redirecting one to the other would lose the body of a POST."""
    return [path(address, view, name=name), path(address + "/", view)]


def location(request, name: str, pk) -> str:
    """The absolute address of what a request made: of the route that is called so, which ends in an id."""
    return f"{request.scheme}://{request.get_host()}{_all_but_the_id(name)}{pk}"


@cache  # the rest is always the same, and `reverse` takes as long as a query
def _all_but_the_id(name: str) -> str:
    return reverse(name, args=[_ANY]).removesuffix(str(_ANY))
