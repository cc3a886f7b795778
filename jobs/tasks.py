"""What the queue delivers: wake-ups, one line each. The rows say what there is to do."""

from aiworkflow_project.logging import request_id
from jobs import worker


def work(submitted_by: str = "") -> None:
    """Run pending jobs until none is left. Harmless when repeated, late, or for nothing."""
    with request_id(submitted_by):
        worker.work()
