"""The form for running a workflow."""

from datetime import UTC, datetime

import pytest

from jobs.forms import RETRY_REASONS, RunForm, example, sample
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


# Options: how the one job is to be run


def test_options_that_are_left_empty_are_not_asked_for():
    assert filled(**{QUERY: "问", "priority": "", "not_before": "", "retry_on": []}).control == {}


def test_options_are_what_the_services_take():
    options = {"priority": "0", "timeout_seconds": "7", "max_attempts": "2", "retry_on": ["transient", "timed_out"]}
    form = filled(**{QUERY: "问", "not_before": "2100-01-01T08:00", **options})

    assert form.control == {
        "priority": 0,
        "timeout_seconds": 7,
        "max_attempts": 2,
        "retry_on": "transient,timed_out",
        "available_at": datetime(2100, 1, 1, 8, tzinfo=UTC),
    }


def test_a_time_is_read_in_the_site_s_time_zone(settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    form = filled(**{QUERY: "问", "not_before": "2100-01-01T08:00"})

    assert form.control["available_at"] == datetime(2100, 1, 1, tzinfo=UTC)
    assert "Asia/Shanghai" in form.fields["not_before"].help_text


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("priority", "10"),
        ("priority", "-1"),
        ("timeout_seconds", "0"),
        ("timeout_seconds", "86401"),
        ("max_attempts", "0"),
        ("max_attempts", "11"),
        ("not_before", "tomorrow"),
        ("not_before", "0001-01-01T00:00:00+08:00"),
        ("not_before", "9999-12-31T23:59:59-08:00"),
        ("retry_on", ["cancelled"]),
    ],
)
def test_an_option_out_of_range_is_said_at_its_field_and_is_in_sight(option, value):
    form = RunForm(DESCRIPTION, {"shape": "form", QUERY: "问", option: value})

    assert list(form.errors) == [option]
    assert form.options_are_used


def test_options_are_folded_until_one_is_used():
    assert not RunForm(DESCRIPTION).options_are_used
    assert not RunForm(DESCRIPTION, {"shape": "form", QUERY: ""}).options_are_used
    assert RunForm(DESCRIPTION, {"shape": "form", QUERY: "", "priority": "0"}).options_are_used


def test_each_option_shows_what_holds_without_it(settings):
    settings.JOB_MAX_ATTEMPTS = 4
    block = {"priority": 7, "timeout_seconds": 90, "retry_on": ["timed_out"]}
    fields = RunForm(DESCRIPTION | {"workflow": block}).fields

    shown = [fields[name].widget.attrs["placeholder"] for name in ("priority", "timeout_seconds", "max_attempts")]
    assert shown == ["7", "90", "4"]
    assert "time limit" in fields["retry_on"].help_text
    assert "nothing" in RunForm(DESCRIPTION).fields["retry_on"].help_text


def test_each_reason_to_try_again_has_its_words():
    assert tuple(RETRY_REASONS) == engine.RETRY_REASONS
