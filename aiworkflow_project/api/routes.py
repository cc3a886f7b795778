"""How API addresses are written: each answers with and without a trailing slash."""

from django.urls import path


def route(address: str, view, name: str) -> list:
    """Two patterns for one address. Redirecting one to the other would lose the body of a POST."""
    return [path(address, view, name=name), path(address + "/", view)]
