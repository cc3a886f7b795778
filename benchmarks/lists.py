"""Lists: each documented filter in each documented order (descending), first page, with 10,000 and 1,000,000 jobs.

    python -m benchmarks.lists [--rows 10000 1000000] [--on sqlite postgres] [--over 10]

Makes a database for each, fills it, and times the first page (100 rows) in the database and over HTTP, best of three.
Prints what takes longer than `--over` milliseconds in the database, and the slowest of each filter. The plans at the
largest size go to benchmarks/plans/, those that are alike once.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.databases import servers
from tests.journeys.site import ROOT, free_port, wait_for

PLANS = Path(__file__).parent / "plans"
DATABASES = {"sqlite": "sqlite", "postgres": "postgresql"}


def cases(workflows, jobs: int) -> dict:
    """Filters by what they are to show."""
    from benchmarks.seed import END, STEP

    day = END - jobs // 2 * STEP  # in the middle of all jobs
    times = {}
    for name in ("created", "updated", "started", "completed"):
        times[f"{name}: a day"] = {
            f"{name}_after": day.isoformat(), f"{name}_before": day.replace(hour=23, minute=59, second=59).isoformat(),
        }  # fmt: skip
        times[f"{name}: since"] = {f"{name}_after": day.isoformat()}
        times[f"{name}: until"] = {f"{name}_before": day.isoformat()}
    return {
        "none": {},
        "status: most": {"status": "completed"},
        "status: 5 %": {"status": "failed"},
        "status: 0.1 %": {"status": "pending"},
        "status: none": {"status": "running"},
        "status: several": {"status": "failed,cancelled,pending"},
        "definition: 20 %": {"ai_workflow_def_id": str(workflows[0].pk)},
        "definition: 0.4 %": {"ai_workflow_def_id": str(workflows[7].pk)},
        "definition and status": {"ai_workflow_def_id": str(workflows[0].pk), "status": "failed"},
        "name: all": {"job_name": "BATCH"},
        "name: 0.1 %": {"job_name": "batch 77 "},
        "name: none": {"job_name": "nothing like it"},
        "name: two characters": {"job_name": "问答"},
        **times,
    }


def inside(rows: int, database: str, over: float, plans: bool) -> None:
    """Within the process whose database it is."""
    import logging

    import django

    django.setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from benchmarks import seed

    start = time.perf_counter()
    workflows = seed.fill(rows)
    print(f"\n{database}, {rows:,} jobs (made in {time.perf_counter() - start:.0f} s)", flush=True)
    with _Server() as web:
        _measure(cases(workflows, rows), web, over, PLANS / f"{DATABASES[database]}.txt" if plans else None)


def _measure(filters: dict, web, over: float, plans: Path | None) -> None:
    from jobs.api.views import JobViewSet

    told, written, slow, total = {}, {}, 0, 0
    for name, params in filters.items():
        for order_by in JobViewSet.ordering_choices:
            for order in ("desc",) if params else ("desc", "asc"):
                asked = {**params, "order_by": order_by, "order": order}
                milliseconds, queries = _in_the_database(asked)
                over_http = _over_http(web, asked)
                total += 1
                told.setdefault(name, []).append((milliseconds, over_http, f"{order_by} {order}"))
                if milliseconds > over:
                    slow += 1
                    print(f"  slow: {name:24} {order_by} {order:5} {milliseconds:8.1f} ms", flush=True)
                if plans and order == "desc":
                    written.setdefault("\n".join(_plans(queries)), []).append(f"{name} by {order_by}")
    print(f"  {'':24}{'in the database':>18}{'over HTTP':>12}   slowest order, of {total} cases {slow} slow")
    for name, found in told.items():
        worst = max(found)
        print(f"  {name:24}{worst[0]:15.1f} ms{max(one[1] for one in found):9.1f} ms   {worst[2]}")
    if plans:
        plans.parent.mkdir(exist_ok=True)
        plans.write_text("\n".join(f"## {'; '.join(alike)}\n\n{plan}\n" for plan, alike in written.items()))


def _best_of_three(measure) -> float:
    best, start = float("inf"), time.perf_counter()
    for _ in range(3):
        best = min(best, measure())
        if time.perf_counter() - start > 1:
            break
    return best * 1000


def _in_the_database(params: dict) -> tuple[float, list[str]]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from rest_framework.test import APIClient

    from accounts.models import User

    user, _ = User.objects.get_or_create(username="bench", defaults={"is_superuser": True})
    client, queries = APIClient(SERVER_NAME="localhost"), []
    client.force_authenticate(user)

    def measure() -> float:
        with CaptureQueriesContext(connection) as captured:
            answer = client.get("/api/v1/ai_workflow_job", params)
        assert answer.status_code == 200, answer.content
        queries[:] = [query["sql"] for query in captured if not query["sql"].startswith("EXPLAIN")]
        start = time.perf_counter()
        with connection.cursor() as cursor:
            for sql in queries:
                cursor.execute(sql)
                cursor.fetchall()
        return time.perf_counter() - start

    return _best_of_three(measure), queries


def _plans(queries: list[str]) -> list[str]:
    from django.db import connection

    found = []
    with connection.cursor() as cursor:
        for sql in queries:
            if connection.vendor == "postgresql":
                cursor.execute(f"EXPLAIN (COSTS OFF) {sql}")
                found += [f"    {line}" for (line,) in cursor.fetchall() if ": " not in line]  # without conditions
            else:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
                found += [f"    {row[3]}" for row in cursor.fetchall()]
            found.append("")
    return found[:-1]


def _over_http(web: httpx.Client, params: dict) -> float:
    def measure() -> float:
        start = time.perf_counter()
        answer = web.get("/api/v1/ai_workflow_job", params=params)
        assert answer.status_code == 200, answer.text
        return time.perf_counter() - start

    return _best_of_three(measure)


class _Server:
    """The web process on this database, and a client with an API key."""

    def __enter__(self) -> httpx.Client:
        from accounts.models import ApiKey, User, Workspace

        user = User.objects.create_superuser(f"web{time.time()}")
        key = ApiKey(workspace_id=Workspace.DEFAULT_ID, user=user, name="bench").issue()
        port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: _answers(address), 60, "the web process")
        return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ping", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--on", nargs="+", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--over", type=float, default=10, help="milliseconds")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        rows, database = options.inside
        inside(int(rows), database, options.over, plans=int(rows) == max(options.rows))
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiworkflow_project.settings")
    for database in options.on:
        for rows in options.rows:
            with tempfile.TemporaryDirectory() as folder:
                environment = os.environ | {"DATA_DIR": folder}
                if url := servers.URLS[database]:
                    environment["DATABASE_URL"] = servers.Server(url).make()
                again = [*sys.argv[1:], "--inside", str(rows), database]
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.lists", *again], cwd=ROOT, env=environment, check=True
                )


if __name__ == "__main__":
    main()
