"""Checking a definition: the policy first, then the runner, and the description that comes out."""

import time

import pytest

from tests.effort import calls_of
from tests.engine.sites import configured, with_runner
from workflows import engine
from workflows.engine import checking, client

MISBEHAVING = "tests.engine.misbehaving.Loaded"
PROMPT = """\
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters:
      template: "问题：{{ query }}（前 {{ top_k }} 条）"
      required_variables: [query, top_k]
connections: []
"""
RAG = """\
components:
  retriever:
    type: haystack.components.retrievers.in_memory.bm25_retriever.InMemoryBM25Retriever
    init_parameters:
      document_store:
        type: haystack.document_stores.in_memory.document_store.InMemoryDocumentStore
        init_parameters: {}
  提示:
    type: haystack.components.builders.chat_prompt_builder.ChatPromptBuilder
    init_parameters:
      template:
      - {role: user, content: [{text: "{{ query }} {% for d in documents %}{{ d.content }}{% endfor %}"}]}
  llm:
    type: haystack.components.generators.chat.mock.MockChatGenerator
    init_parameters: {}
connections:
- {sender: retriever.documents, receiver: 提示.documents}
- {sender: 提示.prompt, receiver: llm.messages}
"""
UPLOAD = """\
components:
  read:
    type: haystack.components.converters.txt.TextFileToDocument
    init_parameters: {}
"""


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory):
    with with_runner(
        tmp_path_factory.mktemp("checking"), memory_mb=512, check_seconds=2, components=(MISBEHAVING,)
    ) as config:
        yield config


def description_of(text: str) -> dict:
    checked = engine.check(text)
    assert checked.valid, checked.problems
    return checked.description


def problems_of(text: str) -> dict[str, engine.Problem]:
    checked = engine.check(text)
    assert not checked.valid
    assert checked.description is None
    return {problem.code: problem for problem in checked.problems}


def test_a_good_definition_is_described():
    description = description_of(RAG + "outputs: {回答: llm.replies}\nworkflow: {timeout_seconds: 60}\n")

    assert description["declared"] is False
    assert description["inputs"]["query"] == {
        "targets": ["retriever.query", "提示.query"], "type": "str", "required": True, "schema": {"type": "string"},
    }  # fmt: skip
    assert description["inputs"]["top_k"]["required"] is False
    assert description["outputs"] == {"回答": {"source": "llm.replies", "type": "list[ChatMessage]"}}
    assert description["workflow"] == {"timeout_seconds": 60}
    assert description["streams"] == ["llm"]
    assert {"sender": "retriever.documents", "receiver": "提示.documents"} in description["connections"]
    assert description["components"]["提示"]["inputs"]["documents"]["connected"] is True


def test_what_changes_a_component_is_no_input_unless_it_is_listed():
    inferred = description_of(RAG)
    listed = description_of(RAG + "inputs: {query: [retriever.query, 提示.query], 模板: 提示.template}\n")

    assert not {"template", "template_variables", "generation_kwargs", "tools", "streaming_callback"} & (
        inferred["inputs"].keys()
    )
    assert inferred["components"]["提示"]["inputs"]["template"]["reachable"] is False
    assert listed["inputs"]["模板"]["targets"] == ["提示.template"]
    assert listed["components"]["提示"]["inputs"]["template"]["reachable"] is True


def test_a_block_closes_what_it_does_not_list():
    description = description_of(RAG + "inputs: {q: [retriever.query, 提示.query]}\n")

    assert description["declared"] is True
    assert list(description["inputs"]) == ["q"]
    assert description["components"]["retriever"]["inputs"]["top_k"]["reachable"] is False


@pytest.mark.parametrize("socket", ["llm.streaming_callback", "llm.tools"])
def test_what_takes_code_is_no_input_even_when_it_is_listed(socket):
    found = problems_of(RAG + f"inputs: {{q: [retriever.query, 提示.query], x: {socket}}}\n")

    assert set(found) == {"input_not_allowed"}


def test_a_variable_of_a_template_is_data_whatever_its_name():
    description = description_of(PROMPT.replace("query", "code").replace("top_k", "sources"))

    assert list(description["inputs"]) == ["code", "sources"]


def test_files_arrive_as_bytes_when_the_author_lists_them_and_never_by_path():
    description = description_of(UPLOAD + "inputs: {files: read.sources}\n")

    with pytest.raises(engine.TriggerDataRefused):
        engine.accept(description, {"files": ["/etc/hostname"]})
    assert engine.accept(description, {"files": [{"data": "5L2g5aW9"}]}) == {
        "read": {"sources": [{"data": "5L2g5aW9"}]}
    }


def test_a_socket_that_nothing_can_fill_is_a_problem_that_names_it():
    unlisted = problems_of(UPLOAD)["unreachable_input"]
    closed = problems_of(RAG + "inputs: {q: retriever.query}\n")["unreachable_input"]

    assert "`read.sources`" in unlisted.message
    assert (unlisted.path, unlisted.line) == ("components.read", 2)
    assert "`提示.query`" in closed.message


def test_the_sockets_of_a_block_must_exist():
    checked = engine.check(
        PROMPT
        + "inputs:\n  question: [prompt.query]\n  n: [prompt.top_k, prompt.nope]\noutputs:\n  text: prompt.nope\n"
    )

    assert [(problem.code, problem.path, problem.line) for problem in checked.problems] == [
        ("unknown_socket", "inputs.n[1]", 10),
        ("unknown_socket", "outputs.text", 12),
    ]


def test_a_connected_socket_is_no_input():
    found = problems_of(RAG + "inputs: {q: [retriever.query, 提示.query], d: 提示.documents}\n")

    assert "提示.documents" in found["socket_connected"].message


def test_what_only_haystack_can_see_has_its_line_and_column():
    connection = "connections:\n  - sender: prompt.nope\n    receiver: prompt.query\n"
    problem = problems_of(PROMPT.replace("connections: []\n", connection))["unknown_socket"]

    assert (problem.path, problem.line, problem.column) == ("connections[0].sender", 8, 5)


def test_a_text_that_the_policy_refuses_never_reaches_the_runner(monkeypatch):
    asked = []
    monkeypatch.setattr(client, "request", lambda payload, seconds, **_: asked.append(payload))

    checked = engine.check(PROMPT.replace("haystack.components.builders.prompt_builder.PromptBuilder", "os.system"))

    assert [problem.code for problem in checked.problems] == ["component_not_allowed"]
    assert asked == []


@pytest.mark.parametrize(("how", "says"), [("sleep", "too long"), ("hog", "memory"), ("die", "signal 9")])
def test_a_definition_that_brings_its_loader_down_is_a_problem_that_says_how(how, says):
    (problem,) = engine.check(f"components: {{a: {{type: {MISBEHAVING}, init_parameters: {{how: {how}}}}}}}\n").problems

    assert problem.code == "check_failed"
    assert says in problem.message
    assert engine.check(PROMPT).valid, "the runner lives on"


def test_a_template_that_grows_while_it_loads_stays_within_the_limits():
    template = "{{ ('a' * 2000000000) | length }}{{ x }}"
    started = time.monotonic()

    engine.check(
        "components:\n  a:\n    type: haystack.components.converters.output_adapter.OutputAdapter\n"
        f'    init_parameters: {{template: "{template}", output_type: str}}\n'
    )

    assert time.monotonic() - started < 10
    assert engine.check(PROMPT).valid, "the runner lives on"


def test_without_a_runner_a_good_text_is_not_called_bad(tmp_path):
    with configured(tmp_path), pytest.raises(engine.RunnerUnavailable):
        engine.check(PROMPT)


def test_without_a_runner_a_bad_text_is_still_told_apart(tmp_path):
    with configured(tmp_path):
        assert [problem.code for problem in engine.check("components: {a: 1}").problems] == ["component_not_a_mapping"]


@pytest.mark.parametrize("text", ["", "just text", "- a", "components: [unclosed", "components:\n  a: 1\n", None, 5])
def test_no_text_makes_a_check_raise(text):
    checked = engine.check(text)

    assert not checked.valid
    assert checked.problems


def test_the_static_check_follows_the_policy_of_the_moment(tmp_path):
    text = "components: {c: {type: my.own.Thing}}"
    with configured(tmp_path, components=("my.own.Thing",)):
        assert engine.static_check(text) == []
    with configured(tmp_path):
        assert [problem.code for problem in engine.static_check(text)] == ["component_not_allowed"]


def test_a_text_that_was_just_seen_costs_next_to_nothing(tmp_path):
    with configured(tmp_path):
        text = RAG + "".join(f"# {n}\n" for n in range(20_000))
        engine.static_check(text)

        assert calls_of(lambda: engine.static_check(text)) < 50


def test_few_texts_are_remembered(tmp_path):
    with configured(tmp_path):
        for number in range(checking._KEPT * 2):
            engine.static_check(f"components: {{a{number}: 1}}")

    assert len(checking._seen) <= checking._KEPT


def test_a_check_waits_for_a_runner_that_is_starting(tmp_path):
    with configured(tmp_path, patience_seconds=20) as config:
        keeper = engine.RunnerKeeper(config)
        keeper.tick()  # it needs a second or so until it answers
        try:
            assert engine.check(PROMPT).valid
        finally:
            keeper.stop()
