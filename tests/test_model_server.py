"""The local model server answers as an OpenAI-compatible one does, and makes the trouble that a prompt asks for."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.model_server import embedding

ROOT = Path(__file__).parents[1]


@pytest.fixture
def client(model_server):
    with httpx.Client(base_url=model_server.url, headers={"Authorization": "Bearer k"}, timeout=10) as client:
        yield client


def _ask(client, text, **more):
    return client.post(
        "/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": text}], **more}
    )


def _likeness(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(embedding(one), embedding(other), strict=True))


def test_texts_that_share_pairs_of_characters_have_embeddings_that_are_alike():
    assert _likeness("忘记密码怎么办", "忘记密码时点击找回") > _likeness("忘记密码怎么办", "开具发票填写抬头") + 0.2
    assert _likeness("Reset my password", "reset MY password!") == pytest.approx(1)


def test_a_failure_lasts_as_often_as_it_was_asked_for(client):
    statuses = [_ask(client, "[[status=500 times=2]]你好").status_code for _ in range(4)]

    assert statuses == [500, 500, 200, 200]
    assert [_ask(client, "[[status=429]]").status_code for _ in range(3)] == [429] * 3


def test_an_answer_waits_and_says_what_the_prompt_asks(client):
    start = time.monotonic()
    message = _ask(client, "[[delay=0.3]][[reply=好的]]").json()["choices"][0]["message"]

    assert message["content"] == "好的"
    assert time.monotonic() - start >= 0.3


def test_a_stream_ends_with_done_and_a_cut_one_breaks_off(client):
    whole = _ask(client, "一二三四五六七八", stream=True).text.strip().split("\n\n")
    text = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in whole[:-1])

    assert text == "您的问题是：一二三四五六七八"
    assert whole[-1] == "data: [DONE]"
    with pytest.raises(httpx.RemoteProtocolError):
        _ask(client, "[[cut]]一二三四五六七八", stream=True)


def test_a_client_without_a_key_is_refused(model_server):
    assert httpx.post(f"{model_server.url}/embeddings", json={"input": "x"}).status_code == 401


def test_what_was_asked_is_told_and_forgotten_on_demand(client, model_server):
    client.post("/embeddings", json={"input": ["数据库"]})
    address = f"http://{model_server.host}/requests"

    told = httpx.get(address).json()

    assert [(request["path"], request["body"]) for request in told] == [("/v1/embeddings", {"input": ["数据库"]})]
    httpx.delete(address)
    assert httpx.get(address).json() == []


def test_it_runs_by_itself_without_pytest():
    script = (
        "import sys; sys.modules['pytest'] = None; sys.argv = ['m', '0']; from tests.model_server import main; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().split()[-1]
        assert httpx.get(f"{url}/models").json()["data"][0]["id"] == "local"
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()
