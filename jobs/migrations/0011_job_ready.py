"""The queue's order, for claims."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0010_available_since_created")]
    operations = [
        migrations.AddIndex(
            "job",
            models.Index(fields=["status", "waits_for", "-priority", "available_at", "id"], name="job_ready"),
        )
    ]
