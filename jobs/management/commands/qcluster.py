"""`manage.py qcluster`: django-q2's command, running the hardened cluster."""

import os
import sys

from django.core.management.base import BaseCommand, CommandError
from django_q.conf import Conf

from jobs.queue import cluster


class Command(BaseCommand):
    help = "Starts workers, which run jobs until SIGTERM or SIGINT; a stop lets running jobs end for DRAIN_SECONDS."

    def add_arguments(self, parser):
        parser.add_argument("-n", "--name", dest="cluster_name", help="the queue to serve (default: the project's own)")
        parser.add_argument("--workers", type=int, help="worker processes (default: WORKERS)")

    def handle(self, *args, **options):
        if options["cluster_name"]:
            os.environ["Q_CLUSTER_NAME"] = Conf.CLUSTER_NAME = options["cluster_name"]
        if options["workers"]:
            if options["workers"] < 1:
                raise CommandError("--workers must be at least 1.")
            Conf.WORKERS = options["workers"]
        try:
            code = cluster.serve()
        except RuntimeError as error:
            raise CommandError(str(error)) from error
        sys.exit(code)
