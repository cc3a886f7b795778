"""How long jobs live, for PostgreSQL's statistics: it would guess that a third of them lived long."""

from django.db import migrations

TIMES = "created_at, updated_at, started_at, completed_at"


def make_them(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            f"CREATE STATISTICS job_lifetimes ON (GREATEST({TIMES}) - LEAST({TIMES})) FROM ai_workflow_job"
        )


def drop_them(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP STATISTICS job_lifetimes")


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_jobs_that_lived_long")]
    operations = [migrations.RunPython(make_them, drop_them)]
