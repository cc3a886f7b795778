"""Trigger data: which sockets it may reach, in which of three shapes, and whether its values fit."""

import difflib
import json
from functools import lru_cache

from jsonschema import Draft202012Validator

from workflows.engine import strict_json
from workflows.engine.errors import InputProblem, TriggerDataRefused

_TEXT = {"type": "string"}
_META = {"type": "object"}

BYTE_STREAM = {
    "title": "ByteStream",
    "description": "The bytes of a file, in base64.",
    "type": "object",
    "properties": {
        "data": {"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]*={0,2}$"},
        "mime_type": {"type": ["string", "null"]},
        "meta": _META,
    },
    "required": ["data"],
    "additionalProperties": False,
}
DOCUMENT = {
    "title": "Document",
    "description": "A text, or the bytes of a file, with what is known about it.",
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "content": {"type": ["string", "null"]},
        "blob": {"anyOf": [{"$ref": "#/$defs/ByteStream"}, {"type": "null"}]},
        "meta": {"type": ["object", "null"]},
        "score": {"type": ["number", "null"]},
        "embedding": {"type": ["array", "null"], "items": {"type": "number"}},
        "sparse_embedding": {
            "type": ["object", "null"],
            "properties": {
                "indices": {"type": "array", "items": {"type": "integer"}},
                "values": {"type": "array", "items": {"type": "number"}},
            },
            "required": ["indices", "values"],
        },
    },
    "additionalProperties": False,
}
CHAT_MESSAGE = {
    "title": "ChatMessage",
    "description": "One message of a conversation; its content is a text, or a list of parts as Haystack writes them.",
    "type": "object",
    "properties": {
        "role": {"enum": ["user", "assistant", "system", "tool"]},
        "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
        "name": {"type": ["string", "null"]},
        "meta": _META,
        "tool_calls": {"type": "array", "items": {"type": "object"}},
        "tool_call_id": {"type": "string"},
    },
    "required": ["role"],
    "anyOf": [{"required": ["content"]}, {"required": ["tool_calls"]}],
    "additionalProperties": False,
}
DEFINITIONS = {"Document": DOCUMENT, "ChatMessage": CHAT_MESSAGE, "ByteStream": BYTE_STREAM}

MAX_PROBLEMS = 100


def parse(value) -> dict:
    """The trigger data that a client sent: an object, or a string that holds one. Raises TriggerDataRefused."""
    try:
        if isinstance(value, (str, bytes)):
            value = strict_json.loads(value)
        else:
            strict_json.check(value)
    except strict_json.StrictJSONError as error:
        raise TriggerDataRefused([InputProblem("invalid_json", error.message, error.path)]) from error
    if not isinstance(value, dict):
        raise TriggerDataRefused([_not_an_object(value)])
    return value


def accept(description: dict, trigger_data) -> dict[str, dict]:
    """The data by component, as the runner takes it, or TriggerDataRefused with every problem.

    The shapes, in their order: by component, `{"retriever": {"query": "…"}}`; by the names of the `inputs:` block;
    and where there is no block, by the sockets' own names. All three reach the description's inputs and nothing else.
    """
    if not isinstance(trigger_data, dict):
        raise TriggerDataRefused([_not_an_object(trigger_data)])
    inputs, components = description["inputs"], description["components"]
    by_component = bool(trigger_data) and all(
        name in components and isinstance(value, dict) for name, value in trigger_data.items()
    )
    by_name = trigger_data.keys() <= inputs.keys()
    if by_component:
        try:
            return _by_component(description, trigger_data)
        except TriggerDataRefused:
            if not by_name:  # an input may be called like a component
                raise
    return _by_name(description, trigger_data)


def trigger_schema(inputs: dict) -> dict:
    """The flat shape of these inputs as JSON Schema 2020-12."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            name: {**entry["schema"], **({"description": entry["description"]} if entry.get("description") else {})}
            for name, entry in inputs.items()
        },
        "required": [name for name, entry in inputs.items() if entry["required"]],
        "additionalProperties": False,
    }
    used = _definitions_in(schema["properties"])
    if used:
        schema["$defs"] = {name: DEFINITIONS[name] for name in DEFINITIONS if name in used}
    return schema


def _by_component(description, data) -> dict[str, dict]:
    components = description["components"]
    reachable = {target for entry in description["inputs"].values() for target in entry["targets"]}
    problems: list[InputProblem] = []
    for component, sockets in data.items():
        known = components[component]["inputs"]
        for socket, value in sockets.items():
            target = f"{component}.{socket}"
            if target in reachable:
                problems += _unfit(value, known[socket]["schema"], target)
            else:
                problems.append(_unreachable(description, component, socket))
    for target in sorted(reachable):
        component, _, socket = target.partition(".")
        entry = components[component]["inputs"][socket]
        if entry["required"] and not entry["connected"] and socket not in data.get(component, {}):
            problems.append(InputProblem("missing", f"`{target}` is missing: {_words(entry['schema'])}.", target))
    if problems:
        raise TriggerDataRefused(problems[:MAX_PROBLEMS])
    return {component: dict(sockets) for component, sockets in data.items() if sockets}


def _by_name(description, data) -> dict[str, dict]:
    inputs = description["inputs"]
    problems: list[InputProblem] = []
    accepted: dict[str, dict] = {}
    for name, value in data.items():
        entry = inputs.get(name)
        if entry is None:
            problems.append(_unknown(description, name, value))
            continue
        problems += _unfit(value, entry["schema"], name)
        for target in entry["targets"]:
            component, _, socket = target.partition(".")
            accepted.setdefault(component, {})[socket] = value
    for name, entry in inputs.items():
        if entry["required"] and name not in data:
            needed = " and ".join(f"`{target}`" for target in entry["targets"] if target != name)
            verb = "need" if len(entry["targets"]) > 1 else "needs"
            problems.append(
                InputProblem("missing", f"`{name}` is missing: {needed} {verb} {_words(entry['schema'])}.", name)
            )
    if problems:
        raise TriggerDataRefused(problems[:MAX_PROBLEMS])
    return accepted


def _not_an_object(value) -> InputProblem:
    return InputProblem("not_an_object", f"Trigger data must be a JSON object, and this is {_given(value)}.")


def _unknown(description, name, value) -> InputProblem:
    inputs, components = description["inputs"], description["components"]
    if name in components:
        if isinstance(value, dict):
            text = f"`{name}` is a component: write either all data by component, or all by the names of inputs."
        else:
            text = f"`{name}` is a component, so its data must be an object by socket, and this is {_given(value)}."
        return InputProblem("unknown_input", text, name)
    owners = [component for component, entry in components.items() if name in entry["inputs"]]
    if owners:
        return _unreachable(description, owners[0], name, path=name)
    return InputProblem(
        "unknown_input", f"There is no input `{_cut(name)}`.{_did_you_mean(name, inputs)}{_known(inputs)}", _cut(name)
    )


def _unreachable(description, component, socket, path=None) -> InputProblem:
    target = f"{component}.{socket}"
    known = description["components"][component]["inputs"]
    path = path or _cut(target)
    if socket not in known:
        return InputProblem(
            "unknown_input",
            f"`{component}` has no input `{_cut(socket)}`.{_did_you_mean(socket, known)}{_known(known)}",
            path,
        )
    if known[socket]["connected"]:
        text = f"`{target}` gets its value from another component, so it is not an input."
    elif description["declared"]:
        text = f"`{target}` is not among the definition's `inputs`."
    else:
        text = f"`{target}` changes what the component does, so it is an input only if the definition lists it."
    return InputProblem("unreachable_input", text, path)


def _known(names) -> str:
    shown = ", ".join(f"`{name}`" for name in list(names)[:20])
    return f" Known are {shown}." if shown else " It takes none."


def _did_you_mean(word: str, choices) -> str:
    near = difflib.get_close_matches(word[:128], list(choices), n=1, cutoff=0.7)
    return f" Did you mean `{near[0]}`?" if near else ""


def _cut(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "…"


# Values against schemas.


def _unfit(value, schema: dict, path: str) -> list[InputProblem]:
    if not schema or _fits_plainly(value, schema):
        return []
    found = []
    for error in _validator(json.dumps(schema)).iter_errors(value):
        found += _told(error, path)
        if len(found) >= MAX_PROBLEMS:
            break
    return found


_PLAIN = {
    "string": lambda value: type(value) is str,
    "boolean": lambda value: type(value) is bool,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) is int or type(value) is float,
    "null": lambda value: value is None,
}


def _fits_plainly(value, schema: dict) -> bool:
    """The quick yes for sockets of plain types, most of them; anything else is left to jsonschema."""
    if len(schema) != 1:
        return False
    if "anyOf" in schema:
        return any(_fits_plainly(value, branch) for branch in schema["anyOf"])
    kind = schema.get("type")
    return isinstance(kind, str) and kind in _PLAIN and _PLAIN[kind](value)


@lru_cache(maxsize=512)
def _validator(schema_text: str) -> Draft202012Validator:
    schema = json.loads(schema_text)
    return Draft202012Validator({**schema, "$defs": {**schema.get("$defs", {}), **DEFINITIONS}})


def _told(error, path: str) -> list[InputProblem]:
    """A jsonschema error in words, with the part of a union that was most likely meant."""
    place = path + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.relative_path)
    if error.validator in ("anyOf", "oneOf") and error.context:
        meant = _meant_branch(error)
        if meant is not None:
            return [problem for inner in meant for problem in _told(inner, place)]
        if all(inner.validator == "required" for inner in error.context):
            names = " or ".join(f"`{name}`" for inner in error.context for name in inner.validator_value)
            return [InputProblem("missing", f"`{place}` must have {names}.", place)]
        return [_wrong_type(place, error.schema, error.instance)]
    if error.validator == "type":
        return [_wrong_type(place, error.schema, error.instance)]
    if error.validator == "required":
        missing = next((name for name in error.validator_value if name not in error.instance), "?")
        return [InputProblem("missing", f"`{place}.{missing}` is missing.", f"{place}.{missing}")]
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        return [
            InputProblem(
                "unknown_input",
                f"`{place}` has no `{_cut(name)}`.{_did_you_mean(name, known)}{_known(known)}",
                _cut(f"{place}.{name}"),
            )
            for name in error.instance
            if name not in known
        ][:5]
    if error.validator in ("enum", "const"):
        allowed = error.schema.get("enum", [error.schema.get("const")])
        shown = ", ".join(json.dumps(item, ensure_ascii=False) for item in allowed[:20])
        return [InputProblem("not_a_choice", f"`{place}` must be one of {shown}.", place)]
    if error.validator == "pattern" and error.schema.get("contentEncoding") == "base64":
        return [InputProblem("wrong_format", f"`{place}` must be base64.", place)]
    if error.validator == "not":
        return [InputProblem("unreachable_input", f"`{place}` takes something that JSON can't say.", place)]
    return [InputProblem("invalid", f"`{place}`: {_cut(error.message)}", place)]


def _meant_branch(error):
    """The errors of the one branch of a union whose type the value has, or None."""
    branches: dict[int, list] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    fitting = [
        errors
        for errors in branches.values()
        if all(inner.relative_path or inner.validator not in ("type", "enum", "const", "not") for inner in errors)
        and any(inner.relative_path or inner.validator != "required" for inner in errors)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _wrong_type(place, schema, value) -> InputProblem:
    return InputProblem("wrong_type", f"`{place}` must be {_words(schema)}, and this is {_given(value)}.", place)


_WORDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_PLURALS = {
    "a text": "texts",
    "a whole number": "whole numbers",
    "a number": "numbers",
    "a list": "lists",
    "an object": "objects",
    "a Document": "Documents",
    "a ChatMessage": "ChatMessages",
    "a ByteStream": "ByteStreams",
}


def _words(schema: dict) -> str:
    """What a schema wants, in words: "a list of Documents", "a whole number or null"."""
    if not schema:
        return "any value"
    if "$ref" in schema:
        return f"a {schema['$ref'].rsplit('/', 1)[-1]}"
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(item, ensure_ascii=False) for item in schema["enum"][:10])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_words(branch) for branch in schema[key]))
    if "allOf" in schema:
        return " and ".join(dict.fromkeys(_words(branch) for branch in schema["allOf"]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(_WORDS.get(name, name) for name in kind)
    if kind == "array" and schema.get("items"):
        inner = _words(schema["items"])
        return f"a list of {_PLURALS.get(inner, inner)}"
    return _WORDS.get(kind, "something else")


def _given(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {json.dumps(value, ensure_ascii=False)}" if len(value) <= 40 else "a text"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if value is None:
        return "null"
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "something else"


def _definitions_in(value) -> set[str]:
    """The names of our definitions that a schema refers to, also through one another."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            name = item["$ref"].rsplit("/", 1)[-1] if isinstance(item.get("$ref"), str) else None
            if name in DEFINITIONS and name not in found:
                found.add(name)
                waiting.append(DEFINITIONS[name])
            waiting += item.values()
    return found
