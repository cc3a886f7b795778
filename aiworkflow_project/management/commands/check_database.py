"""`manage.py check_database`: does the database answer, and is it up to date? Exits 1 if not."""

from django.core.management.base import BaseCommand, CommandError

from aiworkflow_project import tables


class Command(BaseCommand):
    help = "Says whether the database answers and whether migrations wait. Exits 1 if anything is wrong."

    def handle(self, *args, **options):
        found = tables.check_database()
        for name, value in found.items():
            self.stdout.write(f"{name}: {', '.join(value) or 'none' if isinstance(value, list) else value}")
        if not found["ok"]:
            raise CommandError("The database is not ready.")
