from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AppConfig):
    """The console's skin (templates, static files) and the project's own checks and commands."""

    name = "aiworkflow_project"
    label = "console"

    def ready(self):
        from aiworkflow_project import checks  # noqa: F401 - registers the system checks
        from aiworkflow_project.db import liveness, waits  # noqa: F401 - waits listens to new connections
        from aiworkflow_project.db.sqlite import lookups

        lookups.register()
        liveness.register()


class ConsoleAdminConfig(AdminConfig):
    """Django's admin, with our site as the one that everybody registers with."""

    default_site = "aiworkflow_project.console.ConsoleSite"
