"""The one gate for JSON: what passes it can be stored, listed and sent on by every database and client we know.

Refused are duplicate keys, NaN and infinities, U+0000, lone surrogates, integers beyond 64 bits and nesting deeper
than 64 levels: each of them breaks some database, driver or browser, or is read differently by the next parser.
"""

import json
import math
import re

MAX_DEPTH = 64
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1

_CONTAINERS = (dict, list)
# What the C parser lets through and a walk must find. A text without any of these needs no walk, and most have none.
_SUSPICIOUS = re.compile(r"\\u0000|\\u[dD][89a-fA-F]|\d{19}|[eE]\+?\d{3}")
_BIG_NUMBER = re.compile(r"\d{19}")


class StrictJSONError(ValueError):
    """The value is not JSON that we take; `path` says where: "documents[0].meta", or "" for the whole."""

    def __init__(self, message: str, path: str = ""):
        super().__init__(f"{path}: {message}" if path else message)
        self.message = message
        self.path = path


def loads(text: str | bytes | bytearray):
    """The value that `text` says, or StrictJSONError."""
    if not isinstance(text, str):
        try:
            text = bytes(text).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise StrictJSONError(f"This is not UTF-8: byte {error.start} does not fit.") from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except StrictJSONError:
        raise
    except RecursionError as error:
        raise StrictJSONError(_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        raise StrictJSONError(f"This is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except ValueError as error:  # Python refuses to convert thousands of digits
        raise StrictJSONError(_TOO_BIG) from error
    if _SUSPICIOUS.search(text) or not _is_unicode(text) or "\0" in text:
        check(value)
    elif text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(value):
        raise StrictJSONError(_TOO_DEEP)
    return value


def check(value) -> None:
    """Raise StrictJSONError unless `value`, made in Python, is JSON that `loads` would have let in."""
    _walk(value)


def clean(value):
    """A copy of `value` that any database and client can take, for results, where refusing would lose the work.

    NaN and infinities become null, a lone surrogate becomes U+FFFD, an integer beyond 64 bits becomes a string of its
    digits, a key that is not a string becomes the string that JSON would write, a tuple becomes a list. U+0000 stays:
    we keep JSON as text, where it is escaped. Raises StrictJSONError for what no JSON can say: other types, cycles,
    nesting deeper than 64.
    """
    if _is_too_deep(value):
        raise StrictJSONError(_TOO_DEEP)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return _cleaned(value, "")
    if _BIG_NUMBER.search(text) or not _is_unicode(text):
        return _cleaned(value, "")
    return json.loads(text)


_TOO_DEEP = f"This is nested deeper than {MAX_DEPTH} levels."
_TOO_BIG = "This number does not fit in 64 bits; write it as a string."


def _object(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise StrictJSONError(f"The key {key!r} stands twice in one object.")
            seen.add(key)
    return found


def _refuse_constant(name: str):
    raise StrictJSONError(f"{name} is not JSON.")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_too_deep(value) -> bool:
    """Whether containers nest deeper than the limit; a cycle does."""
    level = [value] if isinstance(value, (dict, list, tuple)) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        inner = []
        seen = set()
        for container in level:
            if id(container) in seen:  # the same object twice on a level: once is enough, and bombs stay small
                continue
            seen.add(id(container))
            children = container.values() if isinstance(container, dict) else container
            inner += [child for child in children if isinstance(child, (dict, list, tuple))]
        level = inner
    return bool(level)


def _walk(value) -> None:
    """Check without recursion, so that depth is a question of the limit and never of the stack."""
    waiting = [(value, "", 0)]
    while waiting:
        item, path, depth = waiting.pop()
        kind = type(item)
        if kind is str:
            _check_text(item, path)
        elif item is None or kind is bool:
            continue
        elif kind is int:
            if not MIN_INTEGER <= item <= MAX_INTEGER:
                raise StrictJSONError(_TOO_BIG, path)
        elif kind is float:
            if not math.isfinite(item):
                raise StrictJSONError("NaN and infinities are not JSON.", path)
        elif kind in _CONTAINERS:
            if depth >= MAX_DEPTH:
                raise StrictJSONError(_TOO_DEEP, path)
            if kind is dict:
                for key, child in item.items():
                    if type(key) is not str:
                        raise StrictJSONError(f"The key {key!r} is not a string.", path)
                    _check_text(key, path)
                    waiting.append((child, f"{path}.{key}" if path else key, depth + 1))
            else:
                waiting += [(child, f"{path}[{index}]", depth + 1) for index, child in enumerate(item)]
        else:
            raise StrictJSONError(f"A {kind.__name__} is not JSON.", path)


def _check_text(text: str, path: str) -> None:
    if "\0" in text:
        raise StrictJSONError("This text holds the character U+0000.", path.replace("\0", "\N{REPLACEMENT CHARACTER}"))
    if not text.isascii() and not _is_unicode(text):
        raise StrictJSONError("This text holds half of a surrogate pair, which is no character.", _whole(path))


def _whole(text: str) -> str:
    """`text` with every lone surrogate replaced, and true pairs joined."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _cleaned(value, path: str):
    if isinstance(value, str):
        return str(value) if value.isascii() or _is_unicode(value) else _whole(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if MIN_INTEGER <= value <= MAX_INTEGER else _digits(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_key(key, path): _cleaned(child, f"{path}.{key}") for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(child, f"{path}[{index}]") for index, child in enumerate(value)]
    raise StrictJSONError(f"A {type(value).__name__} is not JSON.", path.lstrip("."))


def _key(key, path: str) -> str:
    if isinstance(key, str):
        return _cleaned(key, path)
    if key is None or isinstance(key, (bool, float)):
        return json.dumps(key)
    if isinstance(key, int):
        return _digits(key)
    raise StrictJSONError(f"A key of type {type(key).__name__} is not JSON.", path.lstrip("."))


def _digits(number: int) -> str:
    try:
        return str(int(number))
    except ValueError:  # beyond the digits that Python converts
        return hex(number)
