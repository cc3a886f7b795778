"""Many jobs in few statements."""

from jobs.models import Job


def alike(job: Job, **different) -> Job:
    """A new job, not saved, which has all that `job` has but its id, and what is `different`."""
    values = {
        field.attname: getattr(job, field.attname) for field in Job._meta.concrete_fields if not field.primary_key
    }
    return Job(**values | different)
