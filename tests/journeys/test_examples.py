"""The seven bundled pipelines, from the API through a real worker, with no key and no network."""

import json

import pytest

from tests.journeys.site import Site
from tests.model_server import running
from workflows.examples import Example


@pytest.fixture(scope="module")
def model():
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory, model):
    """A site that may reach the tests' model server, as its operator would allow it to."""
    site = Site(
        tmp_path_factory.mktemp("examples"),
        PIPELINE_HOSTS=model.host,
        PIPELINE_SECRETS=f"LOCAL_KEY@{model.host}",
        LOCAL_KEY="local-key",
    ).start()
    yield site
    site.stop()


def run(site, model, name: str) -> dict:
    """The finished job of an example on its own sample data."""
    example = Example.named(name)
    definition = site.define(f"journey {name}", example.pipeline_yaml.replace("127.0.0.1:18080", model.host))
    job = site.finished(site.submit(definition, example.trigger_data, name=name))
    assert job["status_str"] == "completed", job
    return job


def events(site, job) -> list[tuple[int, str, dict]]:
    """All of a job's events, read from the stream until it ends."""
    found = []
    with site.api.stream("GET", f"/ai_workflow_job/{job['id']}/events") as answer:
        assert answer.status_code == 200
        event = {}
        for line in answer.iter_lines():
            if line:
                key, _, value = line.partition(":")
                event[key] = value.strip()
            elif "event" in event:
                found.append((int(event["id"]), event["event"], json.loads(event["data"])))
                event = {}
    return found


def test_documents_are_indexed_and_then_answer_a_chinese_question(site, model):
    written = run(site, model, "index_documents")
    assert written["result_data_json"]["documents_written"] >= 6

    result = run(site, model, "answer_question")["result_data_json"]

    best = result["documents"][0]
    assert best["content"].startswith("什么是人工智能？")
    assert best["score"] > result["documents"][1]["score"] > 0
    assert best["content"].strip() in result["answer"]


def test_a_router_takes_the_branch_of_the_amount(site, model):
    result = run(site, model, "route_request")["result_data_json"]

    assert "采购服务器一台" in json.dumps(result, ensure_ascii=False)


def test_a_loop_ends_when_its_text_is_short_enough(site, model):
    job = run(site, model, "refine_loop")

    assert len(job["result_data_json"]["text"]) <= Example.named("refine_loop").trigger_data["limit"]
    assert max(step["visit_int"] for step in site.steps(job)) > 1


def test_an_agent_calls_its_component_tool(site, model):
    result = run(site, model, "agent_with_tool")["result_data_json"]

    assert result["tool_calls"] == {"total_price": 1}
    assert "102000" in json.dumps(result["answer"], ensure_ascii=False)


def test_a_chat_streams_its_tokens_to_whoever_follows(site, model):
    job = run(site, model, "chat_streaming")
    reply = job["result_data_json"]["replies"][0]["content"][0]["text"]

    told = events(site, job)

    assert [seq for seq, _, _ in told] == list(range(1, len(told) + 1))
    assert "".join(data["text"] for _, kind, data in told if kind == "token") == reply
    assert told[-1][2]["status_str"] == "completed"
    sent = [request for request in model.requests if request.body.get("stream")]
    assert sent[-1].headers.get("Authorization", sent[-1].headers.get("authorization")) == "Bearer local-key"


def test_an_embedding_search_finds_the_document_by_its_meaning(site, model):
    result = run(site, model, "embedding_search")["result_data_json"]

    assert result["documents"][0]["meta"]["title"] == "找回密码"
