"""JSON becomes what sockets take, or is refused by path; what comes out is JSON again."""

import datetime
import enum
from pathlib import Path
from typing import Any, Literal, Optional, Union

import numpy
import pytest
from haystack.dataclasses import (
    ByteStream,
    ChatMessage,
    Document,
    GeneratedAnswer,
    ImageContent,
    SparseEmbedding,
    ToolCall,
)  # fmt: skip
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.engine import strict_json
from workflows.engine.runner import socket_types
from workflows.engine.runner.preview import preview
from workflows.engine.runner.serialization import InputInvalid, NotJSON, to_json, to_python


class Colour(enum.Enum):
    RED = "红"


@pytest.mark.parametrize(
    ("value", "tp", "expected"),
    [
        ("x", str, "x"),
        (5, int, 5),
        (5.0, int, 5),
        (5, float, 5.0),
        (5, int | float, 5),
        (5, float | int, 5),
        (5.5, int | float, 5.5),
        (None, Optional[int], None),  # noqa: UP045 - components are written in both ways
        ("x", Union[int, str], "x"),  # noqa: UP007
        (True, bool | int, True),
        ([1, 2], list[int], [1, 2]),
        ([1, "a"], tuple[int, str], (1, "a")),
        ([1, 2], tuple[int, ...], (1, 2)),
        (["a"], set[str], {"a"}),
        ({"a": 1}, dict[str, int], {"a": 1}),
        ({"a": [1]}, Any, {"a": [1]}),
        ("a", Literal["a", "b"], "a"),
        ("红", Colour, Colour.RED),
        ("RED", Colour, Colour.RED),
        ("/a", str | Path, "/a"),
        ("2026-01-02T03:04:05+00:00", datetime.datetime, datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
        ({"tool_name": "t", "arguments": {}, "id": "1"}, ToolCall, ToolCall("t", {}, "1")),
        ({"role": "user", "content": "问"}, ChatMessage, ChatMessage.from_user("问")),
        ({"role": "user", "content": [{"text": "问"}]}, ChatMessage, ChatMessage.from_user("问")),
        ([{"role": "user", "content": "问"}], list[ChatMessage] | str, [ChatMessage.from_user("问")]),
        ("问", list[ChatMessage] | str, "问"),
        ({"data": "aGk="}, ByteStream, ByteStream(b"hi")),
        ({"content": "a", "meta": None, "score": 1}, Document, Document(content="a", score=1)),
        ({"content": "a", "embedding": [1, 2]}, Document, Document(content="a", embedding=[1.0, 2.0])),
    ],
)
def test_json_becomes_the_type(value, tp, expected):
    found = to_python(value, tp, "it")

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "tp", "path"),
    [
        (5, str, "it"),
        ("5", int, "it"),
        (True, int, "it"),
        (1, bool, "it"),
        (5.5, int, "it"),
        (None, str, "it"),
        ("x", list[str], "it"),
        ([1, "a"], list[int], "it[1]"),
        ({"a": "x"}, dict[str, int], "it.a"),
        ([1], tuple[int, str], "it"),
        ("c", Literal["a", "b"], "it"),
        ("blue", Colour, "it"),
        ("x", Document, "it"),
        ({"content": 5}, Document, "it"),
        ({"content": "a", "embedding": ["x"]}, Document, "it.embedding[0]"),
        ({"content": "a", "blob": {"data": "!"}}, Document, "it.blob.data"),
        ([{"content": "a"}, {"content": 5}], list[Document] | None, "it[1]"),
        ({"role": "nobody", "content": "a"}, ChatMessage, "it"),
        ({"content": "a"}, ChatMessage, "it"),
        ({"role": "user", "content": [{"nonsense": 1}]}, ChatMessage, "it"),
        ({"data": "not base64"}, ByteStream, "it.data"),
        ({"data": "aGk=", "path": "/etc/passwd"}, ByteStream, "it"),
        ({}, Exception, "it"),
        ("print", type, "it"),
        ("tomorrow", datetime.datetime, "it"),
    ],
)
def test_json_that_does_not_fit_is_refused_by_path(value, tp, path):
    with pytest.raises(InputInvalid) as refused:
        to_python(value, tp, "it")

    assert refused.value.path == path


def test_openais_form_of_a_tools_answer_is_read():
    message = to_python({"role": "tool", "content": "42", "tool_call_id": "c1"}, ChatMessage, "it")

    assert message.tool_call_result.result == "42"


@pytest.mark.parametrize(
    "value",
    [
        Document(
            content="北京", blob=ByteStream(b"\x00\xff", mime_type="a/b"), meta={"content": "meta's own"}, score=0.5,
            embedding=[0.1], sparse_embedding=SparseEmbedding([1], [0.5]),
        ),
        ChatMessage.from_assistant("好", tool_calls=[ToolCall("t", {"x": 1}, "id")], reasoning="想"),
        ChatMessage.from_tool("结果", origin=ToolCall("t", {}, "id")),
        ChatMessage.from_user(content_parts=["看", ImageContent("aGk=", mime_type="image/png")]),
        ByteStream(bytes(range(256)), meta={"名": 1}, mime_type="x/y"),
    ],
)  # fmt: skip
def test_haystacks_own_values_survive_the_way_out_and_back_in(value):
    assert to_python(to_json(value, "x"), type(value), "x") == value


def test_an_answer_keeps_its_documents():
    answer = GeneratedAnswer(
        data="好", query="问", documents=[Document(id="1", content="a")], meta={"n": numpy.int8(3)}
    )

    found = to_json(answer, "x")

    assert found["data"] == "好"
    assert found["documents"][0]["content"] == "a"
    assert found["meta"] == {"n": 3}


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, {"a": {1: object()}}, {object(): 1}, {1: "a", "1": "b"}, iter([1])]
)
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(NotJSON):
        to_json(value, "x")


def test_subclasses_of_plain_values_become_plain():
    class Text(str):
        pass

    assert type(to_json(Text("a"), "x")) is str
    assert to_json(numpy.array([["a", 1]], dtype=object), "x") == [["a", 1]]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_any_plain_value_comes_out_as_json_that_can_be_stored(value):
    strict_json.check(_without_zeros(strict_json.clean(to_json(value, "x"))))


def _without_zeros(value):
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_zeros(item) for item in value]
    if isinstance(value, dict):
        return {_without_zeros(key): _without_zeros(item) for key, item in value.items()}
    return value


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_a_preview_is_small_and_never_fails(value):
    import json

    assert len(json.dumps(preview(value), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")) <= 4096


@pytest.mark.parametrize(
    ("tp", "text", "schema"),
    [
        (str, "str", {"type": "string"}),
        (Optional[int], "int | None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (None | str, "str | None", {"anyOf": [{"type": "null"}, {"type": "string"}]}),
        (list[Document], "list[Document]", {"type": "array", "items": {"$ref": "#/$defs/Document"}}),
        (dict[str, Any], "dict[str, Any]", {"type": "object"}),
        (dict[str, int], "dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Any, "Any", {}),
        (Union[str, Any], "str | Any", {}),  # noqa: UP007
        (Literal["a", "b"], "Literal['a', 'b']", {"enum": ["a", "b"]}),
        (Colour, "Colour", {"enum": ["红"]}),
        (list, "list", {"type": "array"}),
        (tuple[int, str], "tuple[int, str]", {
            "type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2,
        }),
        (list[ChatMessage] | str, "list[ChatMessage] | str", {
            "anyOf": [{"type": "array", "items": {"$ref": "#/$defs/ChatMessage"}}, {"type": "string"}],
        }),
        (Exception, "Exception", {"not": {}}),
        (Optional[Exception], "Exception | None", {"type": "null"}),  # noqa: UP045
        (list[Exception], "list[Exception]", {"not": {}}),
    ],
)  # fmt: skip
def test_a_type_is_told_as_text_and_as_schema(tp, text, schema):
    assert socket_types.text(tp) == text
    assert socket_types.schema(tp) == schema
