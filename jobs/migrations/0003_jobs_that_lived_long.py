"""An index of the few jobs that were in the house for more than an hour, where the database has indexes of some rows.

With it a list that ends with one time is read in the order of another from about that time on.
"""

from django.db import migrations, models

from jobs.lifetimes import LivedLong


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_nulls_last_on_postgresql")]
    operations = [
        migrations.AddIndex(
            "job",
            models.Index(
                fields=["workspace", "-updated_at"], name="job_that_lived_long", condition=models.Q(LivedLong())
            ),
        )
    ]
