from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_jobs_by_end_on_postgresql")]
    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-started_at", "-id"], name="job_by_start"),
        )
    ]
