"""The product's tables, for a developer: make them, drop them, look at them. Behind four commands and endpoints."""

import time

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

PRODUCT = ("jobs", "workflows")  # in the order in which they can be dropped; people and their keys stay


class NotADevelopmentSite(Exception):
    """Tables are only dropped on a development site."""


def create_tables() -> list[str]:
    """Apply every migration, and return the names of the product's tables."""
    call_command("migrate", verbosity=0, interactive=False)
    return [table["name"] for table in table_info()]


def drop_tables() -> list[str]:
    """Drop the tables of workflows and jobs with all that is in them, and return their names."""
    if not settings.DEBUG:
        raise NotADevelopmentSite("Tables are only dropped on a development site, with DEBUG on.")
    names = [table["name"] for table in table_info()]
    for app in PRODUCT:
        call_command("migrate", app, "zero", verbosity=0, interactive=False)
    return names


def table_info() -> list[dict]:
    """Name, columns and number of rows of each of the product's tables that is there."""
    with connection.cursor() as cursor:
        there = set(connection.introspection.table_names(cursor))
        return [_describe(model, cursor) for model in _models() if model._meta.db_table in there]


def _models():
    return sorted((model for app in PRODUCT for model in apps.get_app_config(app).get_models()), key=_table)


def _table(model) -> str:
    return model._meta.db_table


def _describe(model, cursor) -> dict:
    columns = connection.introspection.get_table_description(cursor, _table(model))
    types = {field.column: field.db_type(connection) for field in model._meta.concrete_fields}
    return {
        "name": _table(model),
        "rows": model._base_manager.count(),
        "columns": [
            {"name": column.name, "type": types.get(column.name, ""), "nullable": bool(column.null_ok)}
            for column in columns
        ],
    }


def check_database() -> dict:
    """Whether the database answers, how fast, and whether migrations wait to be applied."""
    started = time.perf_counter()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        milliseconds = round((time.perf_counter() - started) * 1000, 2)
        waiting = pending_migrations()
    except DatabaseError as error:
        return {"ok": False, "vendor": connection.vendor, "detail": type(error).__name__}
    return {
        "ok": not waiting,
        "vendor": connection.vendor,
        "milliseconds": milliseconds,
        "migrations_to_apply": waiting,
    }


def pending_migrations() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _backwards in plan]
