"""What the OpenAPI document says beyond what can be read off the views."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema as SpectacularSchema
from drf_spectacular.utils import OpenApiParameter

from aiworkflow_project.api import ordering
from aiworkflow_project.api.errors import MEDIA_TYPE

PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Every field or parameter that is wrong.",
            "items": {
                "type": "object",
                "required": ["field", "code", "detail"],
                "properties": {
                    "field": {"type": ["string", "null"]},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                    "path": {"type": "string", "description": "Where in the YAML or in the trigger data."},
                    "line": {"type": ["integer", "null"]},
                    "column": {"type": ["integer", "null"]},
                },
            },
        },
    },
}
PROBLEM_ANSWER = {
    "description": "What went wrong.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Makes it safe to send this again: the second time nothing is created, and the first answer is given "
    "once more, with `Idempotency-Replayed: true`. Kept for a day. With another body: 422.",
)
PREFER_WAIT = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description="`wait=N`: answer when the job is over, or after N seconds as it is then. N is at most 25.",
)


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "aiworkflow_project.api.authentication.BearerAuthentication"
    name = "bearer"
    priority = 1

    def get_security_definition(self, auto_schema):
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token of `/api/v1/auth/token`, or an API key (`aiwf_…`).",
        }


class AutoSchema(SpectacularSchema):
    """Adds the order parameters of sorted lists, and the problem document that any operation may answer with."""

    def get_override_parameters(self):
        choices = getattr(self.view, "ordering_choices", None)
        if choices and self._is_list_view():
            return [*super().get_override_parameters(), *self._ordering(choices)]
        return super().get_override_parameters()

    def _ordering(self, choices):
        return [
            OpenApiParameter(
                parameter["name"],
                type=str,
                enum=parameter["schema"]["enum"],
                default=parameter["schema"]["default"],
                description=parameter["description"],
            )
            for parameter in ordering.describe(choices, self.view.ordering_default)
        ]

    def get_operation(self, *args, **kwargs):
        operation = super().get_operation(*args, **kwargs)
        if operation:
            operation["responses"].setdefault("default", PROBLEM_ANSWER)
        return operation


def one_address_each(endpoints):
    """Each address is served with and without a trailing slash, and told of once, without."""
    return [endpoint for endpoint in endpoints if not endpoint[0].endswith("/")]


def add_problem(result, generator, request, public):
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
    return result
