"""The API: requests per second beside a stand-in in FastAPI and SQLModel, with 10,000 jobs in the table.

    python -m benchmarks.api [--rows 10000] [--seconds 3] [--rounds 5] [--on sqlite postgres]

One web process each, without workers, and eight connections at a time. Ours and the stand-in take turns at each
endpoint; printed are the medians of the rounds and the ratios. The stand-in is installed into an environment of its own
in the system's folder for temporary files, at the first run, or runs in that of `--standin`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import cpu
from benchmarks.environments import python_of
from benchmarks.jobs import DATA, PRODUCTION
from benchmarks.load import Connection, load, request
from tests.databases import servers
from tests.journeys.site import ROOT, free_port, wait_for

STANDIN = Path(__file__).parent / "standin"
KINDS = {
    "create": "",
    "read one": "/api/v1/ai_workflow_job/{job}",
    "list 20": "/api/v1/ai_workflow_job?limit=20",
    "list 100": "/api/v1/ai_workflow_job?limit=100",
    "list 1000": "/api/v1/ai_workflow_job?limit=1000",
    "filter 20": "/api/v1/ai_workflow_job?limit=20&status=failed",
}


def prepare(rows: int) -> None:
    """In a process whose database it is: fills it, and prints a key and a definition."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from accounts.models import ApiKey, User, Workspace
    from benchmarks import seed

    workflows = seed.fill(rows)
    user = User.objects.create_superuser("bench")
    key = ApiKey(workspace_id=Workspace.DEFAULT_ID, user=user, name="bench").issue()
    print(json.dumps([key, str(workflows[0].pk)]))


class Server:
    """A web process on a free port, ready to be asked, and the requests of each kind."""

    def __init__(self, command: list, environment: dict, key: str = "", definition: str = ""):
        self.port = free_port()
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        wait_for(self._answers, 120, "the web process")
        ask = Connection(self.port).ask

        def sent(method: str, path: str, body: bytes = b"") -> bytes:
            return request(method, path, host=f"127.0.0.1:{self.port}", key=key, body=body)

        listed = json.loads(ask(sent("GET", "/api/v1/ai_workflow_job?limit=1"))[1])
        job = (listed if isinstance(listed, list) else listed["results"])[0]["id"]
        definition = definition or json.loads(ask(sent("GET", "/api/v1/ai_workflow_def"))[1])["id"]
        body = {"ai_workflow_def_id": definition, "trigger_data_json": DATA, "job_name_str": "bench"}
        self.requests = {kind: sent("GET", path.format(job=job)) for kind, path in KINDS.items() if path}
        self.requests["create"] = sent("POST", "/api/v1/ai_workflow_job", json.dumps(body).encode())

    def _answers(self) -> bool:
        try:
            return Connection(self.port).ask(request("GET", "/ping", host="127.0.0.1"))[0] == 200
        except OSError:
            return False

    def measure(self, kind: str, seconds: float) -> dict:
        before = cpu.of_tree(self.process.pid)
        found = load(self.port, self.requests[kind], clients=8, seconds=seconds)
        return found | {"cpu ms": (cpu.of_tree(self.process.pid) - before) * 1000 / (found["per second"] * seconds)}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def compare(database: str, options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours = os.environ | PRODUCTION | {"DATA_DIR": folder}
        theirs = os.environ | {
            "STANDIN_ROWS": str(options.rows),
            "STANDIN_URL": f"sqlite+aiosqlite:///{folder}/standin.db",
        }
        if url := servers.URLS[database]:
            server = servers.Server(url)
            ours["DATABASE_URL"] = server.make()
            theirs["STANDIN_URL"] = server.make().replace("postgresql://", "postgresql+asyncpg://")
        subprocess.run([sys.executable, "manage.py", "collectstatic", "-v0"], cwd=ROOT, env=ours, check=True)
        made = subprocess.run(
            [sys.executable, "-m", "benchmarks.api", "--prepare", str(options.rows)],
            cwd=ROOT, env=ours, check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        key, definition = json.loads(made.stdout.splitlines()[-1])
        uvicorn = [
            python_of(STANDIN / "requirements.txt", options.standin),
            "-m",
            "uvicorn",
            "--app-dir",
            STANDIN,
            "app:app",
            "--log-level",
            "warning",
        ]
        pair = [Server([sys.executable, "manage.py", "serve"], ours, key, definition)]
        try:
            pair.append(Server([*uvicorn], theirs))
            rounds = {kind: [] for kind in KINDS}
            for number in range(-1, options.rounds):
                for kind in options.kinds:
                    figures = [one.measure(kind, options.seconds if number >= 0 else 0.5) for one in pair]
                    if number >= 0:
                        rounds[kind].append(figures)
                    time.sleep(0.1)
        finally:
            for one in pair:
                one.stop()
    print(f"\n{database}, {options.rows:,} jobs: ours / the stand-in = ratio")
    names = ("per second", "p50 ms", "p99 ms", "cpu ms")
    print(f"{'':12}" + "".join(f"{name:>28}" for name in names))
    for kind in options.kinds:
        line = f"{kind:12}"
        for name in names:
            mine, standin = (statistics.median(pair[side][name] for pair in rounds[kind]) for side in (0, 1))
            ratio = statistics.median(pair[0][name] / pair[1][name] for pair in rounds[kind])
            line += f"{f'{mine:.1f} / {standin:.1f} = {ratio:.2f}':>28}"
        print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--on", nargs="+", choices=["sqlite", "postgres"], default=["sqlite", "postgres"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--standin", help="the folder of its environment")
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiworkflow_project.settings")
    if options.prepare:
        prepare(options.prepare)
        return
    for database in options.on:
        compare(database, options)


if __name__ == "__main__":
    main()
