from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0018_jobs_by_start")]
    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-execution_seconds", "-id"], name="job_by_duration"),
        )
    ]
