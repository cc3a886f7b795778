"""What every child would have to do again, done once before the first run: caches fill, and late imports happen.

Measured: a child that asks a model took 150 ms of the processor without this, most of it for imports that libraries
put off until their first call, and takes 20 with it.
"""

import importlib
import json
import socket
import threading

import httpcore2
import openai
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.utils import Secret

from workflows.engine.runner import loading, sandbox, validation

_TINY = """
components:
  warm:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters: {template: "{% for word in words %}{{ word.upper() }} {% endfor %}", required_variables: "*"}
"""
_COMPLETION = {"id": "1", "object": "chat.completion", "created": 1, "model": "none"}
_ANSWER = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "好"}}]}
_PIECE = {"choices": [{"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": "好"}}]}
_ANSWERS = (
    ("application/json", json.dumps({**_COMPLETION, **_ANSWER})),
    (
        "text/event-stream",
        f"data: {json.dumps({**_COMPLETION, **_PIECE, 'object': 'chat.completion.chunk'})}\n\ndata: [DONE]\n\n",
    ),
)


def rehearse() -> None:
    """Load and run a tiny pipeline, and ask a model that this very process plays. No thread is left."""
    components = ["haystack.components.builders.prompt_builder.PromptBuilder"]
    validation.check({"yaml": _TINY, "components": components})
    pipeline = loading.Loader(components).pipeline(loading.parse(_TINY))
    pipeline.run({"warm": {"words": ["一", "two"]}})
    for module in ("encodings.idna", "openai.resources.embeddings", "openai.resources.responses"):
        importlib.import_module(module)
    sandbox.python_paths()
    _share_trusted_certificates()
    _ask_a_model()


def _share_trusted_certificates() -> None:
    """Read them once: it takes 30 ms and 2 MB for each client, also for one that calls by plain HTTP.

    Not in place of a context that a caller makes for itself, or of one without verification.
    """
    shared = httpcore2.default_ssl_context()
    httpcore2.default_ssl_context = lambda **_: shared


def _ask_a_model() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        model = threading.Thread(target=_be_a_model, args=(listener,), daemon=True)
        model.start()
        generator = OpenAIChatGenerator(
            api_key=Secret.from_token("none"),
            model="none",
            api_base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1",
            timeout=10,
            max_retries=0,
        )
        try:
            generator.run([ChatMessage.from_user("?")])
            generator.run([ChatMessage.from_user("?")], streaming_callback=lambda chunk: None)
        except openai.OpenAIError:  # children are slower then, and no worse
            pass
        finally:
            generator.close()
    model.join(20)


def _be_a_model(listener: socket.socket) -> None:
    try:
        for kind, body in _ANSWERS:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                head, length = b"", 0
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                head, _, rest = head.partition(b"\r\n\r\n")
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                while len(rest) < length:
                    rest += connection.recv(65536)
                payload = body.encode()
                connection.sendall(
                    f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(payload)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + payload
                )
    except OSError:
        return
