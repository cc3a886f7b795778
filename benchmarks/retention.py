"""Retention: what a batch takes, what a submit waits for beside it, and by which indexes it finds its rows.

    python -m benchmarks.retention [--rows 1000000] [--workflows 20] [--seconds 20] [--on sqlite postgres mariadb]

Fills a database of its own with jobs that ended over the last 40 days, each with two steps and five events. Then
submits jobs, four at a time, for some seconds without pruning and for as many beside it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from tests.databases import servers
from tests.journeys.site import ROOT

QUIET, LOUD = "submits alone", "submits beside a prune"


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")  # for the connection that makes databases
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workflows", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--on", nargs="+", default=["sqlite"], choices=list(servers.URLS))
    given = parser.parse_args()
    for name in given.on:
        with tempfile.TemporaryDirectory() as folder:
            url = {"DATABASE_URL": servers.Server(servers.URLS[name]).make()} if name != "sqlite" else {}
            print(f"--- {name}, {given.rows:,} jobs", flush=True)
            code = (
                f"from benchmarks import retention; retention.measure({given.rows}, {given.workflows}, {given.seconds})"
            )
            subprocess.run(
                [sys.executable, "-u", "-c", f"import django; django.setup(); {code}"],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": SETTINGS, **url},
                check=True,
            )


SETTINGS = "aiworkflow_project.settings"


def measure(rows: int, workflows: int, seconds: float) -> None:
    from django.core.management import call_command

    from jobs import retention, sizes
    from jobs.models import Job

    call_command("migrate", verbosity=0)
    made = _workflows(workflows)
    begun = time.perf_counter()
    _fill(made, rows)
    print(f"filled in {time.perf_counter() - begun:.0f} s")

    policy = retention.Policy.of(made[0])
    for what, which in (("steps due", policy.steps_are_due), ("jobs due", policy.ended_too_long_ago)):
        due = Job.objects.filter(which, workflow=made[0])
        if what == "jobs due":
            due = due.filter(steps_pruned__in=[True])
        due = due.order_by("workflow_id", "steps_pruned", "completed_at")
        print(f"{what}: {due.values_list('pk', flat=True)[: retention.BATCH].explain()}")
    for limit in (0.0, 2.0, 30.0):
        begun = time.perf_counter()
        report = sizes.report(seconds=limit)
        took = time.perf_counter() - begun
        print(
            f"sizes: {took:.1f} s, {report.measured:,} of {report.jobs:,} measured, {report.total.total.bytes:,} bytes"
        )
    begun = time.perf_counter()
    retention.due(made[0], policy)
    print(f"dry run of one workflow: {time.perf_counter() - begun:.1f} s")

    _report(QUIET, _submits(made[0], seconds))
    stop, batches, deleted = threading.Event(), [], []
    thread = threading.Thread(target=_prune, args=(stop, batches, deleted))
    thread.start()
    waits = _submits(made[0], seconds)
    stop.set()
    thread.join()
    _report(LOUD, waits)
    _report("a batch", batches)
    print(f"deleted beside: {sum(deleted):,} rows", flush=True)


def _workflows(number: int):
    from accounts.models import Workspace
    from tests import descriptions
    from workflows.models import Workflow, WorkflowRevision

    made = []
    for n in range(number):
        workflow = Workflow.objects.create(workspace_id=Workspace.DEFAULT_ID, name=f"问答 {n}")
        workflow.current_revision = WorkflowRevision.objects.create(
            workflow=workflow, number=1, content_hash="0", description=descriptions.PROMPT, pipeline_yaml="x"
        )
        workflow.save()
        made.append(workflow)
    return made


SQL = {
    "sqlite": {
        "id": "lower(hex(randomblob(16)))",
        "ago": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ({n} * 3456000.0 / {rows}) || ' seconds')",
        "analyze": "ANALYZE {}",
    },
    "postgresql": {
        "id": "gen_random_uuid()",
        "ago": "now() - {n} * interval '3456000 seconds' / {rows}",
        "analyze": "VACUUM ANALYZE {}",
    },
    "mysql": {
        "id": "md5(concat(uuid(), rand(), t.id))",
        "ago": "now(6) - interval {n} * 3456000 / {rows} second",
        "analyze": "ANALYZE TABLE {}",
    },
}


def _fill(workflows, rows: int) -> None:
    """Copies of one job for each workflow, with random ids, that ended over the last 40 days."""
    from django.db import connection
    from django.utils import timezone

    from jobs.models import Job, JobEvent, JobStep

    now = timezone.now()
    for workflow in workflows:
        job = Job.objects.create(
            workspace_id=workflow.workspace_id, workflow=workflow, revision=workflow.current_revision, name="问答",
            trigger_data={"query": "什么是人工智能？"}, result={"prompt": {"prompt": "答" * 100}}, status="completed",
            timeout_seconds=60, max_attempts=3, attempt=1, started_at=now, completed_at=now, event_seq=5,
        )  # fmt: skip
    step = JobStep.objects.create(
        job=job, attempt=1, position=0, component="prompt", component_type="x.PromptBuilder", status="completed",
        started_at=now, input_preview={"问": "字" * 50},
    )  # fmt: skip
    event = JobEvent.objects.create(
        job=job, seq=0, kind="step", data={"component_name_str": "prompt", "position_int": 1}
    )
    sql = SQL[connection.vendor]
    numbers = "(WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {}) SELECT n FROM r) numbers"

    def copies(model, source, number, **changed):
        columns = [
            field.column for field in model._meta.concrete_fields if field.column in changed or field.column != "id"
        ]
        values = [changed.get(column, f"t.{column}") for column in columns]
        return (
            f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) SELECT {', '.join(values)} "
            f"FROM {source}, {numbers.format(number)}"
        )

    jobs, steps, events = (model._meta.db_table for model in (Job, JobStep, JobEvent))
    ago = sql["ago"].format(n="n", rows=rows // len(workflows))
    times = dict.fromkeys(("created_at", "updated_at", "started_at", "completed_at"), ago)
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET max_recursive_iterations = 100000000")
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA cache_size = -1000000")  # kilobytes, for filling alone
        cursor.execute(copies(Job, f"{jobs} t", rows // len(workflows), id=sql["id"], **times))
        for model, table, row, number, place in (
            (JobStep, steps, step, 2, "position"),
            (JobEvent, events, event, 5, "seq"),
        ):
            source = f"{table} t JOIN {jobs} j ON t.id = {row.pk}"
            cursor.execute(copies(model, source, number, **{"job_id": "j.id", place: "n"}))
        for table in (jobs, steps, events):
            cursor.execute(sql["analyze"].format(table))
    connection.close()


def _submits(workflow, seconds: float) -> list[float]:
    from django.db import connection

    from jobs import services

    waits, until = [], time.perf_counter() + seconds

    def go():
        while (begun := time.perf_counter()) < until:
            services.submit(workflow, {"query": "什么", "top_k": 5})
            waits.append(time.perf_counter() - begun)
            time.sleep(0.05)
        connection.close()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits


def _prune(stop, batches: list, deleted: list) -> None:
    """As the cluster's main process does: for a quarter of a second in every three quarters."""
    from django.db import connection

    from jobs import retention
    from jobs.queue.cluster import PRUNE_SLICE

    pruning = retention.prune_site()
    while not stop.is_set():
        slice_began = time.perf_counter()
        while time.perf_counter() - slice_began <= PRUNE_SLICE:
            begun = time.perf_counter()
            amounts = next(pruning, None)
            if amounts is None:
                break
            if amounts:
                batches.append(time.perf_counter() - begun)
                deleted.append(amounts.total.rows)
        time.sleep(0.5)
    connection.close()


def _report(what: str, seconds: list[float]) -> None:
    seconds = sorted(seconds)
    if seconds:
        middle, slow = statistics.median(seconds), seconds[int(len(seconds) * 0.99) - 1]
        print(
            f"{what}: {len(seconds):,}, p50 {middle * 1000:.1f} ms, p99 {slow * 1000:.1f} ms, "
            f"most {seconds[-1] * 1000:.1f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
