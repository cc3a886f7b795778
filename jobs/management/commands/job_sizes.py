"""`manage.py job_sizes`: how much the jobs of each workflow take up."""

from django.core.management.base import BaseCommand, CommandError

from jobs import sizes
from jobs.management import columns


class Command(BaseCommand):
    help = "Tells, workflow by workflow, how many jobs, steps, events and bytes are kept, and how many jobs are due."

    def add_arguments(self, parser):
        parser.add_argument("--seconds", type=float, default=30, help="how long to measure; then the rest is estimated")

    def handle(self, *args, seconds, **options):
        if not 0 < seconds < 1e6:
            raise CommandError("--seconds must be above 0.")
        report = sizes.report(seconds=seconds)
        head = ["workflow", "kept", "jobs", "due", "steps due", "bytes", "steps", "bytes", "events", "bytes"]
        for line in columns.lines(head, [self._row(size) for size in report.sizes]):
            self.stdout.write(line)
        self.stdout.write(
            f"{report.jobs:,} jobs, {report.total.total.bytes:,} bytes of text in them, steps and events."
        )
        if report.is_estimate:
            self.stdout.write(
                f"~ is estimated: {report.measured:,} jobs were measured in time. --seconds gives it more."
            )

    @staticmethod
    def _row(size: sizes.Size) -> list:
        kept = "/".join(f"{days} d" if days else "ever" for days in (size.policy.jobs_days, size.policy.steps_days))
        row = [str(size.workflow), kept, size.jobs, size.jobs_due, size.steps_due]
        if size.amounts is None:
            return [*row, *"?????"]
        about = "~" if size.is_estimate else ""
        amounts = size.amounts
        parts = (amounts.jobs.bytes, amounts.steps.rows, amounts.steps.bytes, amounts.events.rows, amounts.events.bytes)
        return [*row, *(f"{about}{number:,}" for number in parts)]
