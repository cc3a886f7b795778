"""Haystack's filters on stored documents: told wrong before any is read, narrowed by SQL, decided by Haystack."""

import json
import re
from datetime import date, datetime
from typing import Any

from haystack import Document
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter

_LOGICAL = ("AND", "OR", "NOT")
_ORDERING = (">", ">=", "<", "<=")
_COMPARISONS = ("==", "!=", *_ORDERING, "in", "not in")
_DEEPEST = 50
_SIMPLE_KEY = re.compile(r"[\w-]+", re.ASCII)
_DATE_LIKE = re.compile(r"\d{4}-\d\d-\d\d")


def refuse_malformed(filters: Any, depth: int = 0) -> None:
    """Raise FilterError for what is wrong with the filters whatever the documents hold."""
    if not isinstance(filters, dict):
        raise FilterError(f"A filter is a dictionary, not {type(filters).__name__}: {filters!r}")
    if depth > _DEEPEST:
        raise FilterError(f"Filters are nested more than {_DEEPEST} deep.")
    if "operator" not in filters:
        raise FilterError(f"'operator' key missing in {filters}")
    if "field" in filters:
        _refuse_malformed_comparison(filters)
        return

    if "conditions" not in filters:
        raise FilterError(f"'conditions' key missing in {filters}")
    if filters["operator"] not in _LOGICAL:
        raise FilterError(f"Unknown logical operator {filters['operator']!r}. Valid operators are: {list(_LOGICAL)}")
    if not isinstance(filters["conditions"], list):
        raise FilterError(f"'conditions' is a list of filters, not {type(filters['conditions']).__name__}")
    for condition in filters["conditions"]:
        refuse_malformed(condition, depth + 1)


def _refuse_malformed_comparison(condition: dict[str, Any]) -> None:
    if "value" not in condition:
        raise FilterError(f"'value' key missing in {condition}")
    field, operator, value = condition["field"], condition["operator"], condition["value"]
    if not isinstance(field, str):
        raise FilterError(f"'field' is a name, not {type(field).__name__}: {field!r}")
    if operator not in _COMPARISONS:
        raise FilterError(f"Unknown comparison operator {operator!r}. Valid operators are: {list(_COMPARISONS)}")
    if operator in _ORDERING and not isinstance(value, str | int | float | date | datetime | None):
        raise FilterError(f"Operator {operator!r} can't compare with a {type(value).__name__}.")
    if operator in ("in", "not in") and not isinstance(value, list):
        raise FilterError(f"Operator {operator!r} takes a list of values, not {type(value).__name__}.")


def matches(document: Document, filters: dict[str, Any] | None) -> bool:
    """Whether Haystack itself says that the document fits."""
    if not filters:
        return True
    try:
        return document_matches_filter(filters, document)
    except TypeError as error:  # a number against a list, say
        raise FilterError(f"The filter can't compare what document {document.id} holds: {error}") from error


def asks_for_large(filters: dict[str, Any] | None) -> bool:
    """Whether the filters look at a document's embedding or blob, so that those must be read too."""
    if not filters:
        return False
    if "field" in filters:
        return filters["field"].split(".")[0] in ("embedding", "sparse_embedding", "blob")
    return any(asks_for_large(condition) for condition in filters["conditions"])


def narrowing(filters: dict[str, Any] | None) -> tuple[str, list[Any]]:
    """An SQL condition, with its parameters, that every matching row fulfils; others may fulfil it too.

    It only spares the reading of documents: `matches` still decides, so whatever SQL might see otherwise than
    Python does (dates, floats, nulls, odd keys) is left out here.
    """
    if not filters:
        return "1", []
    return _narrowed(filters) or ("1", [])


def _narrowed(filters: dict[str, Any]) -> tuple[str, list[Any]] | None:
    if "field" in filters:
        return _narrowed_comparison(filters)
    parts = [_narrowed(condition) for condition in filters["conditions"]]
    if filters["operator"] == "AND":
        parts = [part for part in parts if part]
    if filters["operator"] == "NOT" or not parts or None in parts:
        return None
    joined = f" {filters['operator']} ".join(f"({sql})" for sql, _ in parts)
    return joined, [value for _, values in parts for value in values]


def _narrowed_comparison(condition: dict[str, Any]) -> tuple[str, list[Any]] | None:
    column = _column(condition["field"])
    values = {"==": [condition["value"]], "in": condition["value"]}.get(condition["operator"])
    if column is None or not values or not all(_same_in_sql(value) for value in values):
        return None
    # One parameter however long the list is. JSON's true comes out as 1, as it is in Python.
    return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(values, ensure_ascii=False)]  # noqa: S608


def _column(field: str) -> str | None:
    if field == "id":
        return "id"
    root, *keys = field.split(".")
    if root != "meta" or not keys or not all(_SIMPLE_KEY.fullmatch(key) for key in keys):
        return None
    path = "$" + "".join(f'."{key}"' for key in keys)
    return f"json_extract(meta, '{path}')"


def _same_in_sql(value: Any) -> bool:
    if isinstance(value, str):
        return value.isprintable() and not _DATE_LIKE.match(value)
    return isinstance(value, int) and abs(value) < 2**53
