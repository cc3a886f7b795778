"""`manage.py table_info`: the product's tables, their columns and how many rows they hold."""

from django.core.management.base import BaseCommand

from aiworkflow_project import tables


class Command(BaseCommand):
    help = "Lists the product's tables, their columns and the number of rows."

    def handle(self, *args, **options):
        for table in tables.table_info():
            self.stdout.write(f"{table['name']}: {table['rows']} rows")
            for column in table["columns"]:
                self.stdout.write(f"  {column['name']}  {column['type']}{'  null' if column['nullable'] else ''}")
