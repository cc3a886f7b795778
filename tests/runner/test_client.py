"""The client builds a run out of a description and follows it without ever waiting."""

import dataclasses
import socket
import time

import pytest

from tests.runner.conftest import OURS_IN_SHORT, follow, pipeline
from workflows.engine import client
from workflows.engine import config as engine_config
from workflows.engine.errors import RunnerLost, RunnerUnavailable


def description(**changes) -> dict:
    return {"declared": False, "outputs": {}, "streams": [], "secrets": [], **changes}


def start(text: str, data: dict, seconds: int = 20, **changes) -> client.Run:
    labels = {"job": "j", "attempt": 1, "request_id": "r"}
    documents = engine_config.current().documents_dir / "w1"
    return client.start_run(text, description(**changes), data, seconds=seconds, documents_dir=documents, labels=labels)


def test_a_run_is_built_from_its_description(runner):
    text = pipeline({"a": "Echo", "b": "Echo"}, ["a.text -> b.text"])

    run = start(text, {"a": {"text": "好"}}, outputs={"answer": {"source": "b.text", "type": "str"}})
    messages = follow(run)

    assert messages[-1] == {"kind": "result", "result": {"answer": "好"}} == run.outcome
    assert run.ended


def test_without_named_outputs_the_whole_result_comes(runner):
    run = start(pipeline({"a": "Echo"}), {"a": {"text": "好"}}, declared=True)

    assert follow(run)[-1]["result"] == {"a": {"text": "好"}}


def test_a_run_gets_the_secrets_of_its_description_and_no_others(runner):
    site = dataclasses.replace(
        runner.config, secrets=("MINE@h", "THEIRS@h"), secret_values={"MINE": "m-123456", "THEIRS": "t-123456"}
    )
    engine_config.configure(site)

    run = start(pipeline({"it": "Looker"}), {"it": {"read": [], "write": []}}, secrets=["MINE", "UNSET"])

    environment = follow(run)[-1]["result"]["it"]["environment"]
    assert environment["MINE"] == "[secret]"  # it is there, and blotted out on its way to us
    assert not {"THEIRS", "UNSET"} & environment.keys()


def test_only_components_that_the_policy_allows_are_run(runner):
    engine_config.configure(dataclasses.replace(runner.config, components=()))

    run = start(pipeline({"a": OURS_IN_SHORT["Echo"]}), {"a": {"text": "a"}})

    assert follow(run)[-1]["code"] == "load_failed"


def test_receiving_never_waits(runner):
    run = start(pipeline({"it": "Sleeper"}), {"it": {"seconds": 1.0}})
    began = time.monotonic()
    for _ in range(10):
        run.receive()

    assert time.monotonic() - began < 0.5
    assert not run.ended
    assert follow(run)[-1]["kind"] == "result"


def test_after_its_end_a_run_says_nothing_more(runner):
    run = start(pipeline({"a": "Echo"}), {"a": {"text": "a"}})
    follow(run)
    run.stop()
    run.kill()

    assert run.receive() == []


def test_the_clients_sockets_are_not_inherited(runner):
    run = start(pipeline({"it": "Sleeper"}), {"it": {"seconds": 5}})

    assert run._socket.get_inheritable() is False
    run.kill()


def test_a_runner_that_never_answers_is_given_up(tmp_path, runner):
    path = tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        deaf.listen()
        engine_config.configure(dataclasses.replace(runner.config, socket=str(path)))

        assert client.runner_status() is None
        with pytest.raises(RunnerLost, match="has not answered"):
            client.request({"op": "ping"}, 0.1, grace=0.1)
    with pytest.raises(RunnerUnavailable):
        client.request({"op": "ping"}, 0.1)
