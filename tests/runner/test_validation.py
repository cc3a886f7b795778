"""A check tells every problem at once, and of a sound pipeline all that one must know to run it."""

import pytest

from tests.runner.conftest import pipeline


def test_every_problem_is_told_at_once(runner):
    text = pipeline(
        {"a": "Echo", "b": ("BadInit", {"size": 9}), "c": ("BadInit", {"size": 1, "colour": "红"}), "d": "BadInit"},
    )

    answer = runner.check(text)

    assert answer["kind"] == "problems"
    assert {problem["path"]: (problem["code"], problem["message"]) for problem in answer["problems"]} == {
        "components.b.init_parameters": ("component_init_failed", "size must be at most 3"),
        "components.c.init_parameters.colour": ("component_init_failed", "There is no parameter 'colour' here."),
        "components.d.init_parameters": ("component_init_failed", "The parameter 'size' is missing."),
    }


def test_every_bad_connection_is_told_at_once(runner):
    components = {"a": "Echo", "b": "Echo", "n": "Numbers", "p": "Pair"}
    connections = ["a.text -> b.text", "a.words -> b.text", "nobody.text -> b.txt", "a.text -> n.number"]
    connections += ["a -> p", "a.text -> a.text"]

    problems = runner.check(pipeline(components, connections))["problems"]

    assert [(problem["path"], problem["code"]) for problem in problems if problem["severity"] == "error"] == [
        ("connections[1].sender", "unknown_socket"),
        ("connections[2].sender", "unknown_component"),
        ("connections[2].receiver", "unknown_socket"),
        ("connections[3]", "type_mismatch"),
        ("connections[4]", "connection_ambiguous"),
        ("connections[5]", "connection_failed"),
    ]
    assert "It has: text." in problems[0]["message"]
    assert "int" in problems[3]["message"]
    assert "str" in problems[3]["message"]


def test_two_senders_of_one_plain_input_are_a_problem(runner):
    text = pipeline({"a": "Echo", "b": "Echo", "c": "Echo"}, ["a.text -> c.text", "b.text -> c.text"])

    assert runner.codes(text)["connections[1]"] == "connection_failed"


@pytest.mark.parametrize("connection", [{}, {"sender": "a.text"}, {"sender": 1, "receiver": 2}, "a -> b", None])
def test_a_connection_of_the_wrong_form_is_a_problem(runner, connection):
    import yaml

    data = yaml.safe_load(pipeline({"a": "Echo", "b": "Echo"}))
    data["connections"] = [connection]

    assert runner.codes(yaml.safe_dump(data))["connections[0]"] == "connection_invalid"


def test_a_loop_that_can_never_end_is_a_problem(runner):
    components = {"start": ("BranchJoiner", {"type_": "str"}), "a": "Echo"}

    codes = runner.codes(pipeline(components, ["start.value -> a.text", "a.text -> start.value"]))

    assert codes == {"components.a": "endless_cycle"}


def test_a_loop_with_a_way_out_is_none(runner):
    components = {"start": ("BranchJoiner", {"type_": "str"}), "a": ("Again", {"times": 3})}
    text = pipeline(components, ["start.value -> a.text", "a.again -> start.value"])

    assert runner.check(text)["kind"] == "description"
    assert runner.result(text, {"start": {"value": "圈"}}) == {"a": {"done": "圈"}}


def test_a_loop_that_can_never_begin_is_a_problem(runner):
    text = pipeline({"a": "Echo", "b": ("Again", {"times": 3})}, ["a.text -> b.text", "b.again -> a.text"])

    assert runner.codes(text) == {"components.a": "cycle_cannot_start"}


def test_a_component_that_is_connected_to_nothing_is_a_warning(runner):
    text = pipeline({"a": "Echo", "b": "Echo", "c": "Echo"}, ["a.text -> b.text"])

    answer = runner.check(text)

    assert answer["kind"] == "description"
    assert [(p["path"], p["code"], p["severity"]) for p in answer["problems"]] == [
        ("components.c", "component_isolated", "warning")
    ]


def test_a_description_tells_sockets_types_and_connections(runner):
    text = pipeline(
        {"typed": "Typed", "stream": "Streamer", "echo": "Echo", "gather": "Gather"},
        ["echo -> gather.texts", "stream.replies -> typed.anything"],
    )

    found = runner.check(text)["description"]

    assert found["connections"] == [
        {"sender": "echo.text", "receiver": "gather.texts"},
        {"sender": "stream.replies", "receiver": "typed.anything"},
    ]
    assert found["streams"] == ["stream"]
    assert found["haystack_version"]
    typed = found["components"]["typed"]
    assert typed["type"] == "tests.runner.components.Typed"
    assert typed["outputs"] == {"kinds": {"type": "dict[str, str]"}}
    assert typed["inputs"]["documents"] == {
        "type": "list[Document] | None",
        "required": False,
        "default": None,
        "schema": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Document"}}, {"type": "null"}]},
        "connected": False,
    }
    assert typed["inputs"]["choice"]["schema"] == {"enum": ["a", "b"]}
    assert typed["inputs"]["choice"]["default"] == "a"
    assert typed["inputs"]["anything"] == {
        "type": "Any", "required": False, "default": None, "schema": {}, "connected": True,
    }  # fmt: skip
    echo = found["components"]["echo"]["inputs"]["text"]
    assert (echo["required"], echo["schema"], "default" in echo) == (True, {"type": "string"}, False)
    assert found["components"]["gather"]["inputs"]["texts"]["variadic"] is True


def test_checking_needs_no_secret(runner):
    key = {"type": "env_var", "env_vars": ["NOT_SET_ANYWHERE"], "strict": True}
    text = pipeline({"llm": ("OpenAIChatGenerator", {"api_key": key})})

    found = runner.check(text)

    assert found["kind"] == "description"
    assert found["description"]["streams"] == ["llm"]


def test_a_check_that_takes_too_long_is_ended(runner):
    """A template may compute while it is read: Jinja folds constants."""
    text = pipeline({"it": ("OutputAdapter", {"template": "{{ 9 ** (9 ** 9) }}{{ x }}", "output_type": "str"})})

    assert runner.check(text, seconds=1)["code"] == "timed_out"


def test_a_template_that_grows_runs_out_of_memory_and_not_the_machine(runner):
    template = "{{ ('a' * 2000000000) | length }}{{ x }}"
    text = pipeline({"it": ("OutputAdapter", {"template": template, "output_type": "str"})})

    assert runner.check(text, memory_mb=256)["kind"] == "description"  # Jinja gives up computing it beforehand
    assert runner.outcome(text, {"it": {"x": 1}}, memory_mb=256)["code"] == "out_of_memory"
