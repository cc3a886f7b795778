import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workflows", "0001_initial")]
    operations = [
        migrations.AddField(
            "workflow",
            "concurrency_limit",
            models.PositiveSmallIntegerField(
                blank=True,
                null=True,
                help_text="Further jobs wait. 0 holds them all; empty is no limit.",
                validators=[django.core.validators.MaxValueValidator(10000)],
                verbose_name="jobs at once",
            ),
        )
    ]
