"""Fills a migrated database with made-up jobs, a million within a minute or two; the same ones on every database.

Of the jobs 93 % are completed, 5 % failed, 2 % cancelled, 0.1 % pending; there are 200 workflows, of which the first
has a fifth of the jobs. One job was submitted every 30 seconds, and each was changed within minutes.
"""

import json
import random
import uuid
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from accounts.models import Workspace
from aiworkflow_project.db import statistics
from jobs import search
from jobs.models import Job
from tests import descriptions
from workflows.models import Workflow, WorkflowRevision

END = datetime(2026, 11, 1, tzinfo=UTC)  # when the last job was submitted
STEP = timedelta(seconds=30)
WORKFLOWS = 200
BATCH = 20_000


def fill(rows: int) -> list[Workflow]:
    """Insert `rows` jobs of 200 workflows, let the database look at them, and return the workflows.

    Where there are workflows already, they are returned, and nothing is inserted.
    """
    if found := list(Workflow.objects.order_by("created_at")):
        return found
    chance = random.Random(1)
    workflows = [_workflow(number) for number in range(WORKFLOWS)]
    columns = list(Job._meta.concrete_fields)
    indexes = _drop_indexes()
    for first in range(0, rows, BATCH):
        made = [_job(number, rows, workflows, chance) for number in range(first, min(first + BATCH, rows))]
        _insert(columns, made)
    with connection.cursor() as cursor:
        for statement in indexes:
            cursor.execute(statement)
        search.ensure(connection.alias)
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")
    statistics.gather()
    return workflows


def _drop_indexes() -> list[str]:
    """Drop the indexes of the table of jobs, but for its key's, and return what makes them again."""
    found = {
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexname NOT LIKE %s",
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s AND name NOT LIKE %s",
    }
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA cache_size = -500000")
        cursor.execute(found[connection.vendor], [Job._meta.db_table, "%pkey"])
        indexes = [(name, sql) for name, sql in cursor.fetchall() if sql]
        for name, _sql in indexes:
            cursor.execute(f"DROP INDEX {connection.ops.quote_name(name)}")
        if connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER job_was_made")
    return [sql for _name, sql in indexes]


def _workflow(number: int) -> Workflow:
    workflow = Workflow(
        workspace_id=Workspace.DEFAULT_ID, name=f"流程 {number}", tags="RAG,问答" if number % 3 else "AI"
    )
    workflow.save()
    workflow.current_revision = WorkflowRevision.objects.create(
        workflow=workflow, number=1, pipeline_yaml=descriptions.PROMPT_YAML,
        content_hash=WorkflowRevision.hash_of(descriptions.PROMPT_YAML), description=descriptions.PROMPT,
    )  # fmt: skip
    workflow.save(update_fields=["current_revision"])
    return workflow


def _job(number: int, rows: int, workflows, chance) -> Job:
    workflow = workflows[0 if chance.random() < 0.2 else chance.randrange(WORKFLOWS)]
    created = END - (rows - number) * STEP
    started = created + timedelta(seconds=chance.random() * 5)
    completed = started + timedelta(seconds=chance.random() * 100)
    drawn = chance.random()
    status = (
        "completed" if drawn < 0.929 else "failed" if drawn < 0.979 else "cancelled" if drawn < 0.999 else "pending"
    )
    over = status != "pending"
    return Job(
        id=uuid.UUID(int=chance.getrandbits(128), version=4),
        workspace_id=Workspace.DEFAULT_ID, workflow=workflow, revision_id=workflow.current_revision_id,
        name=f"问答 batch {number % 1000} {chance.getrandbits(32):08x}",
        trigger_data={"query": "什么是人工智能？", "top_k": number % 10}, status=status,
        result={"prompt": {"prompt": "答" * 50}} if status == "completed" else None,
        error_code="component_failed" if status == "failed" else "",
        timeout_seconds=60, max_attempts=3, attempt=int(over), event_seq=3 if over else 1,
        created_at=created, updated_at=completed if over else created, started_at=started if over else None,
        completed_at=completed if over else None,
        execution_seconds=(completed - started).total_seconds() if over else None,
    )  # fmt: skip


def _insert(columns, jobs) -> None:
    names = ", ".join(connection.ops.quote_name(field.column) for field in columns)
    values = ([_value(field, getattr(job, field.attname)) for field in columns] for job in jobs)
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {Job._meta.db_table} ({names}) FROM STDIN") as copy:
                for row in values:
                    copy.write_row(row)
        else:
            marks = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"INSERT INTO {Job._meta.db_table} ({names}) VALUES ({marks})", values)


def _value(field, value):
    if field.get_internal_type() == "TextField" and isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return field.get_db_prep_save(value, connection)
