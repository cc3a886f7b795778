from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_job_priority")]
    operations = [
        migrations.AddField(
            "job",
            "retry_on",
            models.CharField(blank=True, db_default="", default="", max_length=255, verbose_name="tried again after"),
        )
    ]
