"""The first few kilobytes of any value, as JSON, for the record of a step. What is left out is marked by "…"."""

import json
import math
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from haystack.dataclasses import ByteStream, ChatMessage, Document

LIMIT = 4096
_FINENESS = ((6, 20, 1000), (5, 8, 300), (4, 4, 100), (3, 2, 40))  # depth, items, characters: from fine to coarse


def preview(value: Any, limit: int = LIMIT) -> Any:
    """JSON of at most `limit` bytes that shows what `value` is. Never fails, and calls no code of the value's own."""
    for depth, items, characters in _FINENESS:
        try:
            shown = _shown(value, depth, items, characters)
            if len(json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace")) <= limit:
                return shown
        except Exception:  # a step must not fail because its record does
            break
    return f"… ({type(value).__name__})"


def _shown(value: Any, depth: int, items: int, characters: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _shown(value.value, depth, items, characters)
    if isinstance(value, str):
        left_out = len(value) - characters
        return str(value) if left_out <= 0 else f"{value[:characters]}… ({left_out} more characters)"
    if isinstance(value, int):
        return int(value) if value.bit_length() < 64 else f"… (a number of {value.bit_length()} bits)"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, (bytes, bytearray)):
        return f"… ({len(value)} bytes)"
    if depth == 0:
        return f"… ({type(value).__name__})"
    if isinstance(value, dict):
        return _of_dict(value, depth, items, characters)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _of_list(list(value), depth, items, characters)
    if isinstance(value, Document):
        found = {"id": value.id, "content": value.content, "meta": value.meta, "score": value.score}
        if value.blob:
            found["blob"] = value.blob
        return _of_dict(found, depth, items, characters)
    if isinstance(value, ByteStream):
        found = {"data": value.data, "mime_type": value.mime_type, "meta": value.meta}
        return _of_dict(found, depth, items, characters)
    if isinstance(value, ChatMessage):
        found = {"role": value._role.value, "content": value._content, "meta": value._meta}
        return _of_dict(found, depth, items, characters)
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: getattr(value, field.name) for field in fields(value) if field.repr}
        return _of_dict(found, depth, items, characters)
    return f"… ({type(value).__name__})"


def _of_dict(value: dict, depth: int, items: int, characters: int) -> dict:
    shown = {}
    for key in list(value)[:items]:
        name = key if isinstance(key, str) else str(key) if isinstance(key, (int, float)) else type(key).__name__
        shown[name[:100]] = _shown(value[key], depth - 1, items, characters)
    if len(value) > items:
        shown["…"] = f"{len(value) - items} more"
    return shown


def _of_list(value: list, depth: int, items: int, characters: int) -> list:
    if len(value) > 8 and all(isinstance(item, (int, float)) for item in value[:8]):  # an embedding
        return [*(_shown(item, 1, 1, 1) for item in value[:3]), f"… {len(value) - 3} more"]
    shown = [_shown(item, depth - 1, items, characters) for item in value[:items]]
    if len(value) > items:
        shown.append(f"… {len(value) - items} more")
    return shown
