from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0021_jobs_by_state")]
    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                fields=["workspace", "workflow", "status", "-created_at", "-id"], name="job_by_workflow_status"
            ),
        )
    ]
