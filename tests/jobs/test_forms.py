"""The form for running a workflow."""

import pytest

from jobs.forms import RunForm, example, sample
from workflows import engine

DESCRIPTION = {
    "inputs": {
        "query": {"targets": ["a.query"], "type": "str", "required": True, "schema": {"type": "string"}},
        "top_k": {
            "targets": ["a.top_k"],
            "type": "int | None",
            "required": False,
            "default": 10,
            "schema": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        },
        "deep": {"targets": ["a.deep"], "type": "bool", "required": False, "schema": {"type": "boolean"}},
        "mode": {"targets": ["a.mode"], "type": "str", "required": False, "schema": {"enum": ["快", "慢"]}},
        "anything": {"targets": ["a.x"], "type": "Any", "required": False, "schema": {}},
        "documents": {
            "targets": ["a.documents"],
            "type": "list[Document]",
            "required": False,
            "schema": {"type": "array", "items": {"$ref": "#/$defs/Document"}},
        },
    }
}
QUERY, TOP_K, DEEP, MODE, ANYTHING, DOCUMENTS = (f"input_{number}" for number in range(6))


def filled(**data) -> RunForm:
    form = RunForm(DESCRIPTION, {"shape": "form", **data})
    assert form.is_valid(), form.errors
    return form


def test_each_input_is_read_as_its_type():
    form = filled(
        **{
            QUERY: "  天气？\r\n",
            TOP_K: "3",
            DEEP: "false",
            MODE: '"快"',
            ANYTHING: "随便",
            DOCUMENTS: '[{"content": "文"}]',
        }
    )

    assert form.trigger_data == {
        "query": "  天气？\r\n",
        "top_k": 3,
        "deep": False,
        "mode": "快",
        "anything": "随便",
        "documents": [{"content": "文"}],
    }


def test_what_is_left_empty_is_left_out():
    assert filled(**{QUERY: "问"}).trigger_data == {"query": "问"}


def test_an_input_of_any_type_takes_json_that_looks_like_it():
    assert filled(**{QUERY: "问", ANYTHING: '{"a": 1}'}).trigger_data["anything"] == {"a": 1}
    assert filled(**{QUERY: "问", ANYTHING: "5"}).trigger_data["anything"] == "5"


@pytest.mark.parametrize(
    ("field", "value"),
    [(QUERY, ""), (TOP_K, "three"), (TOP_K, "0"), (MODE, '"偷"'), (ANYTHING, "{"), (DOCUMENTS, '{"a": 1, "a": 2}')],
)
def test_what_does_not_fit_is_said_at_its_field(field, value):
    form = RunForm(DESCRIPTION, {"shape": "form", QUERY: "问", field: value})

    assert list(form.errors) == [field]


def test_as_json_the_form_s_fields_do_not_count():
    form = RunForm(DESCRIPTION, {"shape": "json", "whole": '{"query": "问", "top_k": null}'})

    assert form.is_valid(), form.errors
    assert form.trigger_data == {"query": "问", "top_k": None}


@pytest.mark.parametrize("whole", ["", "[1]", '{"a": NaN}', "{"])
def test_json_that_is_no_object_is_refused(whole):
    assert "whole" in RunForm(DESCRIPTION, {"shape": "json", "whole": whole}).errors


def test_the_engine_s_problems_come_out_at_the_fields_they_are_about():
    form = filled(**{QUERY: "问"})

    form.refuse([engine.InputProblem("x", "too short", "query"), engine.InputProblem("y", "odd", "nobody")])

    assert form.errors[QUERY] == ["too short"]
    assert form.non_field_errors() == ["nobody: odd"]


def test_the_sample_holds_what_is_required():
    assert sample(DESCRIPTION) == {"query": ""}
    assert example(DESCRIPTION["inputs"]["documents"]["schema"]) == [{"content": "…", "meta": {}}]
