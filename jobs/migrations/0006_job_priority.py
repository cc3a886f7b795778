import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_job_batch")]
    operations = [
        migrations.AddField(
            "job",
            "priority",
            models.PositiveSmallIntegerField(
                db_default=5,
                default=5,
                validators=[
                    django.core.validators.MinValueValidator(0),
                    django.core.validators.MaxValueValidator(9),
                ],
                verbose_name="priority",
            ),
        )
    ]
