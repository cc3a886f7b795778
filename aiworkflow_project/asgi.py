"""The ASGI application: Django's WSGI application in threads that stay, and event streams beside them.

Django under ASGI opens a database connection for each request. Threads that stay keep theirs. What they can't do is
to hold hundreds of open streams, so an answer that has `follow()` is streamed by the event loop instead.
"""

import asyncio
import io
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_to_bytes

from django.conf import settings

from aiworkflow_project import wsgi  # first: it sets Django up
from aiworkflow_project.api.errors import problem_response
from jobs.api.events import tailer

logger = logging.getLogger(__name__)

PIECE = 64 * 1024  # what a large answer is sent in

_threads = ThreadPoolExecutor(max_workers=settings.WEB_THREADS, thread_name_prefix="web")


def close() -> None:
    """End the event streams, which would hold up the server's stop. Clients resume them at the next server."""
    tailer.close()


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http":
        await _answer(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1000})


async def _live(receive, send):
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _answer(scope, receive, send):
    body = await _read(receive, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    if body is None:
        return  # the client went away
    exchange = _Exchange(scope, body, send, asyncio.get_running_loop())
    try:
        rest = await exchange.loop.run_in_executor(_threads, exchange.run)
    except Exception:  # Django answers for its own errors; this one came before it could, or after it had begun
        logger.exception("A request could not be answered.")
        if not exchange.started:
            exchange.refuse()
            await exchange.write(exchange.body, more=False)
        return
    if callable(rest):
        await _stream(exchange, rest, receive)
    else:
        await exchange.write(rest, more=False)


async def _read(receive, most: int) -> bytes | None:
    """The body, or a little more than `most` of one that is longer; None when the client went away."""
    pieces, size = [], 0
    while size <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if not message.get("more_body", False):
            break
    return b"".join(pieces)


async def _stream(exchange, follow, receive):
    """Send what `follow()` yields until it ends or the client goes away."""

    async def send_all():
        async for piece in follow():
            await exchange.write(piece, more=True)
        await exchange.write(b"", more=False)

    async def client_left():
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.create_task(send_all()), asyncio.create_task(client_left())]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            logger.info("An event stream broke off: %s", outcome)


class _Exchange:
    """One request and its answer. `run` is called in a thread, `write` in the event loop."""

    def __init__(self, scope, body: bytes, send, loop):
        self.scope, self.body, self.send, self.loop = scope, body, send, loop
        self.status, self.headers, self.started = 500, [], False

    def run(self):
        """What is still to be sent: the last piece of the answer, or the function that streams the rest."""
        response = wsgi.application(_environ(self.scope, self.body), self._start_response)
        try:
            if hasattr(response, "follow"):
                return response.follow
            if self.scope["method"] == "HEAD":
                return b""
            if not getattr(response, "streaming", False):
                return b"".join(response)
            return self._run_in_pieces(response)
        finally:
            response.close()  # the request is over: its database connection is free

    def _run_in_pieces(self, response) -> bytes:
        piece = bytearray()
        for chunk in response:
            piece += chunk
            if len(piece) >= PIECE:
                asyncio.run_coroutine_threadsafe(self.write(bytes(piece), more=True), self.loop).result()
                piece.clear()
        return bytes(piece)

    def _start_response(self, status: str, headers, exc_info=None):
        self.status = int(status[:3])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    def refuse(self):
        answer = problem_response(500, code="server_error", detail="Something went wrong here. It has been logged.")
        self.status, self.body = answer.status_code, answer.content
        self.headers = [(b"content-type", answer["Content-Type"].encode())]

    async def write(self, piece: bytes, *, more: bool):
        if not self.started:
            self.started = True
            await self.send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await self.send({"type": "http.response.body", "body": piece, "more_body": more})


def _environ(scope, body: bytes) -> dict:
    host, port = scope.get("server") or ("localhost", 80)
    raw_path = scope.get("raw_path") or scope["path"].encode()
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(raw_path.partition(b"?")[0]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope.get("client") or ("",))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name:
            continue  # would pass for a header of a proxy: X_Forwarded_Proto
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        if key in environ:
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value
    # What was read, not what was announced: a chunked body announces nothing, and a body over the limit was not
    # read to its end. Django refuses the latter by this number.
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
