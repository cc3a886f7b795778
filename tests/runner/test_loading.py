"""The ways out of Haystack's own sandbox are shut, and proof is that nothing has happened."""

import pytest
import yaml

from tests.runner.conftest import pipeline


def test_the_keys_that_are_not_haystacks_are_ignored(runner):
    text = pipeline({"it": "Echo"}, inputs={"x": ["it.text"]}, outputs={"y": "it.text"}, workflow={"max_attempts": 3})

    assert runner.result(text, {"it": {"text": "好"}}) == {"it": {"text": "好"}}
    assert runner.check(text)["kind"] == "description"


def test_a_class_that_the_policy_lacks_is_refused_though_its_module_is_allowed(runner):
    text = pipeline({"it": "tests.runner.components.NotOnTheList"})

    assert runner.codes(text) == {"components.it.type": "component_not_allowed"}
    outcome = runner.outcome(text, {"it": {"text": "a"}})
    assert outcome["code"] == "load_failed"
    assert "NotOnTheList" in outcome["message"]


def test_a_class_of_haystacks_that_the_policy_lacks_is_refused(runner):
    text = pipeline({"it": "haystack.components.fetchers.link_content.LinkContentFetcher"})

    assert runner.codes(text) == {"components.it.type": "component_not_allowed"}


def test_a_class_hidden_in_a_parameter_is_refused(runner):
    text = pipeline(
        {
            "it": (
                "Agent",
                {
                    "chat_generator": {
                        "type": "haystack.components.generators.chat.azure.AzureOpenAIChatGenerator",
                        "init_parameters": {"azure_endpoint": "http://127.0.0.1"},
                    }
                },
            )
        }
    )

    assert runner.codes(text) == {"components.it.type": "component_not_allowed"}


def test_a_module_that_nobody_named_is_never_imported(runner):
    assert runner.codes(pipeline({"it": "antigravity.Flyer"})) == {"components.it.type": "component_not_allowed"}


def test_a_component_that_is_allowed_but_not_there_is_named(runner):
    text = pipeline({"it": "haystack_integrations.components.Missing"})

    answer = runner.check(text, components=["haystack_integrations.components.Missing"])

    assert [problem["code"] for problem in answer["problems"]] == ["component_unknown"]
    assert "imported" in answer["problems"][0]["message"]


@pytest.mark.parametrize(
    "expression",
    [
        "value[0].to_dict()",
        "value[0].from_dict({'content': 'x'})",
        "value[0].__class__.__name__",
        "value.__class__.__mro__",
        "''.__class__.__base__",
        "cycler.__init__.__globals__",
        "range.__self__.__name__",
        "('a'|attr('__class__'))",
        "'{0.__class__}'.format(value[0])",
        "'{x.__class__}'.format_map({'x': value[0]})",
    ],
)
def test_a_template_calls_no_methods_of_documents_and_sees_no_internals(runner, expression):
    template = "before {{ value[0].content }} {{ " + expression + " }} after"

    outcome = runner.outcome(_given("documents", template), {"give": {"kind": "documents"}})

    assert _is_refused(outcome) or outcome["result"]["it"]["prompt"] == "before 北京天气  after", outcome


@pytest.mark.parametrize("call", ["from_file_path('%s').to_string()", "to_file('%s')", "to_dict()"])
def test_a_template_given_as_data_can_neither_read_nor_write_files(runner, tmp_path, call):
    path = tmp_path / "written.txt"
    call = call % path if "%" in call else call
    data = {"give": {"kind": "bytes"}, "it": {"template": "{{ value.mime_type }}{{ value." + call + " }}"}}

    outcome = runner.outcome(_given("bytes", "{{ value.mime_type }}"), data)

    assert _is_refused(outcome), outcome
    assert not path.exists()
    harmless = {**data, "it": {"template": "{{ value.mime_type }}"}}
    assert runner.result(_given("bytes", ""), harmless)["it"]["prompt"] == "image/png"


def _given(kind: str, template: str) -> str:
    """A pipeline whose template gets a living object, as behind a retriever."""
    return pipeline(
        {"give": "Giver", "it": ("PromptBuilder", {"template": template, "variables": ["value"]})},
        ["give.value -> it.value"],
    )


def _is_refused(outcome: dict) -> bool:
    return outcome["kind"] == "error" and outcome["message"].startswith(("SecurityError", "UndefinedError"))


def test_a_template_does_what_templates_are_for(runner):
    template = (
        "{% macro row(d) %}- {{ d.content }} ({{ d.meta.page }}){% endmacro %}"
        "{% for d in documents %}{{ loop.index }}{{ row(d) }}{% if loop.last %}.{% endif %}{% endfor %}"
        "{{ ' 关 键 '.strip().replace(' ', '').upper() }}{% for k, v in options.items() %}{{ k }}={{ v }}{% endfor %}"
        "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}"
        "{{ documents | length }}{{ 'a,b'.split(',') | join('+') }}{{ '{}!'.format(1) }}"
    )
    text = pipeline({"it": ("PromptBuilder", {"template": template, "required_variables": "*"})})
    data = {"documents": [{"content": "北京", "meta": {"page": 7}}], "options": {"k": 1}}

    prompt = runner.result(text, {"it": data})["it"]["prompt"]

    assert prompt == "1- 北京 (7).关键k=131a+b1!"


@pytest.mark.parametrize(
    "handle", ["builtins.print", "os.system", "typing.get_type_hints", "haystack.Document.from_dict"]
)
def test_no_name_in_yaml_becomes_a_function(runner, handle):
    tool = {
        "type": "haystack.tools.tool.Tool",
        "data": {
            "name": "t",
            "description": "d",
            "parameters": {"type": "object", "properties": {}},
            "function": handle,
        },
    }
    mock = {"type": "haystack.components.generators.chat.mock.MockChatGenerator", "init_parameters": {}}
    text = pipeline({"it": ("Agent", {"chat_generator": mock, "tools": [tool]})})

    assert runner.check(text)["kind"] == "problems"
    assert runner.outcome(text, {"it": {"messages": []}})["code"] == "load_failed"


@pytest.mark.parametrize("call", ["read_text()", "write_text('x')", "parent.glob('*')", "exists()"])
def test_a_path_in_a_template_can_do_nothing(runner, call):
    text = pipeline(
        {
            "route": ("FileTypeRouter", {"mime_types": ["text/x-python"]}),
            "it": ("PromptBuilder", {"template": "{{ paths[0]." + call + " }}", "variables": ["paths"]}),
        },
        ["route.text/x-python -> it.paths"],
    )

    outcome = runner.outcome(text, {"route": {"sources": [__file__]}})

    assert _is_refused(outcome), outcome


@pytest.mark.parametrize(
    "text", ["", "[]", "components: [a]", "components: {a: 1}", "a: &a [*a]", "!!python/object/apply:os.getcwd []", "{"]
)
def test_what_is_no_pipeline_is_a_problem_and_not_a_crash(runner, text):
    assert runner.check(text)["kind"] == "problems"
    assert runner.outcome(text)["code"] == "load_failed"


def test_building_a_component_is_limited_like_running_one(runner):
    text = pipeline({"it": ("HeavyInit", {"megabytes": 2000})})

    answer = runner.check(text, memory_mb=200)

    assert [problem["code"] for problem in answer["problems"]] == ["out_of_memory"]
    assert runner.outcome(text, {"it": {"text": "a"}}, memory_mb=200)["code"] == "out_of_memory"


def test_an_error_does_not_repeat_the_components_own_data(runner):
    text = pipeline({"it": ("Echo", {"nonsense": "private-words-in-the-yaml"})})

    assert "private-words" not in yaml.safe_dump(runner.check(text))
    assert "private-words" not in runner.outcome(text, {"it": {"text": "a"}})["message"]
