"""The figures of the console's first page: is it well, what waits, what failed, who works.

Every query here is bounded: it reads a range of an index, and stops at a limit however many jobs there are.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from django.utils import timezone

from aiworkflow_project.db.counts import Count, capped
from jobs.models import Job, Worker

SAMPLE_AT_MOST = 5_000
HOURS = 24


@dataclass
class Hour:
    """What ended within one hour."""

    start: datetime
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.completed + self.failed + self.cancelled

    @property
    def median_seconds(self) -> float | None:
        return median(self.seconds) if self.seconds else None

    @property
    def slow_seconds(self) -> float | None:
        return percentile(self.seconds, 0.95)


@dataclass(frozen=True)
class Day:
    """The last 24 hours, hour by hour. With `sampled`, only the newest jobs of them."""

    hours: list[Hour]
    sampled: bool

    def _sum(self, name: str) -> int:
        return sum(getattr(hour, name) for hour in self.hours)

    @property
    def completed(self) -> int:
        return self._sum("completed")

    @property
    def failed(self) -> int:
        return self._sum("failed")

    @property
    def cancelled(self) -> int:
        return self._sum("cancelled")

    @property
    def total(self) -> int:
        return self._sum("total")

    @property
    def seconds(self) -> list[float]:
        return [seconds for hour in self.hours for seconds in hour.seconds]

    @property
    def median_seconds(self) -> float | None:
        return median(self.seconds) if self.seconds else None

    @property
    def slow_seconds(self) -> float | None:
        return percentile(self.seconds, 0.95)

    @property
    def failure_percent(self) -> float | None:
        decided = self.completed + self.failed
        return 100 * self.failed / decided if decided else None


def percentile(values: list[float], share: float) -> float | None:
    """The value that `share` of `values` don't exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def open_counts(workspace) -> dict[str, Count]:
    """How many jobs wait, run, and failed lately: what the navigation shows beside Jobs."""
    jobs = Job.objects.in_workspace(workspace)
    return {
        "pending": capped(jobs.pending()),
        "running": capped(jobs.running()),
        "failed": capped(jobs.filter(status=Job.Status.FAILED, created_at__gte=_a_day_ago())),
    }


def last_day(workspace, now: datetime | None = None) -> Day:
    """What ended in the last 24 hours, by the hour in which it ended."""
    now = now or timezone.now()
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    hours = [Hour(start + timedelta(hours=number)) for number in range(HOURS)]
    ended = (
        Job.objects.in_workspace(workspace)
        .filter(completed_at__gte=start, completed_at__lte=now)
        .order_by("-completed_at", "-id")
        .values_list("completed_at", "status", "execution_seconds")[:SAMPLE_AT_MOST]
    )
    found = list(ended)
    for completed_at, status, seconds in found:
        hour = hours[int((completed_at - start).total_seconds() // 3600)]
        setattr(hour, status, getattr(hour, status) + 1)
        if seconds is not None and status == Job.Status.COMPLETED:
            hour.seconds.append(seconds)
    return Day(hours, sampled=len(found) == SAMPLE_AT_MOST)


def oldest_pending(workspace) -> Job | None:
    return _brief(Job.objects.in_workspace(workspace).pending()).order_by("created_at", "id").first()


def recent_failures(workspace, limit: int = 6) -> list[Job]:
    """The newest failed jobs of the last day, each with its reason."""
    jobs = Job.objects.in_workspace(workspace).filter(status=Job.Status.FAILED, created_at__gte=_a_day_ago())
    return list(_brief(jobs).order_by("-created_at", "-id")[:limit])


def recent_jobs(workspace, limit: int = 8) -> list[Job]:
    return list(_brief(Job.objects.in_workspace(workspace)).order_by("-created_at", "-id")[:limit])


def workers() -> list[Worker]:
    return list(Worker.objects.alive().order_by("name")[:50])


def _brief(jobs):
    return jobs.select_related("workflow", "created_by").defer("trigger_data", "result")


def _a_day_ago() -> datetime:
    return timezone.now() - timedelta(hours=HOURS)
