"""JSON into what the sockets take, and results back into JSON: whole, or a clear error that says where."""

import base64
import binascii
import datetime
import decimal
import enum
import json
import typing
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy
from haystack.dataclasses import ByteStream, ChatMessage, Document, SparseEmbedding
from pydantic import BaseModel

from workflows.engine.runner.socket_types import is_union, text, unwrapped
from workflows.engine.strict_json import MAX_DEPTH

_LISTS = {list: list, tuple: tuple, set: set, frozenset: frozenset, Sequence: list, Iterable: list}


class InputInvalid(ValueError):
    """A value of the trigger data doesn't fit its socket; `path` says which."""

    def __init__(self, path: str, message: str):
        super().__init__(f"{path}: {message}")
        self.path = path


class NotJSON(ValueError):
    """A value of the result can't be said in JSON; `path` says which."""

    def __init__(self, path: str, message: str):
        super().__init__(f"{path}: {message}")
        self.path = path


# --- JSON to Python


def to_python(value: Any, tp: Any, path: str) -> Any:
    """The JSON `value` as the type `tp` wants it: a Document, a ChatMessage, a ByteStream, a tuple, or as it is."""
    tp = unwrapped(tp)
    if tp is Any or tp is object:
        return value
    if is_union(tp):
        return _first_that_fits(value, get_args(tp), tp, path)
    if tp is type(None) or tp is None:
        return _expect(value is None, value, tp, path)
    origin, arguments = get_origin(tp), get_args(tp)
    if origin is Literal:
        return _expect(value in arguments, value, tp, path)
    kind = origin or tp
    if kind in _READERS:
        return _READERS[kind](value, path)
    if kind in _LISTS:
        return _list(value, kind, arguments, tp, path)
    if kind in (dict, Mapping) or typing.is_typeddict(kind):
        _expect(isinstance(value, dict), value, tp, path)
        inner = arguments[1] if len(arguments) > 1 else Any
        return {key: to_python(item, inner, f"{path}.{key}") for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        for member in kind:
            if value in (member.value, member.name):
                return member
        raise InputInvalid(path, f"expected one of {', '.join(str(member.value) for member in kind)}")
    if isinstance(kind, type) and kind.__module__.startswith("haystack.dataclasses") and hasattr(kind, "from_dict"):
        return _by_from_dict(value, kind, path)
    raise InputInvalid(path, f"a {text(tp)} cannot be given as JSON")


def _first_that_fits(value: Any, arms: tuple, tp: Any, path: str) -> Any:
    deepest: InputInvalid | None = None
    for arm in sorted(arms, key=lambda arm: arm is float):  # 5 is an int before it is a float
        try:
            return to_python(value, arm, path)
        except InputInvalid as error:
            if deepest is None or len(error.path) > len(deepest.path):
                deepest = error
    if deepest and deepest.path != path:  # one arm got further than the others, and knows better what is wrong
        raise deepest
    raise InputInvalid(path, f"expected {text(tp)}, not {_kind(value)}")


def _list(value: Any, kind: Any, arguments: tuple, tp: Any, path: str) -> Any:
    _expect(isinstance(value, list), value, tp, path)
    if kind is tuple and arguments and Ellipsis not in arguments:
        _expect(len(value) == len(arguments), value, tp, path)
        return tuple(to_python(item, arguments[i], f"{path}[{i}]") for i, item in enumerate(value))
    inner = arguments[0] if arguments else Any
    return _LISTS[kind](to_python(item, inner, f"{path}[{i}]") for i, item in enumerate(value))


def _expect(fits: bool, value: Any, tp: Any, path: str) -> Any:
    if not fits:
        raise InputInvalid(path, f"expected {text(tp)}, not {_kind(value)}")
    return value


def _text(value: Any, path: str) -> str:
    return _expect(isinstance(value, str), value, str, path)


def _bool(value: Any, path: str) -> bool:
    return _expect(isinstance(value, bool), value, bool, path)


def _int(value: Any, path: str) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(_expect(whole and not isinstance(value, bool), value, int, path))


def _float(value: Any, path: str) -> float:
    return float(_expect(isinstance(value, (int, float)) and not isinstance(value, bool), value, float, path))


def _document(value: Any, path: str) -> Document:
    _expect(isinstance(value, dict), value, Document, path)
    given = dict(value)
    if given.get("blob") is not None:
        given["blob"] = _bytes(given["blob"], f"{path}.blob").to_dict()
    if given.get("embedding") is not None:
        given["embedding"] = to_python(given["embedding"], list[float], f"{path}.embedding")
    if given.get("meta") is None:
        given.pop("meta", None)
    return _by_from_dict(given, Document, path)


def _message(value: Any, path: str) -> ChatMessage:
    _expect(isinstance(value, dict), value, ChatMessage, path)
    if (value.get("role") == "tool" and isinstance(value.get("content"), str)) or value.get("tool_calls"):
        try:  # OpenAI's form has its own place for what concerns tools
            return ChatMessage.from_openai_dict_format(value)
        except (ValueError, TypeError, KeyError) as error:
            raise InputInvalid(path, f"this is no message: {error}") from error
    return _by_from_dict({"meta": {}, **value}, ChatMessage, path)


def _bytes(value: Any, path: str) -> ByteStream:
    _expect(isinstance(value, dict), value, ByteStream, path)
    unknown = value.keys() - {"data", "mime_type", "meta"}
    if unknown:
        raise InputInvalid(path, f"a ByteStream has data, mime_type and meta, and no {sorted(unknown)[0]}")
    try:
        data = base64.b64decode(_text(value.get("data"), f"{path}.data"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputInvalid(f"{path}.data", "expected base64") from error
    mime_type = to_python(value.get("mime_type"), str | None, f"{path}.mime_type")
    return ByteStream(data=data, mime_type=mime_type, meta=to_python(value.get("meta") or {}, dict, f"{path}.meta"))


def _time(value: Any, path: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(_text(value, path))
    except ValueError as error:
        raise InputInvalid(path, "expected a date and time in ISO 8601") from error


def _date(value: Any, path: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(_text(value, path))
    except ValueError as error:
        raise InputInvalid(path, "expected a date in ISO 8601") from error


def _path(value: Any, path: str) -> Path:
    return Path(_text(value, path))


def _by_from_dict(value: Any, cls: type, path: str) -> Any:
    _expect(isinstance(value, dict), value, cls, path)
    try:
        return cls.from_dict(value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputInvalid(path, f"this is no {cls.__name__}: {error}") from error


_READERS = {
    str: _text, bool: _bool, int: _int, float: _float,
    Document: _document, ChatMessage: _message, ByteStream: _bytes,
    datetime.datetime: _time, datetime.date: _date, Path: _path,
}  # fmt: skip


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


# --- Python to JSON


def to_json(value: Any, path: str) -> Any:
    """`value` as JSON that says the same thing whenever it is made, or NotJSON."""
    return _to_json(value, path, ())


def _to_json(value: Any, path: str, around: tuple[int, ...]) -> Any:
    if value is None or (isinstance(value, (bool, str, int, float)) and not isinstance(value, enum.Enum)):
        return _plain(value)
    if id(value) in around:
        raise NotJSON(path, "this contains itself")
    if len(around) >= MAX_DEPTH:
        raise NotJSON(path, f"this is nested deeper than {MAX_DEPTH} levels")
    around = (*around, id(value))
    if isinstance(value, enum.Enum):
        return _to_json(value.value, path, around)
    if isinstance(value, Mapping):
        return _object(value, path, around)
    if isinstance(value, (list, tuple)):
        return [_to_json(item, f"{path}[{i}]", around) for i, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        items = [_to_json(item, f"{path}[{i}]", around) for i, item in enumerate(value)]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))  # a set has no order: give it one
    if isinstance(value, Document):
        return _object(_of_document(value), path, around)
    if isinstance(value, ByteStream):
        return _object(_of_bytes(value), path, around)
    if isinstance(value, ChatMessage):
        return _object(_of_message(value, path), path, around)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _of_bytes(ByteStream(data=bytes(value)))
    if isinstance(value, numpy.generic):
        return _to_json(value.item(), path, around)
    if isinstance(value, numpy.ndarray):
        return _to_json(value.tolist(), path, around)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, decimal.Decimal, Path)):
        return str(value)
    if isinstance(value, BaseModel):
        return _object({name: getattr(value, name) for name in type(value).model_fields}, path, around)
    if is_dataclass(value) and not isinstance(value, type):
        return _object({field.name: getattr(value, field.name) for field in fields(value)}, path, around)
    raise NotJSON(path, f"a {type(value).__name__} cannot be said in JSON")


def _plain(value: Any) -> Any:
    """Without what a subclass of a plain type may add to it."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value) if type(value) is not kind else value
    return value


def _object(value: Mapping, path: str, around: tuple[int, ...]) -> dict:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = _key(key, path)
        if name in found:
            raise NotJSON(path, f"two keys of this are {name!r} in JSON")
        found[name] = _to_json(item, f"{path}.{name}", around)
    return found


def _key(key: Any, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str(key)
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)
    raise NotJSON(path, f"a key of this is a {type(key).__name__}, which cannot be said in JSON")


def _of_document(document: Document) -> dict:
    found = {
        "id": document.id,
        "content": document.content,
        "meta": document.meta,
        "score": document.score,
        "embedding": document.embedding,
    }
    if document.blob is not None:
        found["blob"] = document.blob
    sparse = document.sparse_embedding
    if isinstance(sparse, SparseEmbedding):
        found["sparse_embedding"] = {"indices": sparse.indices, "values": sparse.values}
    return found


def _of_bytes(stream: ByteStream) -> dict:
    return {
        "data": base64.b64encode(stream.data).decode("ascii"),
        "mime_type": stream.mime_type,
        "meta": stream.meta,
    }


def _of_message(message: ChatMessage, path: str) -> dict:
    try:
        return message.to_dict()
    except Exception as error:
        raise NotJSON(path, f"this message cannot be said in JSON: {error}") from error
