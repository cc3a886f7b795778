"""Makes the default workspace, which a single team never leaves."""

from uuid import UUID

from django.db import migrations


def make_it(apps, schema_editor):
    workspaces = apps.get_model("accounts", "Workspace").objects.using(schema_editor.connection.alias)
    workspaces.get_or_create(
        id=UUID("00000000-0000-4000-8000-000000000001"), defaults={"slug": "default", "name": "Default"}
    )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    # Going back leaves the row: others may refer to it, and it goes with its table.
    operations = [migrations.RunPython(make_it, migrations.RunPython.noop)]
