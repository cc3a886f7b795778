#!/usr/bin/env python
"""The command line of AI WorkFlow: `manage.py up` starts everything, `manage.py help` lists the rest."""

import os
import sys


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiworkflow_project.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # an administrator's mistake: one line says it all
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"The configuration can't be used: {error}")


if __name__ == "__main__":
    main()
