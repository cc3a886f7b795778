import datetime

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0008_job_waits_for")]
    operations = [
        migrations.AddField(
            "job",
            "available_at",
            models.DateTimeField(
                db_default=datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC),
                default=django.utils.timezone.now,
                verbose_name="not before",
            ),
        )
    ]
