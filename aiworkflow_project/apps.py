from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """The console's skin (templates, static files) and the project's own checks and commands."""

    name = "aiworkflow_project"
    label = "console"

    def ready(self):
        from aiworkflow_project import checks  # noqa: F401 - registers the system checks
