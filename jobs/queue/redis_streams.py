"""Wake-ups through Redis (6.2 or newer): a stream with one group of readers."""

import functools
import logging
import time

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.queue.remote import KEPT, KEPT_DEAD, RemoteBroker

logger = logging.getLogger(__name__)

# One group and one name for all readers of a site: a receipt is then good in any process, and none is left behind.
GROUP = READER = "workers"
BLOCK_MS = 1_000
FORSAKEN_MS = 60_000  # a message taken this long ago and not acknowledged is given to another reader
FORSAKEN_LOOK = 10.0  # seconds between two looks for those


@functools.cache
def client() -> redis.Redis:
    """This site's connections; safe to share by threads, and after a fork."""
    return redis.Redis.from_url(
        settings.QUEUE_URL,
        socket_connect_timeout=2,
        socket_timeout=BLOCK_MS / 1000 + 2,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),  # once more, for a connection that the server has closed meanwhile
    )


class RedisStreams(RemoteBroker):
    """At least once: what is taken and not acknowledged is given out again.

    django-q2's own Redis broker is a list: what its process has taken is lost with that process.
    """

    ERRORS = (redis.RedisError,)

    def __init__(self, list_key: str | None = None):
        super().__init__(list_key)
        self._looked = 0.0

    @staticmethod
    def get_connection(list_key: str | None = None) -> redis.Redis:
        return client()

    def enqueue(self, task: str) -> bytes:
        return self.connection.xadd(self.list_key, {"task": task}, maxlen=KEPT, approximate=True)

    def _take(self):
        try:
            return self._forsaken() or self._new()
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._make_group()  # the first start, or the server was flushed
            return []

    def _make_group(self) -> None:
        try:
            self.connection.xgroup_create(self.list_key, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # else another process was faster
                raise

    def _new(self):
        found = self.connection.xreadgroup(GROUP, READER, {self.list_key: ">"}, count=1, block=BLOCK_MS)
        return [_message(entry) for _stream, entries in found or () for entry in entries]

    def _forsaken(self):
        """What another reader took and never acknowledged."""
        now = time.monotonic()
        if now - self._looked < FORSAKEN_LOOK:
            return []
        self._looked = now
        entries = self.connection.xautoclaim(self.list_key, GROUP, READER, min_idle_time=FORSAKEN_MS, count=1)[1]
        # Redis 6.2 also names those whose entry has been trimmed away, without fields.
        return [_message(entry) for entry in entries if entry[1]]

    def acknowledge(self, task_id: bytes) -> None:
        """Any process may, whichever took the message. A failure only lets the message come again."""
        try:
            with self.connection.pipeline() as pipeline:
                pipeline.xack(self.list_key, GROUP, task_id).xdel(self.list_key, task_id).execute()
        except redis.RedisError as error:
            logger.warning("A wake-up was not acknowledged and may come again: %s", error)

    def _bury(self, receipt: bytes, payload: str, reason: str) -> None:
        letter = {"task": payload, "reason": reason}
        with self.connection.pipeline() as pipeline:
            pipeline.xadd(self.dead_key, letter, maxlen=KEPT_DEAD, approximate=True)
            pipeline.xack(self.list_key, GROUP, receipt).xdel(self.list_key, receipt).execute()

    def queue_size(self) -> int:
        return self.connection.xlen(self.list_key) - self.lock_size()

    def lock_size(self) -> int:
        try:
            return self.connection.xpending(self.list_key, GROUP)["pending"]
        except redis.ResponseError:  # no stream yet
            return 0

    def purge_queue(self) -> None:
        self.connection.xtrim(self.list_key, maxlen=0, approximate=False)

    def delete_queue(self) -> None:
        self.connection.delete(self.list_key)

    def ping(self) -> bool:
        return self.connection.ping()

    def info(self) -> str:
        return f"Redis {self.connection.info('server')['redis_version']}"


def _message(entry) -> tuple[bytes, bytes]:
    receipt, fields = entry
    return receipt, fields.get(b"task", b"")
