"""Waiting on the wire: why a job waits, and requests that wait for their job (`Prefer: wait=N`)."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from uuid import UUID

from django.http import StreamingHttpResponse
from rest_framework.response import Response

from aiworkflow_project.api.renderers import dump
from jobs.api.events import POLL_SECONDS, tailer
from jobs.models import Job
from jobs.waiting import Wait

WAIT_MOST = 25  # seconds; proxies commonly give up after 30 or 60
WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,6})"?\s*(;.*)?', re.IGNORECASE)


def told(wait: Wait | None) -> dict:
    """Why a job waits, as WaitSerializer describes it."""
    wait = wait or Wait(None)
    return {
        "reason_str": wait.reason,
        "detail_text": _detail(wait),
        "until_time": wait.until,
        "position_int": None if wait.ahead is None else wait.ahead.number + 1,
        "concurrency_limit_int": wait.limit,
        "held_by": [{"id": job.pk, "job_name_str": job.name, "status_str": job.status} for job in wait.holders],
        "workers_int": wait.workers,
        "places_int": wait.places,
    }


def _detail(wait: Wait) -> str | None:
    match wait.reason:
        case None:
            return None
        case "not_before":
            return "It was submitted to start no sooner than until_time."
        case "backoff":
            return "Its last attempt failed. The next one starts no sooner than until_time."
        case "held":
            return "Its definition's concurrency limit is 0: no job of it starts until that is changed."
        case "no_worker":
            return "No worker is alive: it starts when one is."
    place = f"{wait.ahead.number + 1:,}" + (" or later" if wait.ahead.more else "")
    if wait.reason == "limit":
        return f"Its definition's concurrency limit of {wait.limit} is reached. Its place in that queue: {place}."
    return f"It waits for a free place among {wait.places} of the workers. Its place in the queue: {place}."


def may_wait(submit):
    """For a view's method that makes a job: with `Prefer: wait=N` (RFC 7240) it answers once the job is over.

    Or after N seconds, 25 at most, with the job as it is then: never a time-out of something in between.
    """

    @wraps(submit)
    def answer(view, request, *args, **kwargs):
        response = submit(view, request, *args, **kwargs)
        seconds = _wanted(request.headers.get("Prefer", ""))
        if not seconds:
            return response
        return JobWhenOver(response, seconds, partial(_current, view, response))

    return answer


def _wanted(prefer: str) -> int:
    """The seconds to wait. Preferences that can't be understood are ignored, as RFC 7240 has it."""
    for preference in prefer.split(","):
        if found := WAIT.fullmatch(preference):
            return min(int(found[1]), WAIT_MOST)
    return 0


def _current(view, response: Response) -> bytes:
    return dump(view._row(response.data["id"]))


class JobWhenOver(StreamingHttpResponse):
    """The job, sent when it is over or the time is up. Our web server awaits `follow()`, without a thread."""

    def __init__(self, created: Response, seconds: int, read: Callable[[], bytes]):
        headers = {**created.headers, "Preference-Applied": f"wait={seconds}"}
        super().__init__(
            self._wait_here(),
            status=created.status_code,
            headers={"Content-Type": "application/json", **headers},
        )
        self._job_id = UUID(str(created.data["id"]))
        self._seconds, self._read = seconds, read

    async def follow(self) -> AsyncIterator[bytes]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                async for _ in tailer.follow(self._job_id, 0):
                    pass
        yield await tailer.run(self._read)

    def _wait_here(self) -> Iterator[bytes]:
        until = time.monotonic() + self._seconds
        while time.monotonic() < until and Job.objects.unfinished().filter(pk=self._job_id).exists():
            time.sleep(POLL_SECONDS)
        yield self._read()
