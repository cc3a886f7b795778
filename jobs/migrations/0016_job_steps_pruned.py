"""Which jobs retention has taken the steps and events of."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0015_bounds")]
    operations = [migrations.AddField("job", "steps_pruned", models.BooleanField(editable=False, null=True))]
