"""job_for_room begins with the workflow too."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0013_without_job_to_claim")]
    operations = [migrations.RemoveIndex("job", "job_workflow")]
