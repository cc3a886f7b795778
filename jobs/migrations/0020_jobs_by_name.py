from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0019_jobs_by_duration")]
    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-name", "-id"], name="job_by_name"),
        )
    ]
