"""The same promises on real servers: PostgreSQL and MariaDB, reached by DATABASE_URL alone.

The servers of the machine are used, each with a database of the test's own. Without one the test is skipped, which
in CI is a failure.
"""

import json
import os
import subprocess
import sys
import uuid

import psycopg
import pymysql
import pytest

from tests.journeys.site import ROOT, Site

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
from jobs.models import Job
from django.db import OperationalError
mine = []
while True:
    try:
        jobs = Job.objects.claim(5, timedelta(seconds=60), str(os.getpid()))
    except OperationalError as error:  # a deadlock: the loser tries again, as the worker's loop does
        continue
    if not jobs and not Job.objects.pending().exists():
        break
    mine += [(str(job.pk), job.attempt) for job in jobs]
print(json.dumps(mine))
"""
ROUND_TRIP = r"""
from datetime import timedelta
from jobs.models import Job
value = {"乙": "人工智能\u0000🙂", "甲": [2**63, 1e300, 0.1, None, True, {"深": {}}], "a": ""}
[job] = Job.objects.claim(1, timedelta(seconds=60), "here")
job.complete(value, 0.25)
stored = Job.objects.get(pk=job.pk)
assert stored.result == value, stored.result
assert list(stored.result) == list(value)
assert stored.completed_at.microsecond == job.completed_at.microsecond
assert Job.objects.named_like(job.name).filter(pk=job.pk).exists()
assert [event.seq for event in job.events.order_by("seq")] == [2, 3]
"""


class PostgreSQL:
    def __init__(self):
        self.name = f"aiworkflow_{uuid.uuid4().hex[:12]}"
        self.url = f"postgresql+asyncpg://postgres@127.0.0.1:5432/{self.name}"

    def do(self, statement):
        with psycopg.connect("postgresql://postgres@127.0.0.1:5432/postgres", autocommit=True) as connection:
            connection.execute(statement)

    def make(self):
        self.do(f"CREATE DATABASE {self.name}")

    def drop(self):
        self.do(f"DROP DATABASE {self.name} WITH (FORCE)")


class MariaDB:
    def __init__(self):
        self.name = f"aiworkflow_{uuid.uuid4().hex[:12]}"
        self.url = f"mysql+asyncmy://root:@127.0.0.1:3306/{self.name}"

    def do(self, statement):
        connection = pymysql.connect(host="127.0.0.1", user="root", password="")
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def make(self):
        self.do(f"CREATE DATABASE {self.name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")

    def drop(self):
        self.do(f"DROP DATABASE {self.name}")


@pytest.fixture(params=[PostgreSQL, MariaDB], ids=["postgresql", "mariadb"])
def server(request):
    server = request.param()
    try:
        server.make()
    except (psycopg.OperationalError, pymysql.OperationalError) as error:
        pytest.skip(f"no such server on this machine: {error}")
    yield server
    server.drop()


def manage(server, folder, *arguments) -> str:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder), "DATABASE_URI": server.url}
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def shell(server, folder, code) -> str:
    return manage(server, folder, "shell", "--no-imports", "-c", code)


def test_jobs_keep_their_promises(server, tmp_path):
    manage(server, tmp_path, "migrate")
    assert "No changes" in manage(server, tmp_path, "makemigrations", "--check", "--dry-run")
    shell(server, tmp_path, FILL)

    shell(server, tmp_path, ROUND_TRIP)
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "DATABASE_URI": server.url}
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", CLAIM]
    racers = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    claimed = [pair for racer in racers for pair in json.loads(racer.communicate(timeout=120)[0])]

    assert len(claimed) == 199
    assert len({job for job, _ in claimed}) == 199
    assert {attempt for _, attempt in claimed} == {1}


def test_the_migrations_can_be_taken_back(server, tmp_path):
    manage(server, tmp_path, "migrate")

    for app in ("jobs", "workflows"):
        manage(server, tmp_path, "migrate", app, "zero")

    manage(server, tmp_path, "migrate")


def test_a_whole_site_runs_a_job(server, tmp_path):
    site = Site(tmp_path, DATABASE_URI=server.url).start()
    try:
        done = site.finished(site.submit(site.define("问候", PIPELINE), {"name": "小明"}))

        assert done["result_data_json"] == {"prompt": {"prompt": "你好，小明！🙂"}}
        assert site.steps(done)[0]["component_name_str"] == "prompt"
    finally:
        assert site.stop() == 0
