"""Every bundled example passes the engine's checks and runs in the real runner, through the engine's own door."""

import time

import pytest

from tests.model_server import running
from workflows import engine
from workflows.engine import config as engine_config
from workflows.examples import Example

NAMES = [example.path.stem for example in Example.all()]
THAT_NEED_A_MODEL = {"agent_with_tool", "chat_streaming", "embedding_search"}
OUTPUTS = {
    "agent_with_tool": {"answer", "steps", "tool_calls"},
    "answer_question": {"answer", "documents"},
    "chat_streaming": {"replies"},
    "embedding_search": {"documents"},
    "index_documents": {"documents_written"},
    "refine_loop": {"text"},
    "route_request": {"decision"},
}


@pytest.fixture(scope="module")
def model():
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory, model):
    """A configured engine with a runner of its own; what was configured before comes back at the end."""
    folder = tmp_path_factory.mktemp("site")
    config = engine.Config(
        data_dir=folder,
        socket=str(folder / "runner.sock"),
        hosts=(model.host,),
        secrets=(f"LOCAL_KEY@{model.host}",),
        secret_values={"LOCAL_KEY": "local-key"},
    )
    before = engine_config._current
    engine.configure(config)
    keeper = engine.RunnerKeeper(config)
    try:
        assert keeper.wait_until_ready(60)
        yield config
    finally:
        keeper.stop()
        engine_config._current = before


def _text(name: str, model) -> str:
    return Example.named(name).pipeline_yaml.replace("127.0.0.1:18080", model.host)


def _run(name: str, site, model) -> tuple[dict, list[dict]]:
    text = _text(name, model)
    description = engine.check(text).description
    data = engine.accept(description, Example.named(name).trigger_data)
    run = engine.start_run(
        text, description, data, seconds=60, documents_dir=site.documents_dir / "workspace", labels={"job": name}
    )
    messages, until = [], time.monotonic() + 90
    while not run.ended and time.monotonic() < until:
        run.wait(1)
        messages += run.receive()
    return run.outcome, messages


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_valid_without_a_warning(name, site, model):
    checked = engine.check(_text(name, model))

    assert checked.problems == []
    assert set(checked.description["inputs"]) == set(Example.named(name).trigger_data)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_on_its_trigger_data(name, site, model):
    outcome, messages = _run(name, site, model)

    assert outcome["kind"] == "result", outcome
    assert set(outcome["result"]) == OUTPUTS[name]
    assert {message["kind"] for message in messages} >= {"step_started", "step_finished", "result"}


def test_the_sample_question_is_answered_from_the_indexed_texts(site, model):
    _run("index_documents", site, model)

    outcome, _ = _run("answer_question", site, model)

    assert outcome["result"]["documents"][0]["meta"]["title"] == "什么是人工智能"
    assert outcome["result"]["documents"][0]["score"] > outcome["result"]["documents"][-1]["score"] > 0


def test_the_tokens_of_the_chat_arrive_one_by_one(site, model):
    outcome, messages = _run("chat_streaming", site, model)

    tokens = [message["text"] for message in messages if message["kind"] == "token"]
    assert len(tokens) > 3
    assert "".join(tokens) == outcome["result"]["replies"][0]["content"][0]["text"]


@pytest.mark.parametrize("name", NAMES)
def test_a_site_that_allows_no_hosts_refuses_just_the_examples_that_need_one(name, tmp_path, site):
    bare = engine.Config(data_dir=tmp_path, socket=site.socket)
    engine.configure(bare)
    try:
        codes = {problem.code for problem in engine.check(Example.named(name).pipeline_yaml).problems}
    finally:
        engine.configure(site)

    assert codes == ({"host_not_allowed", "secret_not_allowed"} if name in THAT_NEED_A_MODEL else set())
