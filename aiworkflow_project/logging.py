"""The request id: taken from a request or made, sent back, and written on every log line of the work it caused."""

import logging
import re
import uuid
from contextlib import contextmanager
from contextvars import ContextVar

SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_request_id: ContextVar[str] = ContextVar("request_id", default="-")


def current_request_id() -> str:
    return _request_id.get()


@contextmanager
def request_id(value: str):
    """Log lines inside the block carry `value`: the worker uses it for the job that a request submitted."""
    token = _request_id.set(value or "-")
    try:
        yield
    finally:
        _request_id.reset(token)


class RequestIdFilter(logging.Filter):
    def filter(self, record):
        # Django logs some answers when the request is already over, and hands it along.
        record.request_id = getattr(getattr(record, "request", None), "id", None) or current_request_id()
        return True


class RequestIdMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        given = request.headers.get("X-Request-ID", "")
        request.id = given if SANE.fullmatch(given) else uuid.uuid4().hex
        with request_id(request.id):
            response = self.get_response(request)
        response["X-Request-ID"] = request.id
        return response
