"""System checks: settings that must not start, and settings that will not do what somebody hoped for."""

from django.conf import settings
from django.core.checks import Error, Warning, register


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
