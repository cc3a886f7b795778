"""The index by workflow alone: `job_to_prune` begins with the workflow and does its work, a foreign key's on MariaDB too."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_job_to_prune")]
    operations = [migrations.RemoveIndex("job", "job_workflow")]
