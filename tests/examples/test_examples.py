"""Every bundled example runs on its own trigger data, with Haystack alone, and says what its README promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workflows.examples import Example

ROOT = Path(__file__).parents[2]
NAMES = [example.path.stem for example in Example.all()]
LOCAL_MODEL = "127.0.0.1:18080"


@pytest.fixture
def run(tmp_path, model_server):
    """Runs an example in a process of its own, on its own trigger data or some of the test's, and returns its outputs.

    All runs of a test share one workspace.
    """

    def run_example(name: str, **changed) -> dict:
        example = Example.named(name)
        request = {
            "yaml": example.pipeline_yaml.replace(LOCAL_MODEL, model_server.host),
            "trigger_data": {**example.trigger_data, **changed},
        }
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AIWORKFLOW_DOCUMENTS_DIR": str(tmp_path / "documents"),
            "HAYSTACK_TELEMETRY_ENABLED": "false",
            "LOCAL_KEY": "local-key",
            "PYTHONUTF8": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.examples.run_pipeline"],
            input=json.dumps(request),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run_example


@pytest.mark.parametrize("name", NAMES)
def test_an_example_says_what_it_is_in_two_languages_and_declares_what_its_data_reaches(name):
    example = Example.named(name)
    declared = yaml.safe_load(example.pipeline_yaml)

    assert " · " in example.title
    assert len(example.title) <= 255
    assert len(example.description.splitlines()) == 2
    assert len(example.description) <= 1000
    assert "example" in example.tags.split(",")
    assert set(example.trigger_data) == set(declared["inputs"])
    assert declared["outputs"]


def test_the_readme_names_every_example():
    readme = (ROOT / "workflows/examples/README.md").read_text()

    assert [name for name in NAMES if f"`{name}`" not in readme] == []


def test_a_question_is_answered_from_what_was_indexed(run):
    assert run("index_documents")["outputs"]["documents_written"] == 10

    outputs = run("answer_question")["outputs"]

    assert outputs["answer"].startswith(
        "问题：什么是人工智能？\n\n答案：什么是人工智能？人工智能（Artificial Intelligence"
    )
    assert "《机器学习》（相关度 " in outputs["answer"]
    scores = [document["score"] for document in outputs["documents"]]
    assert 2 <= len(scores) <= 5
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0


def test_indexing_again_keeps_each_passage_once(run):
    run("index_documents")
    once = run("answer_question", query="数据库连接超时")["outputs"]["documents"]

    run("index_documents")

    assert run("answer_question", query="数据库连接超时")["outputs"]["documents"] == once
    assert once[0]["meta"]["title"] == "运维手册：数据库"


def test_english_is_found_too_and_top_k_is_kept(run):
    run("index_documents")

    assert run("answer_question", query="What is a pipeline?")["outputs"]["documents"][0]["meta"]["lang"] == "en"
    assert len(run("answer_question", top_k=1)["outputs"]["documents"]) == 1


def test_without_an_index_the_answer_says_what_to_do_first(run):
    outputs = run("answer_question")["outputs"]

    assert outputs["documents"] == []
    assert "请先运行 index_documents" in outputs["answer"]


@pytest.mark.parametrize(
    ("amount", "decision"),
    [
        (999.99, "自动批准：采购服务器一台"),
        (1000, "需要部门经理审批：采购服务器一台"),
        (28500, "需要部门经理审批：采购服务器一台"),
        (50000, "需要总经理审批：采购服务器一台"),
    ],
)
def test_a_purchase_goes_to_whoever_may_approve_it(run, amount, decision):
    assert run("route_request", amount=amount)["outputs"] == {"decision": decision}


def test_what_is_bought_stays_text_even_where_it_looks_like_a_number(run):
    assert run("route_request", item="1,000")["outputs"]["decision"].endswith("：1,000")


def test_the_loop_ends_as_soon_as_the_text_fits(run):
    shortened = run("refine_loop")["outputs"]["text"]

    assert shortened == "系统将于周六凌晨两点升级。升级期间网站暂停服务，大约需要一个小时。请提前保存您的工作。"
    assert len(shortened) <= 50


@pytest.mark.parametrize(
    ("text", "limit", "shortened"),
    [
        ("短。", 50, "短。"),
        ("只有一句话但是太长太长", 6, "只有一句话…"),
        ("第一句话太长太长。第二句。", 5, "第一句话…"),
        ("甲。乙。丙。", 4, "甲。乙。"),
    ],
)
def test_the_loop_ends_for_every_text(run, text, limit, shortened):
    assert run("refine_loop", text=text, limit=limit)["outputs"]["text"] == shortened


def test_the_agent_computes_with_its_tool(run, model_server):
    outputs = run("agent_with_tool")["outputs"]

    assert outputs == {"answer": "工具的结果：12 × 8500 = 102000 元", "steps": 2, "tool_calls": {"total_price": 1}}
    (tool,) = model_server.requests[0].body["tools"]
    assert set(tool["function"]["parameters"]["properties"]) == {"quantity", "unit_price"}


def test_the_chat_streams_its_answer(run, model_server):
    done = run("chat_streaming")

    assert done["outputs"]["replies"] == ["您的问题是：请用一句话介绍一下人工智能。"]
    assert "".join(done["tokens"]) == done["outputs"]["replies"][0]
    assert len(done["tokens"]) > 4
    assert model_server.requests[0].headers["authorization"] == "Bearer local-key"


def test_the_search_can_only_come_after_the_writing():
    connections = yaml.safe_load(Example.named("embedding_search").pipeline_yaml)["connections"]
    before = {"retriever"}  # and, in a while, all that it waits for

    for _ in connections:
        before |= {c["sender"].split(".")[0] for c in connections if c["receiver"].split(".")[0] in before}

    assert "writer" in before


def test_what_is_most_like_the_query_is_found_among_what_was_just_written(run, model_server):
    found = run("embedding_search")["outputs"]["documents"]

    assert found[0]["meta"]["title"] == "找回密码"
    assert len(found) == 2
    assert found[0]["score"] > found[1]["score"]
    embedded = [request.body["input"] for request in model_server.requests]
    assert [isinstance(texts, list) for texts in embedded] == [True, False]  # the documents, then the query


def test_a_model_that_is_busy_for_a_moment_is_asked_again(run, model_server):
    done = run("chat_streaming", question="[[status=429 times=1]]你好")

    assert done["outputs"]["replies"][0].endswith("你好")
    assert len(model_server.requests) == 2
