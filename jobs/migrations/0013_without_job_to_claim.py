"""job_ready serves claims now."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0012_job_for_room")]
    operations = [migrations.RemoveIndex("job", "job_to_claim")]
