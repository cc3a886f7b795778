"""System checks: settings that must not start, and settings that will not do what somebody hoped for."""

from django.conf import settings
from django.core.checks import Error, Tags, Warning, register
from django.db import connection


@register()
def debug_api_is_for_development(app_configs, **kwargs):
    if settings.DEBUG_API and not settings.DEBUG:
        yield Error(
            "DEBUG_API is on with DEBUG off.",
            hint="It can drop every table. Unset it on a site that others can reach.",
            id="aiworkflow.E001",
        )


@register()
def hosts_are_named(app_configs, **kwargs):
    if not settings.DEBUG and not settings.ALLOWED_HOSTS:
        yield Error(
            "ALLOWED_HOSTS is empty with DEBUG off: every request would be refused.",
            hint="Set ALLOWED_HOSTS to the names under which people reach this site.",
            id="aiworkflow.E002",
        )


@register()
def secrets_are_there(app_configs, **kwargs):
    for entry in settings.PIPELINE_SECRETS:
        name, separator, host = entry.partition("@")
        if not name or not separator or not host:
            yield Error(
                "PIPELINE_SECRETS has an entry that binds no secret to a host.",
                hint="Each is NAME@host or NAME@host:port.",
                id="aiworkflow.E003",
            )
        elif name not in settings.ENGINE["secret_values"]:
            yield Warning(
                f"PIPELINE_SECRETS names {name}, which is not in the environment: definitions that use it will fail.",
                id="aiworkflow.W001",
            )


@register(Tags.database)
def database_is_fit(app_configs, databases, **kwargs):
    """What only the server itself can tell. Asked by `migrate`, `up` and `check --database default`."""
    if "default" not in (databases or ()):
        return
    if connection.vendor == "postgresql":
        yield from _postgresql_is_fit()
    if connection.vendor == "mysql":
        yield from _mysql_is_fit()


def _postgresql_is_fit():
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        [encoding] = cursor.fetchone()
        if encoding != "UTF8":
            yield Error(
                f"The database keeps text in {encoding}, which can't hold every character.",
                hint="Make it anew with ENCODING 'UTF8'.",
                id="aiworkflow.E004",
            )
            return
        cursor.execute("SELECT upper('\u00e4') = '\u00c4'")
        if cursor.fetchone() != (True,):
            yield Warning(
                "The database's locale knows no letters but those of ASCII: a search in any case finds no others.",
                hint="Make it anew with a locale such as C.UTF-8 or en_US.UTF-8.",
                id="aiworkflow.W002",
            )


def _mysql_is_fit():
    connection.ensure_connection()
    enough = settings.ENGINE["result_bytes"] * 3 // 2
    if connection.max_allowed_packet < enough:
        yield Warning(
            f"max_allowed_packet is {connection.max_allowed_packet:,}: results of PIPELINE_RESULT_MB may not fit.",
            hint=f"Set it to {enough:,} or more on the server, or lower PIPELINE_RESULT_MB.",
            id="aiworkflow.W003",
        )
