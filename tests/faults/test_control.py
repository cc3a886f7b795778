"""Faults while jobs wait: for room in a limit, for their time, for a backoff to end, or to be accepted at all."""

import contextlib
import signal
import threading
import uuid
from datetime import UTC, datetime, timedelta

import httpx
import psycopg

from tests.faults.promises import kept, page
from tests.faults.servers import PostgreSQL
from tests.faults.test_processes import pipeline
from tests.faults.test_workers import WORKER_LOST, kill
from tests.journeys.conftest import COMPONENTS
from tests.journeys.site import wait_for
from tests.model_server import asking


def test_a_worker_killed_while_its_job_fills_a_limit_leaves_room_for_one_at_a_time(watched, witness):
    site = watched.site(workers=2)
    definition = watched.definition(site)
    limited = site.api.patch(f"/ai_workflow_def/{definition['id']}", json={"concurrency_limit_int": 1})
    assert limited.status_code == 200, limited.text
    jobs = watched.submit(site, definition, 1, 2) + watched.submit(site, definition, 2, 0.5)
    wait_for(lambda: witness.running.total(), what="the first to run")

    kill(site.processes("qcluster", "processing"))

    done = kept(site, jobs, witness)
    assert [(job["status_str"], job["attempt_int"]) for job in done] == [("completed", 2), *[("completed", 1)] * 2]
    assert witness.most_at_once == 1
    assert WORKER_LOST in page(site, jobs[0])


def test_jobs_that_wait_for_their_time_start_when_due_though_the_whole_cluster_is_killed(new_site):
    site = new_site(PIPELINE_COMPONENTS=COMPONENTS)
    failing = site.define("失败", pipeline("Raiser") + "  retry_on: [component_failed]\n  max_attempts: 2\n")
    failed = [site.submit(failing, {"message": "坏了"}) for _ in range(3)]
    sleeping = site.define("睡眠", pipeline("Sleeper"))
    soon, later = (
        site.submit(sleeping, {"seconds": 0}, not_before_time=(datetime.now(UTC) + wait).isoformat())
        for wait in (timedelta(seconds=3), timedelta(seconds=10))
    )

    def backing_off() -> list[dict]:
        return [row for row in map(site.job, failed) if row["waits_for_str"] == "time"]

    wait_for(backing_off, what="a backoff")
    kill(site.processes("qcluster"), signal.SIGSTOP)  # so that what is seen now is what they leave behind
    waiting = [row for row in [*backing_off(), site.job(later)] if row["waits_for_str"] == "time"]
    kill(site.processes("qcluster"))
    assert waiting

    done = {job["id"]: job for job in kept(site, [*failed, soon, later])}
    assert [done[job["id"]]["status_str"] for job in (soon, later)] == ["completed"] * 2
    assert {(done[job["id"]]["status_str"], done[job["id"]]["attempt_int"]) for job in failed} == {("failed", 2)}
    for row in waiting:
        assert done[row["id"]]["started_at_time"] >= row["not_before_time"]
    assert "坏了" in page(site, failed[0])


AGAIN = "workflow: {max_attempts: 3, retry_on: [transient]}\n"


def test_a_model_server_that_is_unavailable_is_asked_again_after_pauses(new_site, model_server):
    site = new_site(
        PIPELINE_HOSTS=model_server.host, PIPELINE_SECRETS=f"LOCAL_KEY@{model_server.host}", LOCAL_KEY="local-key"
    )
    definition = site.define("问答", asking(model_server.host, max_retries=0) + AGAIN)
    questions = ["您好[[status=503 times=2]]", "在吗[[status=503]]", "密码[[status=401]]"]
    jobs = [site.submit(definition, {"question": question}) for question in questions]
    pauses = {}

    def all_over() -> bool:
        rows = [site.job(job) for job in jobs]
        pauses.update({(row["id"], row["attempt_int"]): row for row in rows if row["waits_for_str"] == "time"})
        return not any(row["status_str"] in ("pending", "running") for row in rows)

    wait_for(all_over, 60, "all to be over")

    answered, given_up, refused = kept(site, jobs)
    asked = [request.body["messages"][-1]["content"] for request in model_server.requests]
    assert [str(asked).count(question) for question in questions] == [3, 3, 1]
    assert [(job["status_str"], job["attempt_int"]) for job in (answered, given_up, refused)] == [
        ("completed", 3),
        ("failed", 3),
        ("failed", 1),
    ]
    assert "503" in given_up["error_message_text"]
    assert all("503" in page(site, job) for job in (answered, given_up))
    assert pauses
    for (job, attempt), row in pauses.items():
        began = {step["attempt_int"]: step["started_at_time"] for step in reversed(site.steps(row))}
        assert began[attempt + 1] >= row["not_before_time"], job


COMMITTED = "SELECT count(*) FROM ai_workflow_job_batch"
STOPPED_SHORT = "SELECT count(*) FROM pg_locks WHERE relation = 'accounts_kept_answer'::regclass AND NOT granted"


def test_a_batch_that_the_end_of_the_database_cut_off_is_accepted_once(watched, witness, tmp_path):
    server = PostgreSQL(tmp_path / "database").start()
    try:
        site = watched.site(workers=1, DATABASE_URL=server.url)
        definition = watched.definition(site)

        whole = cut_off(site, server, definition, locked="django_q_ormq", until=COMMITTED)
        nothing = cut_off(site, server, definition, locked="accounts_kept_answer", until=STOPPED_SHORT)

        assert whole.headers.get("Idempotency-Replayed") == "true"
        assert "Idempotency-Replayed" not in nothing.headers
        jobs = [item for answer in (whole, nothing) for item in answer.json()["items"]]
        assert {job["status_str"] for job in kept(site, jobs, witness)} == {"completed"}
        assert site.api.get("/ai_workflow_job").json()["count"] == len(jobs) == 8
    finally:
        server.kill()


def cut_off(site, server, definition, *, locked: str, until: str) -> httpx.Response:
    """The answer to a batch that is sent again under its key, after the database was killed during the first try."""
    items = [{"trigger_data_json": {"name": uuid.uuid4().hex, "seconds": 0}} for _ in range(4)]
    body = {"ai_workflow_def_id": definition["id"], "items": items}
    key = {"Idempotency-Key": uuid.uuid4().hex}

    def send() -> httpx.Response:
        return site.api.post("/ai_workflow_job/batch", json=body, headers=key)

    with contextlib.closing(psycopg.connect(server.url)) as other:
        other.execute(f"LOCK TABLE {locked} IN SHARE MODE")
        first = threading.Thread(target=send)
        first.start()
        wait_for(lambda: other.execute(until).fetchone()[0], what="the batch to get so far")
        server.kill()
    first.join()
    server.start()
    return wait_for(lambda: (answer := send()).status_code == 201 and answer, what="the batch to be accepted")
