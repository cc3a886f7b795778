"""granian, which hands each request to a thread of ours without the event loop in between.

An ASGI application is called in the event loop: it would wake for a request, for its body and for its answer, and take
the interpreter each time from the threads that answer. Without that a web process answers a sixth more. So requests are
begun in the thread of granian's that brings them, and answered from the thread that has the answer. Only event streams
live in the loop.

`spawn` does what granian's own `Server._spawn_asgi_worker` does, with parts that granian doesn't promise to keep as
they are; hence its exact version in requirements.txt.
"""

import asyncio
import logging

from granian._granian import ASGIWorker, CallbackScheduler

from aiworkflow_project.asgi import Exchange, open_threads

logger = logging.getLogger(__name__)


class Loop(asyncio.SelectorEventLoop):
    """The event streams' loop. What granian has read of a request is taken at once, in granian's thread."""

    def call_soon(self, callback, *args, context=None):
        if isinstance(callback, _Arrival):
            return callback(*args)
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(self, callback, *args, context=None):
        if isinstance(callback, _Arrival):
            return callback(*args)
        return super().call_soon_threadsafe(callback, *args, context=context)


class _Arrival:
    """A request that is being read. `watcher` is granian's."""

    def __init__(self, watcher, loop: Loop):
        self._protocol, self._over = watcher.proto, watcher.done
        self._exchange = Exchange(watcher.scope, self._protocol.receive, self._protocol.send, loop, self._over)

    def read_on(self) -> None:
        if self._exchange.wants_more:
            self._protocol.receive().add_done_callback(self)
        else:
            self._exchange.begin()

    def __call__(self, piece) -> None:
        try:
            message = piece.result()
            if message["type"] == "http.disconnect":  # the client went away
                self._over()
                return
            self._exchange.take(message)
            self.read_on()
        except Exception:  # nobody above us would tell
            logger.exception("A request could not be read.")
            self._over()


class _Scheduler(CallbackScheduler):
    """What granian calls for each request."""

    def __new__(cls, loop: Loop):
        return super().__new__(cls, loop, None, None, None, None)

    def __init__(self, loop: Loop):
        super().__init__()
        self._schedule_fn = lambda watcher: _begin(watcher, loop)


def _begin(watcher, loop: Loop) -> None:
    try:
        _Arrival(watcher, loop).read_on()
    except Exception:  # nobody above us would tell
        logger.exception("A request could not be begun.")
        watcher.done()


async def spawn(
    worker_id, shutdown, _application, sockets, runtime_threads, runtime_blocking_threads, blocking_threads,
    idle_timeout, backpressure, _task_impl, http_mode, http1_settings, http2_settings, websockets, static_path,
    _access_log, tls, _scope_options,
):  # fmt: skip
    """Serve until `shutdown` is set and requests in progress have ended: for `granian.server.embed.Server.serve`."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    shutdown.add_cb(lambda: loop.call_soon_threadsafe(ended.set_result, None))
    worker = ASGIWorker(
        worker_id, sockets, None, runtime_threads, runtime_blocking_threads, blocking_threads, idle_timeout,
        backpressure, http_mode, http1_settings, http2_settings, websockets, static_path, *tls, (None, None),
    )  # fmt: skip
    open_threads()
    worker.serve_async(_Scheduler(loop), loop, shutdown)
    await ended
