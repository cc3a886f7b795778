"""Trigger data: the three shapes, what they reach, and what is said of data that does not fit."""

import json

import pytest
from jsonschema import Draft202012Validator

from tests.effort import calls_of
from workflows.engine.errors import TriggerDataRefused
from workflows.engine.inputs import accept, parse, trigger_schema


def socket(schema, type="Any", required=False, connected=False, reachable=True):
    return {"type": type, "required": required, "schema": schema, "connected": connected, "reachable": reachable}


STRING, INTEGER = {"type": "string"}, {"type": "integer"}
OPTIONAL_INTEGER = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
DOCUMENTS = {"type": "array", "items": {"$ref": "#/$defs/Document"}}
MESSAGES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/ChatMessage"}}]}


def describe(inputs: dict, declared=False) -> dict:
    """A description of a small RAG pipeline, with the inputs given as {name: (targets, schema, required)}."""
    return {
        "declared": declared,
        "inputs": {
            name: {"targets": targets, "type": "", "required": required, "schema": schema}
            for name, (targets, schema, required) in inputs.items()
        },
        "components": {
            "retriever": {
                "type": "x.Retriever",
                "inputs": {
                    "query": socket(STRING, "str", required=True),
                    "top_k": socket(OPTIONAL_INTEGER),
                    "score": socket({"type": "number"}),
                    "documents": socket(DOCUMENTS),
                },
                "outputs": {},
            },
            "提示": {
                "type": "x.Prompt",
                "inputs": {
                    "query": socket({}, required=True),
                    "template": socket(STRING, reachable=False),
                    "documents": socket(DOCUMENTS, required=True, connected=True),
                    "messages": socket(MESSAGES),
                },
                "outputs": {},
            },
        },
    }


FLAT = describe({
    "query": (["retriever.query", "提示.query"], STRING, True),
    "top_k": (["retriever.top_k"], OPTIONAL_INTEGER, False),
    "score": (["retriever.score"], {"type": "number"}, False),
    "documents": (["retriever.documents"], DOCUMENTS, False),
    "messages": (["提示.messages"], MESSAGES, False),
})  # fmt: skip
DECLARED = describe({"问题": (["retriever.query", "提示.query"], STRING, True)}, declared=True)


def refused(description, data):
    with pytest.raises(TriggerDataRefused) as caught:
        accept(description, data)
    return caught.value.problems


def test_flat_data_goes_to_every_open_socket_of_its_name():
    assert accept(FLAT, {"query": "数据库", "top_k": 3}) == {
        "retriever": {"query": "数据库", "top_k": 3},
        "提示": {"query": "数据库"},
    }


def test_data_by_component_goes_where_it_says():
    data = {"retriever": {"query": "a"}, "提示": {"query": {"any": ["value"]}}}

    assert accept(FLAT, data) == data


def test_the_names_of_the_block_are_its_own():
    assert accept(DECLARED, {"问题": "天气"}) == {"retriever": {"query": "天气"}, "提示": {"query": "天气"}}


def test_an_input_may_be_called_like_a_component():
    description = describe({"retriever": (["retriever.query", "提示.query"], {}, True)}, declared=True)

    assert accept(description, {"retriever": {"free": "form"}})["提示"] == {"query": {"free": "form"}}


def test_empty_values_are_values():
    accepted = accept(FLAT, {"query": "", "top_k": None, "documents": []})

    assert accepted["retriever"] == {"query": "", "top_k": None, "documents": []}


def test_no_data_is_enough_where_nothing_is_required():
    assert accept(describe({"top_k": (["retriever.top_k"], INTEGER, False)}), {}) == {}


@pytest.mark.parametrize("data", [None, [], [1, 2], "text", 5, True])
def test_what_is_no_object_is_refused(data):
    (problem,) = refused(FLAT, data)

    assert problem.code == "not_an_object"


@pytest.mark.parametrize(
    ("data", "code", "path", "says"),
    [
        ({}, "missing", "query", "retriever.query"),
        ({"query": 5}, "wrong_type", "query", "must be a text, and this is the number 5"),
        ({"query": None}, "wrong_type", "query", "null"),
        ({"query": "q", "top_k": "five"}, "wrong_type", "top_k", "a whole number or null"),
        ({"query": "q", "top_k": True}, "wrong_type", "top_k", "true"),
        ({"query": "q", "top_k": 2.5}, "wrong_type", "top_k", "2.5"),
        ({"query": "q", "score": False}, "wrong_type", "score", "a number"),
        ({"query": "q", "topk": 5}, "unknown_input", "topk", "Did you mean `top_k`?"),
        ({"query": "q", "template": "{{ x }}"}, "unreachable_input", "template", "changes what the component does"),
        ({"query": "q", "提示": 3}, "unknown_input", "提示", "is a component"),
        ({"query": "q", "提示": {"query": "r"}}, "unknown_input", "提示", "either all data by component"),
        ({"query": "q", "documents": "text"}, "wrong_type", "documents", "a list of Documents"),
        ({"query": "q", "documents": [{"content": 5}]}, "wrong_type", "documents[0].content", "a text or null"),
        ({"query": "q", "documents": [{"content": "a"}, {"contents": "b"}]}, "unknown_input", "documents[1].contents",
         "Did you mean `content`?"),
        ({"query": "q", "documents": [{"blob": {"data": "不是"}}]}, "wrong_format", "documents[0].blob.data", "base64"),
        ({"query": "q", "messages": [{"content": "a"}]}, "missing", "messages[0].role", "role"),
        ({"query": "q", "messages": [{"role": "x", "content": "a"}]}, "not_a_choice", "messages[0].role", "assistant"),
        ({"query": "q", "messages": [{"role": "user"}]}, "missing", "messages[0]", "`content`"),
        ({"query": "q", "messages": 5}, "wrong_type", "messages", "a text or a list of ChatMessages"),
        ({"retriever": {"query": "q"}}, "missing", "提示.query", "提示.query"),
        ({"retriever": {"query": "q", "nope": 1}, "提示": {"query": 1}}, "unknown_input", "retriever.nope", "no input"),
        ({"retriever": {"query": 7}, "提示": {"query": 1}}, "wrong_type", "retriever.query", "a text"),
        ({"retriever": {"query": "q"}, "提示": {"query": "q", "template": "{{ x }}"}}, "unreachable_input",
         "提示.template", "changes what the component does"),
        ({"retriever": {"query": "q"}, "提示": {"query": "q", "documents": []}}, "unreachable_input",
         "提示.documents", "another component"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(data, code, path, says):
    problems = refused(FLAT, data)

    assert [(problem.code, problem.path) for problem in problems] == [(code, path)]
    assert says in problems[0].message


def test_a_block_is_all_that_can_be_reached():
    assert refused(DECLARED, {"问题": "a", "top_k": 5})[0].code == "unreachable_input"
    assert refused(DECLARED, {"query": "a"})[0].code == "unreachable_input"
    problems = refused(DECLARED, {"retriever": {"query": "a", "top_k": 5}, "提示": {"query": "b"}})
    assert [(problem.code, problem.path) for problem in problems] == [("unreachable_input", "retriever.top_k")]


def test_every_problem_is_told_and_not_the_first_alone():
    problems = refused(FLAT, {"top_k": "x", "nothing": 1, "documents": [{"content": 1}, {"score": "high"}]})

    assert {(problem.code, problem.path) for problem in problems} == {
        ("wrong_type", "top_k"),
        ("unknown_input", "nothing"),
        ("wrong_type", "documents[0].content"),
        ("wrong_type", "documents[1].score"),
        ("missing", "query"),
    }


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "你好"},
        {"role": "user", "content": [{"text": "你好"}]},
        {
            "role": "assistant",
            "content": [{"tool_call": {"tool_name": "t", "arguments": {}}}],
            "meta": {},
            "name": None,
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ],
)
def test_messages_are_taken_in_haystacks_form_and_in_openais(message):
    assert accept(FLAT, {"query": "q", "messages": [message]})["提示"]["messages"] == [message]


def test_a_document_is_taken_as_haystack_writes_it():
    document = {
        "id": "1", "content": "正文", "blob": {"data": "5L2g", "mime_type": "a/b", "meta": {}}, "meta": {},
        "score": None, "embedding": [0.5, 1], "sparse_embedding": {"indices": [1], "values": [0.5]},
    }  # fmt: skip

    assert accept(FLAT, {"query": "q", "documents": [document]})["retriever"]["documents"] == [document]


def test_a_whole_number_is_a_number():
    assert accept(FLAT, {"query": "q", "score": 1})["retriever"]["score"] == 1


def test_a_string_that_holds_an_object_is_that_object():
    assert parse('{"query": "什么"}') == {"query": "什么"}
    assert parse({"query": "什么"}) == {"query": "什么"}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("not json", "invalid_json"), ("[1]", "not_an_object"), ("5", "not_an_object"), ([1, 2], "not_an_object"),
        ('{"a": 1, "a": 2}', "invalid_json"), ('{"a": NaN}', "invalid_json"), ({"a": "\0"}, "invalid_json"),
        ({"a": ["\ud800"]}, "invalid_json"), (None, "not_an_object"), ("", "invalid_json"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(value, code):
    with pytest.raises(TriggerDataRefused) as caught:
        parse(value)

    assert caught.value.problems[0].code == code


def test_the_trigger_schema_says_the_same_as_accept():
    schema = trigger_schema(FLAT["inputs"])
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    assert set(schema["$defs"]) == {"Document", "ChatMessage", "ByteStream"}
    assert schema["required"] == ["query"]
    for data in ({"query": "q", "documents": [{"content": "a"}]}, {"query": "q", "messages": "m", "top_k": None}):
        assert validator.is_valid(data)
        accept(FLAT, data)
    for data in ({}, {"query": 1}, {"query": "q", "x": 1}, {"query": "q", "documents": [{"blob": 1}]}):
        assert not validator.is_valid(data)
        refused(FLAT, data)
    assert "$defs" not in trigger_schema(DECLARED["inputs"])


def test_what_was_made_for_an_interface_is_kept():
    data = {"query": "数据库连接超时怎么办", "top_k": 5, "documents": [{"content": "a", "meta": {"k": 1}}]}
    description = json.loads(json.dumps(FLAT))
    accept(description, data)

    assert calls_of(lambda: accept(description, data)) < 500
