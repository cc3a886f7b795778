"""What many attempts have to tell, written in one transaction: the transactions are most of what a worker costs.

The careful way for one attempt is `Job.record` and the moves of `Job`: for ends that are not plain, and where the
database did not say whether news are written.
"""

from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from aiworkflow_project.db.fenced import FencedUpdate
from jobs.models import Job, JobEvent, JobQuerySet, JobStep


@dataclass(eq=False)
class Report:
    """Steps that are new, steps that ended and events of an attempt, and when `is_complete` also its result."""

    job: Job
    new: list[JobStep]
    ended: list[JobStep]
    events: list[JobEvent]
    is_complete: bool = False
    result: object = None
    seconds: float = 0.0


def write(reports: list[Report]) -> list[Report]:
    """Write what the reports tell, and return those that were written: the others' jobs have moved on.

    On a DatabaseError none is, or, where the error came with the commit, perhaps all are.
    """
    # In one order, so that two that write the same rows do not wait for each other.
    reports = sorted(reports, key=lambda report: report.job.pk)
    complete = [report for report in reports if report.is_complete]
    news = [report for report in reports if not report.is_complete]
    if (complete and news) or any(report.ended for report in reports):
        with transaction.atomic():
            written = _moved(complete, _complete) + _moved(news, _tell)
            for report in written:
                report.job.end_steps(report.ended)
    else:  # one statement
        written = _moved(complete, _complete) or _moved(news, _tell)
    for report in written:
        report.job.event_seq = _last(report)
        if report.is_complete:
            report.job.status = Job.Status.COMPLETED
    return written


def _last(report: Report) -> int:
    return report.job.event_seq + len(report.events) + report.is_complete


def _moved(reports: list[Report], move: FencedUpdate) -> list[Report]:
    """The fenced UPDATE, which also takes the events' numbers: while the job is ours, nobody else gives any."""
    now, rows = timezone.now(), []
    for report in reports:
        job = report.job
        ended = (now, report.result, report.seconds) if report.is_complete else ()
        rows.append((job.pk, job.attempt, job.lease_token, _last(report), *ended))
    events = [event for report in reports for event in _numbered(report)]
    steps = [step for report in reports for step in _placed(report)]
    return [report for report, moved in zip(reports, move.each(rows, events, steps), strict=True) if moved]


def _fenced(pk, attempt, token) -> JobQuerySet:
    return Job(pk=pk, attempt=attempt, lease_token=token).mine().filter(pk=pk)


_FENCE = [Job._meta.get_field(name) for name in ("id", "attempt", "lease_token")]
_tell = FencedUpdate(
    Job,
    lambda pk, attempt, token, last: (_fenced(pk, attempt, token), {"event_seq": last}),
    *_FENCE,
    Job._meta.get_field("event_seq"),
)
_complete = FencedUpdate(
    Job,
    lambda pk, attempt, token, last, now, result, seconds: (
        _fenced(pk, attempt, token),
        {"event_seq": last, "updated_at": now, "result": result, "execution_seconds": seconds}
        | {"status": Job.Status.COMPLETED, **Job.ending(now)},
    ),
    *_FENCE,
    *map(Job._meta.get_field, ("event_seq", "updated_at", "result", "execution_seconds")),
)


def _numbered(report: Report) -> list[JobEvent]:
    events = list(report.events)
    if report.is_complete:
        events.append(report.job.state_event(status=Job.Status.COMPLETED))
    for seq, event in enumerate(events, start=report.job.event_seq + 1):
        event.job_id, event.seq = report.job.pk, seq
    return events


def _placed(report: Report) -> list[JobStep]:
    for step in report.new:
        step.job_id, step.attempt = report.job.pk, report.job.attempt
    return report.new
