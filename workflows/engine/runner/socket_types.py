"""Python's types as readers and JSON Schema know them: `list[Document]`, `{"type": "array", "items": …}`."""

import datetime
import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin

from haystack.dataclasses import ByteStream, ChatMessage, Document
from pydantic import BaseModel, TypeAdapter

NOTHING = {"not": {}}  # what no JSON can say: a function, a tool, an open connection
_REFERENCES = {Document: "Document", ChatMessage: "ChatMessage", ByteStream: "ByteStream"}
_PLAIN = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    bytes: NOTHING,
    object: {},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    Path: {"type": "string"},
}
_LISTS = (list, tuple, set, frozenset, Sequence, Iterable, Set)
_DICTS = (dict, Mapping)


def is_union(tp: Any) -> bool:
    return get_origin(tp) in (Union, types.UnionType)


def unwrapped(tp: Any) -> Any:
    """`tp` without what only annotates it or gives it another name."""
    while True:
        if get_origin(tp) is Annotated:
            tp = get_args(tp)[0]
        elif isinstance(tp, NewType):
            tp = tp.__supertype__
        elif isinstance(tp, TypeVar):
            tp = tp.__bound__ or Any
        elif tp is inspect.Parameter.empty:
            return Any
        else:
            return tp


def text(tp: Any) -> str:
    """The type as a reader writes it: `int | None`, `list[Document]`."""
    tp = unwrapped(tp)
    if tp is type(None) or tp is None:
        return "None"
    if tp is Any:
        return "Any"
    if tp is Ellipsis:
        return "..."
    if isinstance(tp, str):
        return tp
    arguments = get_args(tp)
    if is_union(tp):
        named = [text(each) for each in arguments]
        return " | ".join(sorted(dict.fromkeys(named), key=lambda name: name == "None"))  # None last
    origin = get_origin(tp)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin in (Callable, typing.Callable):
        return "Callable"
    name = getattr(origin or tp, "__name__", None) or str(tp).removeprefix("typing.")
    if origin and arguments:
        return f"{name}[{', '.join(text(each) for each in arguments if not isinstance(each, list))}]"
    return name


def schema(tp: Any) -> dict:
    """The type as JSON Schema 2020-12; `NOTHING` where no JSON value can be one."""
    return _schema(tp, depth=0)


def _schema(tp: Any, depth: int) -> dict:
    tp = unwrapped(tp)
    if tp is Any or depth > 8:
        return {}
    if isinstance(tp, type) and tp in _REFERENCES:
        return {"$ref": f"#/$defs/{_REFERENCES[tp]}"}
    if tp in _PLAIN:
        return dict(_PLAIN[tp])
    if is_union(tp):
        return _union(get_args(tp), depth)
    origin, arguments = get_origin(tp), get_args(tp)
    if origin is Literal:
        return {"enum": list(arguments)}
    kind = origin or tp
    if kind is tuple and arguments and Ellipsis not in arguments:
        items = [_schema(each, depth + 1) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if kind in _LISTS:
        return _of_items({"type": "array"}, "items", arguments[0] if arguments else Any, depth)
    if kind in _DICTS:
        return _of_items({"type": "object"}, "additionalProperties", arguments[1] if len(arguments) > 1 else Any, depth)
    if isinstance(kind, type):
        return _of_class(kind)
    return dict(NOTHING)


def _of_items(found: dict, key: str, items: Any, depth: int) -> dict:
    inner = _schema(items, depth + 1)
    if inner == NOTHING:
        return dict(NOTHING)
    return {**found, key: inner} if inner else found


def _union(arms: tuple, depth: int) -> dict:
    found: list[dict] = []
    for arm in arms:
        inner = _schema(arm, depth + 1)
        if inner == {}:
            return {}
        if inner != NOTHING and inner not in found:
            found.append(inner)
    if not found:
        return dict(NOTHING)
    return found[0] if len(found) == 1 else {"anyOf": found}


def _of_class(cls: type) -> dict:
    if issubclass(cls, enum.Enum):
        values = [member.value for member in cls]
        plain = all(isinstance(value, (str, int, float, bool)) for value in values)
        return {"enum": values} if plain else dict(NOTHING)
    if typing.is_typeddict(cls):
        return {"type": "object"}
    if issubclass(cls, BaseModel) or is_dataclass(cls):
        try:
            found = TypeAdapter(cls).json_schema()
        except Exception:  # pydantic refuses in many ways; the answer is the same
            return dict(NOTHING)
        # Definitions of its own would end up in the middle of somebody else's schema, where its references break.
        return {"type": "object"} if "$defs" in found else found
    return dict(NOTHING)
