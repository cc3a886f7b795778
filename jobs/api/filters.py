"""What the list of jobs may be narrowed by."""

from aiworkflow_project.api.filters import IdFilter, StrictFilterSet, TextFilter, WordsFilter, between
from jobs.models import Job


class JobFilter(StrictFilterSet):
    job_name = TextFilter(method="named_like", max_length=255, may_be_empty=True, help_text="Contains, in any case.")
    status = WordsFilter(
        field_name="status",
        lookup_expr="in",
        among=Job.Status.values,
        help_text=f"One or several, comma separated: {', '.join(Job.Status.values)}.",
    )
    ai_workflow_def_id = IdFilter(field_name="workflow_id")
    batch_id = IdFilter(field_name="batch_id", help_text="The jobs of one batch.")
    locals().update(
        between("created", "created_at")
        | between("updated", "updated_at")
        | between("started", "started_at")
        | between("completed", "completed_at")
    )

    def named_like(self, queryset, name, value):
        return queryset.named_like(value)
