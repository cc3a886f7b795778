"""`manage.py prune_jobs`: deletes what was kept for long enough, or says what would go."""

import time
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from jobs import retention
from jobs.management import columns
from jobs.retention import Amounts, Policy
from workflows.models import Workflow

PAUSE = 0.05  # seconds after a batch, for others to write


class Command(BaseCommand):
    help = "Deletes jobs that are over for RETENTION_JOBS_DAYS, and steps and events after RETENTION_STEPS_DAYS."

    def add_arguments(self, parser):
        parser.add_argument("--dry-run", action="store_true", help="delete nothing, and say what would go")
        own = "a workflow's own number stands, unless --workflow names it"
        parser.add_argument("--days", type=int, help=f"instead of RETENTION_JOBS_DAYS (0: keep); {own}")
        parser.add_argument("--steps-days", type=int, help=f"instead of RETENTION_STEPS_DAYS (0: keep); {own}")
        parser.add_argument("--workflow", metavar="ID", help="this workflow alone; a deleted one may be named, too")

    def handle(self, *args, dry_run, workflow, days, steps_days, **options):
        for name, given in (("--days", days), ("--steps-days", steps_days)):
            if given is not None and not 0 <= given <= settings.RETENTION_MOST_DAYS:
                raise CommandError(f"{name} must be from 0 to {settings.RETENTION_MOST_DAYS}, not {given}.")
        went = []
        try:
            for each in self._chosen(workflow):
                if workflow:  # what is said of this one workflow goes before what it says itself
                    each.keep_jobs_days = each.keep_jobs_days if days is None else days
                    each.keep_steps_days = each.keep_steps_days if steps_days is None else steps_days
                policy = Policy.of(each, jobs_days=days, steps_days=steps_days)
                went.append([each, retention.due(each, policy) if dry_run else Amounts()])
                for amounts in () if dry_run else retention.prune(each, policy):
                    went[-1][1] += amounts
                    time.sleep(PAUSE if amounts else 0)
        finally:  # when it is broken off as well
            self._tell([(str(each), amounts) for each, amounts in went if amounts], dry_run)

    @staticmethod
    def _chosen(pk: str | None):
        workflows = Workflow.objects.only("name", "version", "keep_jobs_days", "keep_steps_days")
        if pk is None:
            return workflows.order_by("name", "version", "pk")
        try:
            return [workflows.get(pk=UUID(pk))]
        except (ValueError, Workflow.DoesNotExist):
            raise CommandError(f"There is no workflow with the id {pk!r}.") from None

    def _tell(self, went: list[tuple[str, Amounts]], dry_run: bool) -> None:
        if not went:
            self.stdout.write("Nothing is due.")
            return
        total = sum((amounts for _name, amounts in went), Amounts())
        rows = [
            [name, *(number for part in (a.jobs, a.steps, a.events, a.total) for number in (part.rows, part.bytes))]
            for name, a in [*went, ("total", total)]
        ]
        head = ["workflow", "jobs", "bytes", "steps", "bytes", "events", "bytes", "rows", "bytes"]
        self.stdout.write("Would go:" if dry_run else "Went:")
        for line in columns.lines(head, rows):
            self.stdout.write(line)
