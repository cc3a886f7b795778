"""Jobs that wait for a model: how many at once, how soon they end, and the memory that they take meanwhile.

    python -m benchmarks.waiting [--jobs 100] [--rounds 3] [--in-flight 64 400] [--workers 2] [--warm]

Each job asks a local model server whose answer takes a second. The time is from the first submit to the last final
state, and beside it stands what the processes of the site took of the processor. The memory is the runner's and its
children's together (PSS), at its highest while so many runs are in flight, of one worker process and longer answers.
With --warm, a definition that says `keep_warm: true`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import cpu
from benchmarks.jobs import moment
from tests.journeys.site import ROOT, Site, free_port
from tests.model_server import asking
from workflows import engine

WARM = "workflow: {keep_warm: true}\n"
PARTS = {"web": "serve", "workers": "qcluster", "runner and runs": "workflows.engine.runner.server"}


def submit_all(site: Site, definition: dict, count: int, seconds: float, name: str, clients: int = 8) -> None:
    def one(n: int) -> None:
        site.submit(definition, {"question": f"[[delay={seconds}]] 第{n}个问题"}, name=f"{name}-{n}")

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(count)))


def rows(site: Site, name: str) -> list[dict]:
    return site.api.get("/ai_workflow_job", params={"job_name": name, "limit": 1000}).json()["results"]


def count(site: Site, name: str, status: str) -> int:
    params = {"job_name": name, "status": status, "limit": 1}
    return site.api.get("/ai_workflow_job", params=params).json()["count"]


def timed(site: Site, definition: dict, jobs: int, seconds: float = 1.0) -> dict:
    name, before = f"timed-{time.monotonic_ns()}", cpu.by_part(site.process.pid, parts=PARTS)
    submit_all(site, definition, jobs, seconds, name)
    while count(site, name, "pending,running"):
        time.sleep(0.25)  # asking takes time of the same two cores
    found = rows(site, name)
    assert [row["status_str"] for row in found] == ["completed"] * jobs
    first = min(moment(row["created_at_time"]) for row in found)
    took = sorted(row["execution_time_seconds"] for row in found)
    spent = cpu.by_part(site.process.pid, parts=PARTS)
    spent.subtract(before)
    return {
        "wall s": max(moment(row["completed_at_time"]) for row in found) - first,
        "of which submits s": max(moment(row["created_at_time"]) for row in found) - first,
        "a run p50 s": statistics.median(took),
        "a run longest s": took[-1],
        **{f"processor ms a job, {part}": 1000 * spent[part] / jobs for part in (*PARTS, "else")},
        "processor ms a job, all": 1000 * spent.total() / jobs,
    }


def megabytes(pid: int) -> float:
    """The proportional set size of a process and of all below it: a page that n share counts an nth for each."""
    total = 0
    for each in cpu.tree(pid):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def in_flight(site: Site, definition: dict, jobs: int) -> dict:
    """The highest memory of the runner's tree while so many runs are in flight, and how many were at once."""
    runner = engine.runner_status()["pid"]
    idle, name = megabytes(runner), f"flight-{time.monotonic_ns()}"
    # Long enough for all of them to have begun.
    submits = threading.Thread(target=submit_all, args=(site, definition, jobs, 5 + jobs / 20, name))
    submits.start()
    highest, most = idle, 0
    while submits.is_alive() or count(site, name, "pending,running"):
        highest = max(highest, megabytes(runner))
        most = max(most, count(site, name, "running"))
        time.sleep(0.3)
    submits.join()
    assert {row["status_str"] for row in rows(site, name)} == {"completed"}
    return {f"{jobs} in flight, at once": most, f"{jobs} in flight, MB": highest, "idle runner, MB": idle}


def model_server(port: int) -> subprocess.Popen:
    """In a process of its own, so that it doesn't share its interpreter with the clients."""
    server = subprocess.Popen([sys.executable, "-m", "tests.model_server", str(port)], cwd=ROOT, stdout=subprocess.PIPE)
    server.stdout.readline()
    return server


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args()
    port = free_port()
    server = model_server(port)
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "PIPELINE_HOSTS": f"127.0.0.1:{port}", "PIPELINE_SECRETS": f"LOCAL_KEY@127.0.0.1:{port}",
            "LOCAL_KEY": "local", "JOB_LEASE_SECONDS": "30", "JOB_SWEEP_SECONDS": "5",
        }  # fmt: skip
        if options.warm:
            environment["PIPELINE_RESIDENTS"] = "4"
        if options.in_flight:
            environment.setdefault("JOBS_PER_WORKER", str(max(options.in_flight)))
        site = Site(Path(folder), workers=1 if options.in_flight else options.workers, **environment).start()
        engine.configure(engine.Config(data_dir=Path(folder), socket=f"{folder}/var/runner.sock"))
        try:
            text = asking(f"127.0.0.1:{port}", timeout=120) + (WARM if options.warm else "")
            definition = site.define("waiting", text)
            timed(site, definition, 20, seconds=0.1)
            if options.in_flight:
                figures = [in_flight(site, definition, jobs) for jobs in options.in_flight]
            else:
                figures = [timed(site, definition, options.jobs) for _ in range(options.rounds)]
        finally:
            site.stop()
            server.terminate()
            server.wait()
    if options.in_flight:
        print(json.dumps(figures, indent=1))
        return
    for name in figures[0]:
        values = [each[name] for each in figures]
        print(f"  {name:24} {statistics.median(values):8.3f}   ({', '.join(f'{v:.2f}' for v in values)})")


if __name__ == "__main__":
    main()
