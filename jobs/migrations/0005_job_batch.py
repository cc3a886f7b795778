import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_batch")]
    operations = [
        migrations.AddField(
            "job",
            "batch",
            models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="jobs",
                to="jobs.jobbatch",
                verbose_name="batch",
            ),
        )
    ]
