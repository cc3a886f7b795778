"""How long a workflow's finished jobs are kept, where that is not as the site does."""

from django.core.validators import MaxValueValidator
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workflows", "0002_workflow_concurrency_limit")]
    operations = [
        migrations.AddField(
            "workflow",
            "keep_jobs_days",
            models.PositiveIntegerField(
                blank=True, null=True, validators=[MaxValueValidator(36500)], verbose_name="keep finished jobs for"
            ),
        )
    ]
