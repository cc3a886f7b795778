from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0007_job_retry_on")]
    operations = [
        migrations.AddField(
            "job",
            "waits_for",
            models.CharField(
                choices=[
                    ("worker", "a worker"),
                    ("time", "its time"),
                    ("room", "room within its workflow's limit"),
                ],
                db_default="worker",
                default="worker",
                max_length=10,
                verbose_name="waits for",
            ),
        )
    ]
