"""Lets jobs in that wait for their time, or for room within their workflow's limit.

Pending jobs of a limited workflow are kept apart from those that a worker may claim, so that a claim costs the same
however many wait. All that raises the number of admitted jobs goes through `admit`, which holds a lock on the workflow
meanwhile: the limit holds however many submit, finish and sweep at once.
"""

from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from aiworkflow_project.db.conflicts import locked, retried
from jobs.models import QUEUE_ORDER, Job
from workflows.models import Workflow

BATCH = 1_000


@retried
def admit(workflow_id: UUID) -> int:
    """Let in the first of the workflow's jobs that wait for room, as many as there is room for.

    Where the limit was lowered, jobs that have not started are taken out again. Returns how many came in.
    """
    room, ready = Job.WaitsFor.ROOM, Job.WaitsFor.WORKER
    jobs = Job.objects.filter(workflow=workflow_id)
    with transaction.atomic():
        limit = locked(Workflow.objects).values_list("concurrency_limit", flat=True).get(pk=workflow_id)
        if limit is None:
            return jobs.waiting_for_room().update(waits_for=ready)
        taken = jobs.admitted().count()  # in one statement: a job may be claimed at this moment
        if taken > limit and jobs.ready().update(waits_for=room):
            taken = jobs.running().count()
        first = jobs.waiting_for_room().order_by(*QUEUE_ORDER).values_list("pk", flat=True)
        let_in = list(first[: max(limit - taken, 0)])
        return jobs.waiting_for_room().filter(pk__in=let_in).update(waits_for=ready) if let_in else 0


def release_due() -> int:
    """Let in the jobs whose time has come, a thousand at most; those of limited workflows where there is room.

    Returns how many came in.
    """
    due = list(Job.objects.due().values_list("pk", "workflow", "workflow__concurrency_limit")[:BATCH])
    free = [pk for pk, _workflow, limit in due if limit is None]
    limited = [pk for pk, _workflow, limit in due if limit is not None]
    released = _release(free, Job.WaitsFor.WORKER)
    if _release(limited, Job.WaitsFor.ROOM):
        released += sum(admit(workflow) for workflow in {row[1] for row in due if row[2] is not None})
    return released


@retried
def _release(pks: list[UUID], waits_for: Job.WaitsFor) -> int:
    return Job.objects.waiting_for_time().filter(pk__in=pks).update(waits_for=waits_for) if pks else 0


def admit_all() -> int:
    """Admit where it was missed: whoever should have done so died, or the limit was changed. Returns how many came in.

    Of workflows without a limit, only those whose jobs still wait for the room of a former one are of interest.
    """
    of_it = Job.objects.filter(workflow=OuterRef("pk"))
    limited = Q(concurrency_limit__isnull=False) & Exists(of_it.pending())
    wanted = Workflow.objects.filter(limited)
    if Job.objects.waiting_for_room().exists():
        wanted = Workflow.objects.filter(limited | Exists(of_it.waiting_for_room()))
    some = wanted.order_by("?").values_list("pk", flat=True)[:BATCH]  # of more than these, each has its turn in time
    return sum(admit(workflow) for workflow in some)
