"""What a child says: whole lines, in order, and some of them only with the next."""

import json
import socket

import pytest

from workflows.engine.runner.replies import Replies


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        yield Replies(ours), theirs


def test_what_is_held_goes_with_what_is_sent_next(ends):
    replies, client = ends

    replies.hold("step_finished", position=1, output="好")
    replies.hold("step_finished", position=2, output="")
    with pytest.raises(BlockingIOError):
        client.recv(4096)
    replies.send("step_started", position=3)
    replies.send_line(b'{"kind":"result"}\n')

    said = [json.loads(line) for line in client.recv(4096).splitlines()]
    assert [(line["kind"], line.get("position")) for line in said] == [
        ("step_finished", 1), ("step_finished", 2), ("step_started", 3), ("result", None),
    ]  # fmt: skip
    assert said[0]["output"] == "好"


def test_a_secret_is_blotted_out_of_what_is_held(ends):
    replies, client = ends
    replies.blot_out(["sk-secret"])

    replies.hold("step_finished", output="the key is sk-secret")
    replies.send("result")

    assert b"sk-secret" not in client.recv(4096)
