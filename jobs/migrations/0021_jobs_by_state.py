from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0020_jobs_by_name")]
    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-status", "-id"], name="job_by_state"),
        )
    ]
