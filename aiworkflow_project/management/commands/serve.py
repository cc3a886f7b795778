"""`manage.py serve`: the web server, with a runner beside it that checks new definitions."""

import asyncio
import gc
import os
import signal
import socket

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from workflows import engine

TICK_SECONDS = 0.5
CONNECTIONS = 4096  # event streams are open connections, too
GRACE_SECONDS = 10  # what requests in progress get when the server stops


class Command(BaseCommand):
    help = "Serves the console and the API until SIGINT or SIGTERM, which let requests in progress end."

    def add_arguments(self, parser):
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8001)

    def handle(self, *args, host, port, **options):
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        _refuse_a_taken_port(host, port)
        keeper = engine.RunnerKeeper()
        keeper.tick()
        try:
            # Only now, for it brings in all of Django's views.
            from aiworkflow_project.server import Loop

            with asyncio.Runner(loop_factory=Loop) as runner:
                drained = runner.run(self._serve(host, port, keeper))
        finally:
            keeper.stop()
        if not drained:
            self.stderr.write(f"Some requests did not end within {GRACE_SECONDS} s and were given up.")
        self.stdout.flush()
        self.stderr.flush()
        # A plain exit would wait for the threads of those requests, and granian's own may abort the process when they
        # find the interpreter gone.
        os._exit(0 if drained else 1)

    async def _serve(self, host: str, port: int, keeper: engine.RunnerKeeper) -> bool:
        """Serve until told to stop; whether every request then ended in time."""
        from granian.constants import Interfaces
        from granian.log import LogLevels
        from granian.server.embed import Server

        from aiworkflow_project import urls  # noqa: F401 - before the first request needs them
        from aiworkflow_project.asgi import close
        from aiworkflow_project.server import spawn

        # What has been imported stays: nobody need look through it for garbage, again and again.
        gc.collect()
        gc.freeze()
        server = Server(
            None,  # an application: `spawn` calls none
            address=host,
            port=port,
            interface=Interfaces.ASGI,
            websockets=False,
            backlog=1024,
            backpressure=CONNECTIONS,
            log_level=LogLevels.error,
        )
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stopping.set)
        serving = loop.create_task(server.serve(spawn))
        self.stdout.write(f"Serving at http://{host}:{port} (process {os.getpid()}).")
        self.stdout.flush()
        while not stopping.is_set() and not serving.done():
            keeper.tick()
            try:
                await asyncio.wait_for(stopping.wait(), TICK_SECONDS)
            except TimeoutError:
                continue
        close()
        if not serving.done():
            server.stop()
        try:
            await asyncio.wait_for(serving, GRACE_SECONDS)
        except TimeoutError:
            return False
        return True


def _refuse_a_taken_port(host: str, port: int) -> None:
    """granian shares a port that another process listens at, so that every other request would go to that one."""
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise CommandError(f"Can't listen at {host}:{port}: {error}.") from error
