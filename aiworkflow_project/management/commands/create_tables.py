"""`manage.py create_tables`: make the product's tables."""

from django.core.management.base import BaseCommand

from aiworkflow_project import tables


class Command(BaseCommand):
    help = "Makes the product's tables by applying every migration."

    def handle(self, *args, **options):
        for name in tables.create_tables():
            self.stdout.write(name)
