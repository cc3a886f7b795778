"""Nothing looks for jobs by their lease token alone any more, and each index costs every write of a job."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0024_jobs_by_duration_on_postgresql")]
    operations = [migrations.RemoveIndex("job", "job_lease_token")]
