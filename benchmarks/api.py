"""The API: creates, reads and lists per second with 10,000 jobs in the table, on the embedded default.

    python -m benchmarks.api [--rows 10000] [--seconds 4] [--rounds 3]

Eight connections at a time against one web process, without workers, so that only the API is measured.
"""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx

from benchmarks.jobs import DATA, PIPELINE
from tests.journeys.site import Site, wait_for

FILL = """
import sys
from datetime import timedelta
from django.utils import timezone
from jobs.models import Job
from workflows.models import Workflow
workflow = Workflow.objects.get(name="benchmark")
now = timezone.now()
Job.objects.bulk_create(
    (Job(workspace_id=workflow.workspace_id, workflow=workflow, revision_id=workflow.current_revision_id,
         name=f"问答 {n}", trigger_data={"query": "什么是人工智能？", "top_k": n},
         status="failed" if n % 20 == 0 else "completed",
         result={"prompt": {"prompt": "答" * 50}}, timeout_seconds=60, max_attempts=3, attempt=1, execution_seconds=0.1,
         created_at=now - timedelta(seconds=n), updated_at=now - timedelta(seconds=n),
         started_at=now - timedelta(seconds=n), completed_at=now - timedelta(seconds=n))
     for n in range(ROWS)), batch_size=500)
"""


def load(site: Site, clients: int, seconds: float, request) -> dict:
    """What `clients` get done in `seconds`: requests per second, and the latencies' median and 99th percentile."""
    waits, stop = [], time.perf_counter() + seconds

    def go():
        with httpx.Client(base_url=str(site.api.base_url), headers=site.api.headers, timeout=30) as client:
            while time.perf_counter() < stop:
                start = time.perf_counter()
                answer = request(client)
                waits.append(time.perf_counter() - start)
                assert answer.status_code < 300, answer.text

    threads = [threading.Thread(target=go) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waits.sort()
    return {
        "per second": len(waits) / seconds,
        "p50 ms": statistics.median(waits) * 1000,
        "p99 ms": waits[int(len(waits) * 0.99) - 1] * 1000,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder)).start()
        definition = site.define("benchmark", PIPELINE)
        site.command("shell", "-c", FILL.replace("ROWS", str(options.rows))).wait()
        site.stop()
        # The web process alone.
        site.process = site.command("serve", "--port", str(site.port))
        try:
            wait_for(lambda: _answers(site), 30, "the web process")
            site.sign_in()
            job_id = site.api.get("/ai_workflow_job", params={"limit": 1}).json()["results"][0]["id"]
            body = {"ai_workflow_def_id": definition["id"], "trigger_data_json": DATA, "job_name_str": "bench"}
            kinds = {
                "read one": lambda client: client.get(f"/ai_workflow_job/{job_id}"),
                "list 20": lambda client: client.get("/ai_workflow_job", params={"limit": 20}),
                "list 100": lambda client: client.get("/ai_workflow_job", params={"limit": 100}),
                "filter 20": lambda client: client.get("/ai_workflow_job", params={"limit": 20, "status": "failed"}),
                "create": lambda client: client.post("/ai_workflow_job", json=body),
            }
            found = {kind: [] for kind in kinds}
            for _ in range(options.rounds):
                for kind, request in kinds.items():
                    found[kind].append(load(site, 8, options.seconds, request))
        finally:
            site.stop()
    print(f"{'':12}{'per second':>12}{'p50 ms':>10}{'p99 ms':>10}   ({options.rows} jobs)")
    for kind, rounds in found.items():
        middle = {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}
        print(f"{kind:12}{middle['per second']:12.0f}{middle['p50 ms']:10.1f}{middle['p99 ms']:10.1f}")


def _answers(site: Site) -> bool:
    try:
        return httpx.get(f"{site.address}/ping", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
