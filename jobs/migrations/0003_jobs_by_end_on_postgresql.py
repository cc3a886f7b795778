"""An index for the list of jobs by their end, on PostgreSQL.

Jobs without an end come after all others, as they do on the other databases. PostgreSQL would put them first, and its
indexes serve only the order that they are made in.
"""

from django.db import migrations

NAME = "job_by_end_nulls_last"


def make_it(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            f"CREATE INDEX {NAME} ON ai_workflow_job (workspace_id, completed_at DESC NULLS LAST, id DESC)"
        )


def drop_it(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP INDEX {NAME}")


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_any_text")]
    operations = [migrations.RunPython(make_it, drop_it)]
