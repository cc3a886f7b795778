"""How long the steps and events of a workflow's finished jobs are kept, where that is not as the site does."""

from django.core.validators import MaxValueValidator
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workflows", "0003_workflow_keep_jobs_days")]
    operations = [
        migrations.AddField(
            "workflow",
            "keep_steps_days",
            models.PositiveIntegerField(
                blank=True,
                null=True,
                validators=[MaxValueValidator(36500)],
                verbose_name="keep their steps and events for",
            ),
        )
    ]
