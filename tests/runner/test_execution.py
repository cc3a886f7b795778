"""A run tells its steps and tokens, and ends in a result or in one clear error."""

import json

import pytest

from tests.runner.conftest import pipeline


def test_the_steps_of_a_run_are_told_in_order(runner):
    text = pipeline({"a": "Echo", "b": "Echo"}, ["a.text -> b.text"])

    messages = runner.run(text, {"a": {"text": "你好"}})

    assert [message["kind"] for message in messages] == [
        "step_started", "step_finished", "step_started", "step_finished", "result",
    ]  # fmt: skip
    started, finished = messages[:2]
    assert {**started, "at": 0} == {
        "kind": "step_started", "position": 1, "component": "a", "component_type": "tests.runner.components.Echo",
        "visit": 1, "at": 0, "input": {"text": "你好"},
    }  # fmt: skip
    assert (finished["position"], finished["output"]) == (1, {"text": "你好"})
    assert finished["at"] >= started["at"] > 1.7e9
    assert 0 <= finished["seconds"] < 5
    assert messages[2]["position"] == 2


def test_the_turns_of_a_loop_are_counted(runner):
    components = {"start": ("BranchJoiner", {"type_": "str"}), "a": ("Again", {"times": 3})}
    text = pipeline(components, ["start.value -> a.text", "a.again -> start.value"])

    messages = runner.run(text, {"start": {"value": "圈"}})

    turns = [(m["component"], m["visit"]) for m in messages if m["kind"] == "step_started"]
    assert turns == [("start", 1), ("a", 1), ("start", 2), ("a", 2), ("start", 3), ("a", 3)]


def test_a_failed_step_is_told_and_then_the_error(runner):
    text = pipeline({"a": "Raiser", "b": "Echo"}, ["a.never -> b.text"])

    messages = runner.run(text, {"a": {"how": "value"}})

    assert [message["kind"] for message in messages] == ["step_started", "step_failed", "error"]
    assert messages[1]["message"] == "ValueError: 这里出错了"
    assert messages[2] == {
        "kind": "error", "code": "component_failed", "message": "ValueError: 这里出错了", "component": "a",
        "transient": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("unprintable", "RuntimeError: not even this"),
        ("group", "ExceptionGroup: two at once (2 sub-exceptions) [ValueError: first; KeyError: 'second']"),
        ("exit", "SystemExit: 3"),
        ("path", "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/at/all'"),
    ],
)
def test_every_kind_of_exception_becomes_a_clear_error(runner, how, message):
    outcome = runner.one("Raiser", {"how": how})

    assert (outcome["code"], outcome["component"], outcome["message"]) == ("component_failed", "it", message)


def test_an_error_names_no_folder_of_the_machine_and_shows_no_trace(runner):
    message = runner.one("Raiser", {"how": "scratch"})["message"]

    assert message == "RuntimeError: failed in … and …"


def test_the_log_has_the_trace_and_says_which_job_it_was(runner):
    runner.one("Raiser", {"how": "value"}, labels={"job": "job-4711"})

    assert "job=job-4711" in runner.log
    assert "raise ValueError" in runner.log


@pytest.mark.parametrize(
    ("how", "transient"), [("timeout", True), ("429", True), ("503", True), ("400", False), ("value", False)]
)
def test_what_may_pass_is_told_from_what_will_not(runner, how, transient):
    assert runner.one("Raiser", {"how": how})["transient"] is transient


def test_a_component_that_answers_with_no_mapping_is_named(runner):
    outcome = runner.one("NotADict", {"text": "a"})

    assert (outcome["code"], outcome["component"]) == ("component_failed", "it")
    assert "Expected a dictionary" in outcome["message"]


def test_a_component_that_fails_to_warm_up_is_named(runner):
    outcome = runner.one("FailsToWarmUp", {"text": "a"})

    assert (outcome["code"], outcome["component"]) == ("component_failed", "it")
    assert outcome["message"] == "RuntimeError: no model here"


def test_declared_outputs_are_given_by_name_and_one_of_an_untaken_branch_is_null(runner):
    text = pipeline({"a": "Branch"})
    outputs = {"answer": "a.left", "other": "a.right"}

    assert runner.result(text, {"a": {"text": "好"}}, outputs=outputs) == {"answer": "好", "other": None}


def test_an_output_from_the_middle_of_the_pipeline_is_given_too(runner):
    text = pipeline({"a": "Echo", "b": "Echo"}, ["a.text -> b.text"])

    assert runner.result(text, {"a": {"text": "好"}}, outputs={"middle": "a.text"}) == {"middle": "好"}


def test_without_declared_outputs_the_last_components_give_the_result(runner):
    text = pipeline({"a": "Echo", "b": "Echo"}, ["a.text -> b.text"])

    assert runner.result(text, {"a": {"text": "好"}}) == {"b": {"text": "好"}}


@pytest.mark.parametrize("outputs", [None, {"answer": "b.text"}])
def test_a_run_that_ends_without_its_outputs_is_blocked(runner, outputs):
    text = pipeline({"a": "Branch", "b": "Echo"}, ["a.left -> b.text", "a.right -> b.text"][:1])

    outcome = runner.outcome(text, {"a": {"text": "x", "side": "nowhere"}}, outputs=outputs)

    assert outcome["code"] == "pipeline_blocked"


def test_a_loop_that_runs_too_often_is_ended(runner):
    components = {"start": ("BranchJoiner", {"type_": "str"}), "a": ("Again", {"times": 1000})}
    text = pipeline(components, ["start.value -> a.text", "a.again -> start.value"], max_runs_per_component=5)

    assert runner.outcome(text, {"start": {"value": "圈"}})["code"] == "max_runs_exceeded"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"it": {"text": 5}}, "it.text: expected str, not a number"),
        ({"it": {}}, "it.text: a value is missing"),
        ({}, "it.text: a value is missing"),
        ({"it": {"text": "a", "more": 1}}, "it.more: there is no such input"),
        ({"it": {"text": "a"}, "nobody": {"text": "a"}}, "nobody: there is no such component"),
        ({"it": "a"}, "it: there is no such component"),
    ],
)
def test_data_that_does_not_fit_is_refused_before_anything_runs(runner, data, words):
    messages = runner.run(pipeline({"it": "Echo"}), data)

    assert [message["kind"] for message in messages] == ["error"]
    assert messages[0]["code"] == "input_invalid"
    assert words in messages[0]["message"]


def test_data_for_an_input_that_is_connected_is_refused(runner):
    text = pipeline({"a": "Echo", "b": "Echo"}, ["a.text -> b.text"])

    assert runner.outcome(text, {"a": {"text": "x"}, "b": {"text": "y"}})["code"] == "input_invalid"


def test_json_becomes_what_the_sockets_take(runner):
    data = {
        "documents": [{"content": "北京", "meta": {"a": 1}}],
        "messages": [
            {"role": "user", "content": "问"},
            {"role": "assistant", "content": [{"text": "答"}]},
        ],
        "stream": {"data": "AP8=", "mime_type": "image/png"},
        "number": 5,
        "choice": "b",
        "anything": {"任何": [1, None]},
    }

    kinds = runner.result(pipeline({"it": "Typed"}), {"it": data})["it"]["kinds"]

    assert kinds == {
        "documents": "Document:北京",
        "messages": "user:问,assistant:答",
        "stream": "ByteStream:b'\\x00\\xff'",
        "number": "5.0",
        "choice": "b",
        "anything": "{'任何': [1, None]}",
    }


def test_tokens_are_told_as_they_come(runner):
    messages = runner.run(pipeline({"it": "Streamer"}), {"it": {"text": "你好吗"}}, streams=["it"])

    assert [m["text"] for m in messages if m["kind"] == "token"] == ["你", "好", "吗"]
    assert {m["component"] for m in messages if m["kind"] == "token"} == {"it"}
    assert "streaming_callback" not in messages[0]["input"]
    assert not [m for m in runner.run(pipeline({"it": "Streamer"}), {"it": {"text": "你好"}}) if m["kind"] == "token"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (
            "document",
            {"id": "d1", "content": "北京天气", "meta": {"page": 1}, "score": 0.5, "embedding": [0.1, 0.2]},
        ),
        ("message", {"role": "assistant", "meta": {}, "name": None, "content": [{"text": "你好"}]}),
        ("bytes", {"data": "AP8=", "mime_type": "image/png", "meta": {"name": "图"}}),
        ("numpy", {"array": [[1.5, 2.0]], "number": 0.5, "whole": 7}),
        ("times", "2026-01-02T03:04:00+00:00"),
        ("enum", "红"),
        ("set", ["a", "b"]),
        ("nan", [None, None]),
        ("big", "1180591620717411303424"),
        ("surrogate", "a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_a_result_is_json_that_keeps_everything(runner, kind, value):
    assert runner.result(pipeline({"it": "Giver"}), {"it": {"kind": kind}}, outputs={"x": "it.value"}) == {"x": value}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("strange", "x.list[1]: a Strange cannot be said in JSON"),
        ("cycle", "x[0]: this contains itself"),
        ("deep", "nested deeper than 64"),
        ("key", "x: a key of this is a tuple"),
    ],
)
def test_what_json_cannot_say_is_an_error_that_says_where(runner, kind, words):
    outcome = runner.outcome(pipeline({"it": "Giver"}), {"it": {"kind": kind}}, outputs={"x": "it.value"})

    assert outcome["code"] == "result_not_json"
    assert words in outcome["message"]


def test_a_result_that_is_too_large_is_refused(runner):
    outcome = runner.one("Huge", {"megabytes": 3})

    assert outcome["code"] == "result_too_large"
    assert runner.one("Huge", {"megabytes": 3}, result_bytes=4 * 1024 * 1024)["kind"] == "result"


def test_what_is_shown_of_a_step_stays_small(runner):
    messages = runner.run(pipeline({"a": "Huge", "b": "Echo"}, ["a.text -> b.text"]), {"a": {"megabytes": 3}})

    previews = [m.get("input") or m.get("output") for m in messages if m["kind"].startswith("step_")]
    assert len(previews) == 4
    assert all(len(json.dumps(preview, ensure_ascii=False).encode()) <= 4096 for preview in previews)
    assert "more characters)" in previews[1]["text"]


@pytest.mark.parametrize("fail", [False, True])
def test_a_secret_never_leaves_the_runner(runner, fail):
    messages = runner.run(
        pipeline({"it": "SaysSecret"}), {"it": {"name": "KEY", "fail": fail}}, secrets={"KEY": 'sk-"密钥"-1234'}
    )

    assert "1234" not in json.dumps(messages)
    assert "[secret]" in json.dumps(messages)


def test_a_missing_secret_is_named(runner):
    key = {"type": "env_var", "env_vars": ["MISSING_KEY"], "strict": True}
    text = pipeline({"llm": ("OpenAIChatGenerator", {"api_key": key})})

    outcome = runner.outcome(text, {"llm": {"messages": [{"role": "user", "content": "a"}]}})

    assert (outcome["code"], outcome["component"]) == ("component_failed", "llm")
    assert "MISSING_KEY" in outcome["message"]


def test_one_run_leaves_nothing_to_the_next(runner):
    store = {
        "type": "haystack.document_stores.in_memory.document_store.InMemoryDocumentStore",
        "init_parameters": {"index": "shared"},
    }
    text = pipeline({"it": ("InMemoryBM25Retriever", {"document_store": store})})

    for _ in range(2):
        assert runner.result(text, {"it": {"query": "北京"}}) == {"it": {"documents": []}}


def test_a_mock_agent_runs_and_its_inner_turns_are_no_steps(runner):
    mock = {
        "type": "haystack.components.generators.chat.mock.MockChatGenerator",
        "init_parameters": {"responses": [{"role": "assistant", "content": [{"text": "好的"}]}]},
    }
    text = pipeline({"it": ("Agent", {"chat_generator": mock})})

    messages = runner.run(text, {"it": {"messages": [{"role": "user", "content": "你好"}]}})

    assert [m["kind"] for m in messages] == ["step_started", "step_finished", "result"]
    assert messages[-1]["result"]["it"]["last_message"]["content"] == [{"text": "好的"}]
