"""`manage.py drop_tables`: drop the tables of workflows and jobs, on a development site."""

from django.core.management.base import BaseCommand, CommandError

from aiworkflow_project import tables


class Command(BaseCommand):
    help = "Drops the tables of workflows and jobs with all that is in them. Only with DEBUG on."

    def add_arguments(self, parser):
        parser.add_argument("--no-input", action="store_true", help="do not ask")

    def handle(self, *args, no_input, **options):
        if not no_input and input("All workflows and jobs will be lost. Type 'yes' to go on: ") != "yes":
            raise CommandError("Nothing was dropped.")
        try:
            dropped = tables.drop_tables()
        except tables.NotADevelopmentSite as error:
            raise CommandError(str(error)) from error
        for name in dropped:
            self.stdout.write(f"dropped {name}")
