"""The order of a list: `order_by` names a field, `order` a direction, and the id breaks ties."""

from django.db.models import F
from rest_framework.exceptions import ErrorDetail, ValidationError

NAMES = ("order_by", "order")


def read(params, choices: dict[str, str], default: str, model) -> list:
    """The arguments for `QuerySet.order_by`. `choices` maps wire names to inner ones; `default` is a wire name.

    What has no value is the least of all, on every database. Raises ValidationError with every parameter that is wrong.
    """
    wrong = {}
    order_by = params.get("order_by", default)
    if order_by not in choices:
        wrong["order_by"] = [ErrorDetail(f"Choose one of: {', '.join(choices)}.", code="invalid_choice")]
    order = params.get("order", "desc")
    if order not in ("asc", "desc"):
        wrong["order"] = [ErrorDetail("Choose one of: asc, desc.", code="invalid_choice")]
    if wrong:
        raise ValidationError(wrong)
    name, sign = choices[order_by], "-" if order == "desc" else ""
    if not model._meta.get_field(name).null:  # said of these, it would keep PostgreSQL from its index
        return [sign + name, sign + "pk"]
    return [F(name).desc(nulls_last=True) if sign else F(name).asc(nulls_first=True), sign + "pk"]


def describe(choices: dict[str, str], default: str) -> list[dict]:
    """The two parameters, for the OpenAPI document."""
    return [
        {
            "name": "order_by",
            "in": "query",
            "description": "What to sort by; `id` breaks ties.",
            "schema": {"type": "string", "enum": list(choices), "default": default},
        },
        {
            "name": "order",
            "in": "query",
            "description": "Which way to sort.",
            "schema": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
        },
    ]
