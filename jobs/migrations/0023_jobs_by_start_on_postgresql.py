"""An index for the list of jobs by their start, on PostgreSQL: as that by their end, see 0003."""

from django.db import migrations

NAME = "job_by_start_nulls_last"


def make_it(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            f"CREATE INDEX {NAME} ON ai_workflow_job (workspace_id, started_at DESC NULLS LAST, id DESC)"
        )


def drop_it(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP INDEX {NAME}")


class Migration(migrations.Migration):
    dependencies = [("jobs", "0022_jobs_by_workflow_and_status")]
    operations = [migrations.RunPython(make_it, drop_it)]
