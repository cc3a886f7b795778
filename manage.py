#!/usr/bin/env python
"""The command line of AI WorkFlow: `manage.py up` starts everything, `manage.py help` lists the rest."""

import os
import sys


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiworkflow_project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
