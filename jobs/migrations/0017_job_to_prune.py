"""An index by which retention finds what is due, workflow by workflow, and sizes are counted."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0016_job_steps_pruned")]
    operations = [
        migrations.AddIndex(
            "job", models.Index(fields=["workflow", "steps_pruned", "completed_at"], name="job_to_prune")
        )
    ]
