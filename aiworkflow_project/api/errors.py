"""How errors leave: one table from what went wrong to an answer, and `application/problem+json` for all of them."""

import logging
from http import HTTPStatus

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.db.models import ProtectedError
from django.http import HttpResponse, UnreadablePostError
from drf_standardized_errors.formatter import ExceptionFormatter, flatten_errors
from drf_standardized_errors.handler import ExceptionHandler as BaseHandler
from rest_framework import exceptions

from aiworkflow_project.api.renderers import dump
from aiworkflow_project.logging import current_request_id
from jobs.models import InvalidTransition, Job
from jobs.services import InactiveWorkflow
from workflows import engine
from workflows.services import NameTaken, PipelineRefused

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Conflict(exceptions.APIException):
    status_code = 409
    default_detail = "The request does not fit the present state of things."
    default_code = "conflict"


class TooLarge(exceptions.APIException):
    status_code = 413
    default_detail = "The body is larger than this server takes."
    default_code = "payload_too_large"


class Unavailable(exceptions.APIException):
    status_code = 503
    default_detail = "The service can't do this right now. Try again in a moment."
    default_code = "unavailable"
    wait = 2  # seconds, sent as Retry-After


class Refused(exceptions.ValidationError):
    """Bad input whose errors carry more than field, code and detail: a line, a column, a path."""

    def __init__(self, errors: list[dict]):
        super().__init__(detail=[error["detail"] for error in errors])
        self.errors = errors


def field_errors(detail) -> list[dict]:
    """A serializer's errors as the API tells them."""
    return [{"field": error.attr, "code": error.code, "detail": error.detail} for error in flatten_errors(detail)]


def pipeline_errors(problems, severity: str) -> list[dict]:
    """What is wrong with YAML, as the API tells it."""
    return [
        {
            "field": "hs_yaml_content",
            "code": problem.code,
            "detail": problem.message,
            "path": problem.path,
            "line": problem.line,
            "column": problem.column,
        }
        for problem in problems
        if problem.severity == severity
    ]


def trigger_data_errors(error: engine.TriggerDataRefused) -> list[dict]:
    return [
        {"field": "trigger_data_json", "code": problem.code, "detail": problem.message, "path": problem.path}
        for problem in error.problems
    ]


def _one(field: str, code: str, error: Exception) -> Refused:
    return Refused([{"field": field, "code": code, "detail": str(error)}])


# In this order: the first that fits.
TABLE = [
    (PipelineRefused, lambda error: Refused(pipeline_errors(error.problems, "error"))),
    (engine.TriggerDataRefused, lambda error: Refused(trigger_data_errors(error))),
    (NameTaken, lambda error: _one("name_str", "unique", error)),
    (InactiveWorkflow, lambda error: _one("ai_workflow_def_id", "inactive", error)),
    (Job.DoesNotExist, lambda error: exceptions.NotFound()),  # it was deleted since the view had found it
    (InvalidTransition, lambda error: Conflict(str(error), "invalid_transition")),
    (
        (engine.RunnerUnavailable, engine.RunnerLost),
        lambda error: Unavailable("No runner can check pipelines right now.", "no_runner"),
    ),
    (ProtectedError, lambda error: Conflict("It is in use.", "in_use")),
    (IntegrityError, lambda error: Conflict("Somebody changed the same thing at the same time.", "conflict")),
    (DataError, lambda error: exceptions.ParseError("A value does not fit into the database.")),
    ((OperationalError, InterfaceError), lambda error: Unavailable("The database can't be used right now.")),
    (RequestDataTooBig, lambda error: TooLarge()),
    ((UnreadablePostError, SuspiciousOperation), lambda error: exceptions.ParseError("The request can't be read.")),
]


def as_answer(error: Exception) -> exceptions.APIException | None:
    """What the table makes of an error of ours, or None when it does not know it."""
    for kind, convert in TABLE:
        if isinstance(error, kind):
            return convert(error)
    return None


class ExceptionHandler(BaseHandler):
    """Turns whatever a view raised into a problem document."""

    def convert_known_exceptions(self, exc):
        if isinstance(exc, (OperationalError, InterfaceError, IntegrityError, DataError)):
            logger.warning("The database refused: %s", exc, exc_info=exc)
        return as_answer(exc) or super().convert_known_exceptions(exc)

    def get_response(self, exc, data):
        # Not DRF's Response: a problem is a problem, whatever the client would rather accept.
        return HttpResponse(dump(data), status=data["status"], content_type=MEDIA_TYPE, headers=self.get_headers(exc))

    def report_exception(self, exc, response):
        if not isinstance(exc, Unavailable):  # that one is expected; only surprises are errors of ours
            super().report_exception(exc, response)


class ProblemFormatter(ExceptionFormatter):
    def run(self):
        code = self._code()
        if isinstance(self.exc, exceptions.ValidationError):
            return problem(400, code="validation_failed", detail="The input is not valid.", errors=self._errors())
        if self.exc.status_code == 500:
            return problem(500, code="server_error", detail="Something went wrong here. It has been logged.")
        return problem(self.exc.status_code, code=code, detail=self._detail())

    def _code(self) -> str:
        codes = self.exc.get_codes()
        return codes if isinstance(codes, str) else self.exc.default_code

    def _detail(self) -> str:
        detail = self.exc.detail
        if isinstance(detail, dict):
            detail = detail.get("detail", self.exc.default_detail)
        return str(detail)

    def _errors(self) -> list[dict]:
        if isinstance(self.exc, Refused):
            return self.exc.errors
        return field_errors(self.exc.detail)


def problem(status: int, *, code: str, detail: str, **more) -> dict:
    """An RFC 9457 problem document. `about:blank` says that the title is the status's own."""
    title = HTTPStatus(status).phrase
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": current_request_id(),
        **more,
    }


def problem_response(status: int, *, code: str, detail: str) -> HttpResponse:
    return HttpResponse(dump(problem(status, code=code, detail=detail)), status=status, content_type=MEDIA_TYPE)


PLAIN = {
    400: ("bad_request", "The request can't be read."),
    403: ("permission_denied", "You may not do this."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("payload_too_large", TooLarge.default_detail),
    500: ("server_error", "Something went wrong here. It has been logged."),
}


class ProblemMiddleware:
    """Makes a problem document of every error under /api that was answered before or beside the views.

    Such are the unknown path, a refused Host, and, with DEBUG on, Django's page for developers.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        if response.status_code < 400 or not request.path_info.startswith("/api/"):
            return response
        if response.get("Content-Type") == MEDIA_TYPE:
            return response
        code, detail = PLAIN.get(response.status_code, ("error", HTTPStatus(response.status_code).phrase))
        if response.streaming:
            return problem_response(response.status_code, code=code, detail=detail)
        # In place: the headers that other middleware set stay.
        response.content = dump(problem(response.status_code, code=code, detail=detail))
        response["Content-Type"] = MEDIA_TYPE
        response["Content-Length"] = str(len(response.content))
        return response
