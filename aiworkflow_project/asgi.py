"""Requests and their answers, in the terms of ASGI: answered by Django's WSGI application in threads that stay, while
event streams live in the event loop.

Django under ASGI opens a database connection for each request. Threads that stay keep theirs. What they can't do is
to hold hundreds of open streams, so an answer that has `follow()` is streamed by the event loop instead.
"""

import asyncio
import io
import logging
import queue
import sys
import threading
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from django.conf import settings

from aiworkflow_project import wsgi  # first: it sets Django up
from aiworkflow_project.api.errors import problem_response
from jobs.api.events import tailer

logger = logging.getLogger(__name__)

PIECE = 64 * 1024  # what a large answer is sent in

_begun: "queue.SimpleQueue[Exchange]" = queue.SimpleQueue()


def open_threads() -> None:
    """Start the threads that answer. They end with the process."""
    for number in range(settings.WEB_THREADS):
        threading.Thread(target=_answer_all, name=f"web-{number}", daemon=True).start()


def _answer_all() -> None:
    while True:
        try:
            _begun.get().answer()
        except BaseException:  # whatever it was, the thread stays
            logger.exception("An answer could not be given.")


def close() -> None:
    """End the event streams, which would hold up the server's stop. Clients resume them at the next server."""
    tailer.close()


class Exchange:
    """One request and its answer.

    Whoever reads the request gives its body to `take`, as long as `wants_more`, and then calls `begin`, which leaves
    it to one of the threads. `send` and `receive` are ASGI's; `over` is called when all is said.
    """

    def __init__(self, scope: dict, receive: Callable, send: Callable, loop: asyncio.AbstractEventLoop, over: Callable):
        self.wants_more = scope["method"] not in ("GET", "HEAD")  # what these bring has no meaning
        self._scope, self._receive, self._send, self._loop, self._over = scope, receive, send, loop, over
        self._pieces, self._size = [], 0
        self._status, self._headers, self._started = 500, [], False

    def take(self, message: dict) -> None:
        """A piece of the body. Of one that is longer than it may be, the rest is not wanted."""
        self._pieces.append(message.get("body", b""))
        self._size += len(self._pieces[-1])
        self.wants_more = message.get("more_body", False) and self._size <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    def begin(self) -> None:
        _begun.put(self)

    def answer(self) -> None:
        follow = None
        try:
            follow = self._run()
        except Exception:  # Django answers for its own errors; this one came before it could, or after it had begun
            logger.exception("A request could not be answered.")
            if not self._started:
                self._refuse()
        finally:
            if not follow:
                self._over()
        if follow:
            asyncio.run_coroutine_threadsafe(self._stream(follow), self._loop)

    def _run(self) -> Callable | None:
        """Answer it, or return the function that streams the answer."""
        response = wsgi.application(_environ(self._scope, b"".join(self._pieces)), self._start_response)
        try:
            if hasattr(response, "follow"):
                return response.follow
            if getattr(response, "streaming", False) and self._scope["method"] != "HEAD":
                self._write_in_pieces(response)
                return None
            body = b"" if self._scope["method"] == "HEAD" else b"".join(response)
        finally:
            response.close()  # the request is over: its database connection is free
        self._write_whole(body)
        return None

    def _start_response(self, status: str, headers, exc_info=None):
        self._status = int(status[:3])
        self._headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    def _refuse(self) -> None:
        answer = problem_response(500, code="server_error", detail="Something went wrong here. It has been logged.")
        self._status = answer.status_code
        self._headers = [(b"content-type", answer["Content-Type"].encode())]
        self._write_whole(answer.content)

    def _write_whole(self, body: bytes) -> None:
        """A whole answer is taken at once: there is nothing to await."""
        self._send(self._start())
        self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _write_in_pieces(self, response) -> None:
        piece = bytearray()
        for chunk in response:
            piece += chunk
            if len(piece) >= PIECE:
                self._write_from_thread(bytes(piece), more=True)
                piece.clear()
        self._write_from_thread(bytes(piece), more=False)

    def _write_from_thread(self, piece: bytes, *, more: bool) -> None:
        asyncio.run_coroutine_threadsafe(self._write(piece, more=more), self._loop).result()

    def _start(self) -> dict:
        self._started = True
        return {"type": "http.response.start", "status": self._status, "headers": self._headers}

    # In the event loop

    async def _write(self, piece: bytes, *, more: bool) -> None:
        if not self._started:
            await self._send(self._start())
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    async def _stream(self, follow: Callable) -> None:
        """Send what `follow()` yields until it ends or the client goes away."""
        tasks = [asyncio.create_task(self._send_all(follow)), asyncio.create_task(self._client_left())]
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                logger.info("An event stream broke off: %s", outcome)
        self._over()

    async def _send_all(self, follow: Callable) -> None:
        async for piece in follow():
            await self._write(piece, more=True)
        await self._write(b"", more=False)

    async def _client_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


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
