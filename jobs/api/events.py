"""Event streams: what happens to a job, told as server-sent events while it happens.

However many streams a process has open, one task of it reads for all of them, in one thread with one database
connection. A stream whose client reads slowly is not read for until it has taken what it has.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from uuid import UUID

from django.db import close_old_connections
from django.http import StreamingHttpResponse

from aiworkflow_project.api.wire import RawJSON
from jobs.models import Job, JobEvent
from workflows.fields import dump

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
KEEP_ALIVE_SECONDS = 15
AT_ONCE = 500  # events of one job per look, and jobs per query

GREETING = b"retry: 2000\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

# An event's number, and the event as it goes out.
Event = tuple[int, bytes]


def read(wanted: dict[UUID, int]) -> dict[UUID, tuple[list[Event], bool]]:
    """For each job, its events after the given number, and whether that was the last there will be.

    Jobs to which nothing happened cost one query together. A job that is gone is over. Of one that is over and whose
    events are gone, only the last is told, which its row still knows.
    """
    heads = {}
    ids = iter(wanted)
    while some := list(islice(ids, AT_ONCE)):
        for job_id, seq, status in Job.objects.filter(id__in=some).values_list("id", "event_seq", "status"):
            heads[job_id] = seq, status
    news = {}
    for job_id, after in wanted.items():
        seq, status = heads.get(job_id, (after, Job.Status.CANCELLED))
        events = _events(job_id, after) if seq > after else []
        if seq > after and status in Job.FINAL and (not events or events[0][0] != after + 1):
            events = _end(job_id)
        news[job_id] = events, status in Job.FINAL and len(events) < AT_ONCE
    return news


def _events(job_id: UUID, after: int) -> list[Event]:
    rows = JobEvent.objects.filter(job_id=job_id, seq__gt=after).order_by("seq")
    return [_event(*row) for row in rows.annotate(text=RawJSON("data")).values_list("seq", "kind", "text")[:AT_ONCE]]


def _end(job_id: UUID) -> list[Event]:
    job = Job.objects.filter(id=job_id).defer("trigger_data", "result").first()
    if job is None:
        return []
    last = job.state_event()
    return [_event(last.seq, last.kind, dump(last.data))]


def _event(seq: int, kind: str, data: str) -> Event:
    return seq, f"id: {seq}\nevent: {kind}\ndata: {data}\n\n".encode()


class EventStream(StreamingHttpResponse):
    """The answer that follows a job. Our web server streams `follow()`; any other, the plain iterator."""

    CONTENT_TYPE = "text/event-stream; charset=utf-8"

    def __init__(self, job_id: UUID, after: int):
        super().__init__(
            _follow_alone(job_id, after),
            content_type=self.CONTENT_TYPE,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._job_id, self._after = job_id, after

    def follow(self) -> AsyncIterator[bytes]:
        return tailer.follow(self._job_id, self._after)


def _follow_alone(job_id: UUID, after: int) -> Iterator[bytes]:
    yield GREETING
    silent_since = time.monotonic()
    while True:
        events, is_over = read({job_id: after})[job_id]
        if events:
            after, silent_since = events[-1][0], time.monotonic()
            yield b"".join(line for _, line in events)
        if is_over:
            return
        if time.monotonic() - silent_since > KEEP_ALIVE_SECONDS:
            silent_since = time.monotonic()
            yield KEEP_ALIVE
        time.sleep(POLL_SECONDS)


class _Follower:
    def __init__(self, job_id: UUID, after: int):
        self.job_id, self.after = job_id, after
        self.lines: list[bytes] = []
        self.is_over = False
        self.woken = asyncio.Event()  # set while there are lines that its client has not taken

    def tell(self, events: list[Event], is_over: bool) -> None:
        new = [(seq, line) for seq, line in events if seq > self.after]
        if new:
            self.after = new[-1][0]
            self.lines = [line for _, line in new]
        self.is_over = is_over
        if new or is_over:
            self.woken.set()


class Tailer:
    """Reads new events for every open stream of this process, and ends the streams of jobs that are over."""

    def __init__(self):
        self._followers: set[_Follower] = set()
        self._task: asyncio.Task | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="events")

    async def follow(self, job_id: UUID, after: int) -> AsyncIterator[bytes]:
        """The stream of one client, until its job is over or the tailer is closed."""
        follower = _Follower(job_id, after)
        self._followers.add(follower)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tail())
        try:
            yield GREETING
            while True:
                try:
                    await asyncio.wait_for(follower.woken.wait(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield KEEP_ALIVE
                    continue
                lines, follower.lines = follower.lines, []
                if lines:
                    yield b"".join(lines)
                if follower.is_over:
                    return
                follower.woken.clear()
        finally:
            self._followers.discard(follower)

    async def run(self, read: Callable):
        """What `read()` returns, called in the thread that has the database connection."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _in_thread, read)

    def close(self) -> None:
        """End every stream: the server stops, and clients will resume at another."""
        for follower in self._followers:
            follower.is_over = True
            follower.woken.set()

    async def _tail(self) -> None:
        while self._followers:
            waiting = defaultdict(list)
            for follower in self._followers:
                if not follower.woken.is_set():
                    waiting[follower.job_id].append(follower)
            try:
                if waiting:
                    wanted = {job_id: min(one.after for one in group) for job_id, group in waiting.items()}
                    news = await self.run(partial(read, wanted))
                    for job_id, (events, is_over) in news.items():
                        for follower in waiting[job_id]:
                            follower.tell(events, is_over)
            except Exception:  # the database may be away for a while; the streams stay, and go on when it is back
                logger.exception("The events of jobs can't be read right now.")
                await asyncio.sleep(1)
            await asyncio.sleep(POLL_SECONDS)


def _in_thread(read: Callable):
    close_old_connections()
    return read()


tailer = Tailer()
