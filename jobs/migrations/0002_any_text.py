"""Error messages may hold U+0000. The columns stay as they are: only what is written there is new."""

from django.db import migrations

import workflows.fields


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    "job", "error_message", workflows.fields.AnyTextField(blank=True, default="", verbose_name="error")
                ),
                migrations.AlterField(
                    "jobstep",
                    "error_message",
                    workflows.fields.AnyTextField(blank=True, default="", verbose_name="error"),
                ),
            ]
        )
    ]
