"""Indexes for the lists of jobs by their end, their start and their duration, on PostgreSQL.

Jobs that have none come after all others, as they do on the other databases. PostgreSQL would put them first, and its
indexes serve only the order that they are made in.
"""

from django.db import migrations

COLUMNS = {"end": "completed_at", "start": "started_at", "duration": "execution_seconds"}


def make_them(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name, column in COLUMNS.items():
            schema_editor.execute(
                f"CREATE INDEX IF NOT EXISTS job_by_{name}_nulls_last"
                f" ON ai_workflow_job (workspace_id, {column} DESC NULLS LAST, id DESC)"
            )


def drop_them(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in COLUMNS:
            schema_editor.execute(f"DROP INDEX job_by_{name}_nulls_last")


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]
    operations = [migrations.RunPython(make_them, drop_them)]
