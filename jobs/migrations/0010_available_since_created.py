"""Jobs that are there already have waited since they were created."""

from django.db import migrations, models


def fill(apps, schema_editor):
    apps.get_model("jobs", "Job").objects.update(available_at=models.F("created_at"))


class Migration(migrations.Migration):
    dependencies = [("jobs", "0009_job_available_at")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
