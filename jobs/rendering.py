"""How a result is shown: answers as text, documents and messages as such, anything else as JSON, never as markup."""

import json
import re
from dataclasses import dataclass, field

SHOWN_AT_MOST = 64 * 1024  # characters of one piece; the API has the whole
PIECES_AT_MOST = 100
_HASH = re.compile("[0-9a-f]{32,}")


@dataclass
class Piece:
    """One thing to show. `kind` is text, json, document or message; `cut` says that it goes on."""

    kind: str
    text: str = ""
    title: str = ""
    role: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    details: str = ""
    cut: bool = False


@dataclass(frozen=True)
class Part:
    """One named output of a job."""

    name: str
    pieces: list[Piece]
    hidden: int = 0


def parts(result) -> list[Part]:
    """The result by output name; `{"llm": {"replies": […]}}` becomes the output llm.replies."""
    if not isinstance(result, dict):
        return [_part("", result)]
    found = []
    for name, value in result.items():
        if isinstance(value, dict) and value and not _is_document(value) and not _is_message(value):
            found += [_part(f"{name}.{socket}", inner) for socket, inner in value.items()]
        else:
            found.append(_part(name, value))
    return found


def pretty(value) -> Piece:
    """Any JSON value, indented and cut to what a page can bear."""
    return _cut(Piece("json", json.dumps(value, ensure_ascii=False, indent=2)))


def _part(name: str, value) -> Part:
    if isinstance(value, list) and value and all(_is_shown(item) for item in value):
        return Part(name, [_piece(item) for item in value[:PIECES_AT_MOST]], max(len(value) - PIECES_AT_MOST, 0))
    return Part(name, [_piece(value)])


def _is_shown(value) -> bool:
    return isinstance(value, str) or _is_document(value) or _is_message(value)


def _is_document(value) -> bool:
    return isinstance(value, dict) and "content" in value and "meta" in value and "role" not in value


def _is_message(value) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and "content" in value


def _piece(value) -> Piece:
    if isinstance(value, str):
        return _cut(Piece("text", value))
    if _is_document(value):
        return _document(value)
    if _is_message(value):
        return _message(value)
    return pretty(value)


def _document(value: dict) -> Piece:
    meta = value["meta"] if isinstance(value["meta"], dict) else {"meta": value["meta"]}
    # What a component keeps for itself, and what is not there, only hides the facts; the JSON below has them all.
    told = [(name, item) for name, item in meta.items() if item is not None and not str(name).startswith("_")]
    facts = [(str(name), _brief(item)) for name, item in told[:12]]
    if isinstance(value.get("score"), (int, float)):
        facts.insert(0, ("score", f"{value['score']:.4g}"))
    content = value["content"] if isinstance(value["content"], str) else ""
    return _cut(Piece("document", content, title=str(value.get("id", ""))[:12], facts=facts))


def _message(value: dict) -> Piece:
    content = value["content"]
    if isinstance(content, str):
        return _cut(Piece("message", content, role=value["role"]))
    blocks = content if isinstance(content, list) else [content]
    texts = [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
    others = [block for block in blocks if not (isinstance(block, dict) and isinstance(block.get("text"), str))]
    piece = _cut(Piece("message", "\n".join(texts), role=value["role"]))
    if others:
        piece.details = pretty(others).text
    return piece


def _brief(value) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if _HASH.fullmatch(text):
        return text[:12]
    return text if len(text) <= 120 else text[:119] + "…"


def _cut(piece: Piece) -> Piece:
    if len(piece.text) > SHOWN_AT_MOST:
        piece.text, piece.cut = piece.text[:SHOWN_AT_MOST], True
    return piece
