from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0017_job_to_prune")]
    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-started_at", "-id"], name="job_by_start"),
        )
    ]
