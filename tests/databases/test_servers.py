"""The promises that most depend on the database, on PostgreSQL and MariaDB, whatever the rest of the run uses.

A run on a server of its own (see servers.py) uses that one here, too. A server that is not there is skipped, which in
CI is a failure.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError

from tests.databases import servers
from tests.journeys.site import ROOT, Site

SERVERS = {"chosen": servers.CHOSEN} if servers.CHOSEN else {
    name: servers.Server(servers.URLS[name]) for name in ("postgres", "mariadb")
}  # fmt: skip

PIPELINE = """\
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters: {template: "你好，{{ name }}！🙂"}
connections: []
"""

FILL = """
from accounts.models import Workspace
from jobs.models import Job
from workflows.models import Workflow, WorkflowRevision
workspace = Workspace.objects.default()
workflow = Workflow.objects.create(workspace=workspace, name="问答")
revision = WorkflowRevision.objects.create(
    workflow=workflow, number=1, content_hash="x", pipeline_yaml="注释", description={})
Job.objects.bulk_create(
    Job(workspace=workspace, workflow=workflow, revision=revision, name=f"{n}", trigger_data={}, timeout_seconds=60,
        max_attempts=3) for n in range(200))
"""
CLAIM = """
import json, os
from datetime import timedelta
from jobs import claims
from jobs.models import Job
from django.db import OperationalError
mine = []
while True:
    try:
        jobs = claims.claim(5, timedelta(seconds=60), str(os.getpid()))
    except OperationalError as error:  # a deadlock: the loser tries again, as the worker's loop does
        continue
    if not jobs and not Job.objects.pending().exists():
        break
    mine += [(str(job.pk), job.attempt) for job in jobs]
print(json.dumps(mine))
"""
ROUND_TRIP = r"""
from datetime import timedelta
from jobs import claims
from jobs.models import Job
value = {"乙": "人工智能\u0000🙂", "甲": [2**63, 1e300, 0.1, None, True, {"深": {}}], "a": ""}
[job] = claims.claim(1, timedelta(seconds=60), "here")
job.complete(value, 0.25)
stored = Job.objects.get(pk=job.pk)
assert stored.result == value, stored.result
assert list(stored.result) == list(value)
assert stored.completed_at.microsecond == job.completed_at.microsecond
assert Job.objects.named_like(job.name).filter(pk=job.pk).exists()
assert [event.seq for event in job.events.order_by("seq")] == [2, 3]
"""


@pytest.fixture(params=SERVERS)
def server(request):
    return SERVERS[request.param]


@pytest.fixture
def url(server):
    """An empty database, named as SQLAlchemy's users name theirs."""
    try:
        url = server.make()
    except OperationalError as error:
        pytest.skip(f"no such server on this machine: {error}")
    return url.replace("postgresql:", "postgresql+asyncpg:").replace("mysql:", "mysql+asyncmy:")


def command(url, folder, *arguments) -> subprocess.Popen:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder), "DATABASE_URI": url}
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(url, folder, *arguments) -> subprocess.CompletedProcess:
    process = command(url, folder, *arguments)
    out, error = process.communicate(timeout=180)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def manage(url, folder, *arguments) -> str:
    done = run(url, folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shell(url, folder, code) -> str:
    return manage(url, folder, "shell", "--no-imports", "-c", code)


def claims_of_racers(url, folder) -> list[tuple[str, int]]:
    """The jobs, with their attempts, that four processes claimed at once."""
    racers = [command(url, folder, "shell", "--no-imports", "-c", CLAIM) for _ in range(4)]
    return [pair for racer in racers for pair in json.loads(racer.communicate(timeout=120)[0])]


def test_jobs_keep_their_promises(url, tmp_path):
    manage(url, tmp_path, "migrate")
    assert "No changes" in manage(url, tmp_path, "makemigrations", "--check", "--dry-run")
    shell(url, tmp_path, FILL)

    shell(url, tmp_path, ROUND_TRIP)
    claimed = claims_of_racers(url, tmp_path)

    assert len(claimed) == 199
    assert len({job for job, _ in claimed}) == 199
    assert {attempt for _, attempt in claimed} == {1}


def test_the_migrations_can_be_taken_back(url, tmp_path):
    manage(url, tmp_path, "migrate")

    for app in ("jobs", "workflows"):
        manage(url, tmp_path, "migrate", app, "zero")

    manage(url, tmp_path, "migrate")


def test_a_whole_site_runs_jobs_before_and_after_the_server_hung_up(server, url, tmp_path):
    site = Site(tmp_path, DATABASE_URL=url).start()
    try:
        done = site.finished(site.submit(site.define("问候", PIPELINE), {"name": "小明"}))

        assert done["result_data_json"] == {"prompt": {"prompt": "你好，小明！🙂"}}
        assert site.steps(done)[0]["component_name_str"] == "prompt"

        with ThreadPoolExecutor(16) as clients:
            everywhere = [clients.submit(site.api.get, "/ai_workflow_job") for _ in range(64)]
            assert {each.result().status_code for each in everywhere} == {200}  # each thread has its connection now
            assert server.hang_up(url) > 1
            everywhere = [clients.submit(site.api.get, "/ai_workflow_job") for _ in range(64)]
            assert {each.result().status_code for each in everywhere} == {200}
        again = site.finished(site.submit(site.define("再次", PIPELINE), {"name": "小红"}))
        assert again["status_str"] == "completed"
    finally:
        assert site.stop() == 0
