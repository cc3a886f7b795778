"""A small OpenAI-compatible server, for tests and for trying the examples without a key or a network.

    python -m tests.model_server 18080

Its answers follow from what it is asked: a chat is answered with the question again, a model with tools calls the
first one with the numbers or the text of the question, and an embedding counts the text's pairs of characters.

A prompt may ask for trouble, in double square brackets, wherever it stands in the last user message or the texts:

    [[status=429]]          answer with this status
    [[status=500 times=2]]  do so twice for this very prompt, then answer well
    [[delay=1.5]]           wait this long before the answer
    [[pause=0.2]]           wait this long between two chunks of a stream
    [[cut]]                 break the connection off in the middle of a stream
    [[reply=好的]]          answer with this text
"""

import base64
import itertools
import json
import re
import struct
import sys
import threading
import time
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import sqrt

DIMENSIONS = 256
CHUNK_CHARACTERS = 4
_DIRECTIVE = re.compile(r"\[\[(status|delay|pause|cut|reply)(?:=(.*?))?(?: times=(\d+))?\]\]", re.S)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def asking(host: str, **parameters) -> str:
    """The YAML of a pipeline that asks the server at `host`; `parameters` are further ones of its generator."""
    more = "".join(f"\n      {name}: {value}" for name, value in parameters.items())
    return f"""\
components:
  prompt:
    type: haystack.components.builders.chat_prompt_builder.ChatPromptBuilder
    init_parameters:
      required_variables: [question]
      template:
      - {{role: user, content: [{{text: "{{{{ question }}}}"}}]}}
  llm:
    type: haystack.components.generators.chat.openai.OpenAIChatGenerator
    init_parameters:
      model: local
      api_base_url: http://{host}/v1
      api_key: {{type: env_var, env_vars: [LOCAL_KEY], strict: true}}{more}
connections:
- {{sender: prompt.prompt, receiver: llm.messages}}
inputs:
  question: [prompt.question]
outputs:
  replies: llm.replies
"""


@dataclass
class Request:
    """What one client sent."""

    path: str
    body: dict
    headers: dict[str, str]

    def as_json(self) -> dict:
        return {"path": self.path, "body": self.body, "headers": self.headers}


@dataclass
class ModelServer:
    """A running server: `url` is its `api_base_url`, `host` its host and port, `requests` what it was asked."""

    port: int
    requests: list[Request] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)  # how often each prompt has failed on purpose

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1"


@dataclass
class Orders:
    """What the directives in a prompt ask for."""

    status: int | None = None
    times: int | None = None
    delay: float = 0.0
    pause: float = 0.0
    cut: bool = False
    reply: str | None = None

    @classmethod
    def found_in(cls, text: str) -> "Orders":
        orders = cls()
        for name, value, times in _DIRECTIVE.findall(text):
            if name == "status":
                orders.status, orders.times = int(value), int(times) if times else None
            elif name == "cut":
                orders.cut = True
            else:
                setattr(orders, name, value if name == "reply" else float(value))
        return orders


def embedding(text: str) -> list[float]:
    """A unit vector of how often each pair of neighbouring characters occurs: alike for texts that share many."""
    vector = [0.0] * DIMENSIONS
    letters = [c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum()]
    for pair in itertools.pairwise(letters):
        vector[zlib.crc32("".join(pair).encode()) % DIMENSIONS] += 1.0
    length = sqrt(sum(x * x for x in vector)) or 1.0
    return [x / length for x in vector]


def answer(messages: list[dict], tools: list[dict]) -> dict:
    """The assistant's message to the last of the messages."""
    last = messages[-1]
    if last["role"] == "tool":
        return {"role": "assistant", "content": f"工具的结果：{_text(last)}"}
    question = _last_user_text(messages)
    reply = Orders.found_in(question).reply
    if tools and reply is None:
        return {"role": "assistant", "content": None, "tool_calls": [_call(tools[0]["function"], question, messages)]}
    return {"role": "assistant", "content": f"您的问题是：{question}" if reply is None else reply}


def _call(function: dict, question: str, messages: list[dict]) -> dict:
    schema = function.get("parameters", {})
    numbers = iter(_NUMBER.findall(question))
    arguments = {}
    for name in schema.get("required", []):
        kind = schema["properties"].get(name, {}).get("type", "string")
        if kind in ("number", "integer"):
            number = float(next(numbers, "0"))
            arguments[name] = int(number) if number.is_integer() else number
        else:
            arguments[name] = question
    return {
        "id": f"call_{len(messages)}",
        "type": "function",
        "function": {"name": function["name"], "arguments": json.dumps(arguments, ensure_ascii=False)},
    }


def _text(message: dict) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content


def _last_user_text(messages: list[dict]) -> str:
    return next((_text(message) for message in reversed(messages) if message["role"] == "user"), "")


def _usage(prompt: str, completion: str) -> dict:
    return {
        "prompt_tokens": len(prompt),
        "completion_tokens": len(completion),
        "total_tokens": len(prompt) + len(completion),
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self):
        state = self.server.state
        if self.path == "/requests":
            self._send(200, [request.as_json() for request in state.requests])
        elif self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": "local", "object": "model", "owned_by": "local"}]})
        else:
            self._error(404, "There is nothing here.")

    def do_DELETE(self):
        if self.path != "/requests":
            self._error(404, "There is nothing here.")
            return
        self.server.state.requests.clear()
        self._send(200, [])

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            body = json.loads(raw)
        except ValueError:
            self._error(400, "The body is not JSON.")
            return
        self.server.state.requests.append(Request(self.path, body, {k.lower(): v for k, v in self.headers.items()}))
        work = {"/v1/chat/completions": self._chat, "/v1/embeddings": self._embeddings}.get(self.path)
        if work is None:
            self._error(404, "There is nothing here.")
        elif not self.headers.get("Authorization", "").startswith("Bearer "):
            self._error(401, "There is no API key.")
        else:
            work(body)

    def _chat(self, body: dict):
        prompt = _last_user_text(body["messages"])
        orders = Orders.found_in(prompt)
        if self._in_trouble(prompt, orders):
            return
        message = answer(body["messages"], body.get("tools") or [])
        if body.get("stream"):
            self._stream(body, message, orders)
            return
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        self._send(
            200,
            {
                **_completion(body, "chat.completion"),
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": _usage(prompt, message["content"] or ""),
            },
        )

    def _stream(self, body: dict, message: dict, orders: Orders):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        text = message["content"] or ""
        deltas = [{"role": "assistant", "content": ""}]
        deltas += [{"content": text[i : i + CHUNK_CHARACTERS]} for i in range(0, len(text), CHUNK_CHARACTERS)]
        deltas += [{"tool_calls": [{"index": i, **call}]} for i, call in enumerate(message.get("tool_calls", []))]
        for number, delta in enumerate(deltas):
            if orders.cut and number > len(deltas) // 2:
                self.close_connection = True
                return
            self._chunk({**_completion(body, "chat.completion.chunk"), "choices": [_choice(delta)]})
            time.sleep(orders.pause)
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        self._chunk({**_completion(body, "chat.completion.chunk"), "choices": [_choice({}, reason)]})
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = _usage(_last_user_text(body["messages"]), text)
            self._chunk({**_completion(body, "chat.completion.chunk"), "choices": [], "usage": usage})
        self._write_chunk(b"data: [DONE]\n\n")
        self._write_chunk(b"")

    def _embeddings(self, body: dict):
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if self._in_trouble("\n".join(texts), Orders.found_in("\n".join(texts))):
            return
        vectors = [embedding(text) for text in texts]
        if body.get("encoding_format") == "base64":  # what OpenAI's own client asks for
            vectors = [base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode() for vector in vectors]
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        usage = {"prompt_tokens": sum(map(len, texts)), "total_tokens": sum(map(len, texts))}
        self._send(200, {"object": "list", "model": body.get("model", "local"), "data": data, "usage": usage})

    def _in_trouble(self, prompt: str, orders: Orders) -> bool:
        """Wait as the prompt asks for; say whether it asked for a failure, which has then been sent."""
        time.sleep(orders.delay)
        failures = self.server.state.failures
        if orders.status is None or (orders.times is not None and failures.get(prompt, 0) >= orders.times):
            return False
        failures[prompt] = failures.get(prompt, 0) + 1
        self._error(orders.status, f"The prompt asked for the status {orders.status}.")
        return True

    def _error(self, status: int, message: str):
        self._send(status, {"error": {"message": message, "type": "asked_for", "param": None, "code": None}})

    def _send(self, status: int, body):
        payload = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(payload)

    def _chunk(self, body: dict):
        self._write_chunk(b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n")

    def _write_chunk(self, payload: bytes):
        self.wfile.write(f"{len(payload):x}\r\n".encode() + payload + b"\r\n")
        self.wfile.flush()

    def log_message(self, *_):
        pass


def _completion(body: dict, kind: str) -> dict:
    return {"id": "chatcmpl-local", "object": kind, "created": int(time.time()), "model": body.get("model", "local")}


def _choice(delta: dict, finish_reason: str | None = None) -> dict:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    state: ModelServer

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", port), _Handler)
        self.state = ModelServer(port=self.server_address[1])

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # a client that was stopped goes away: no news
            super().handle_error(request, client_address)


@contextmanager
def running(port: int = 0) -> Iterator[ModelServer]:
    """A server in a thread of this process, on a free port unless one is named."""
    server = _Server(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("Usage: python -m tests.model_server PORT")
    with _Server(int(sys.argv[1])) as server:
        sys.stdout.write(f"Listening on {server.state.url}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
