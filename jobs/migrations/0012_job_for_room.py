"""The queue's order within a workflow, for its limit."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0011_job_ready")]
    operations = [
        migrations.AddIndex(
            "job",
            models.Index(
                fields=["workflow", "status", "waits_for", "-priority", "available_at", "id"], name="job_for_room"
            ),
        )
    ]
