"""What the times of a job have to do with each other: few jobs are in the house for longer than an hour."""

from datetime import timedelta

from django.db.models import BooleanField, Func

from aiworkflow_project.db.steering import Near

TIMES = ("created_at", "updated_at", "started_at", "completed_at")


class LivedLong(Func):
    """Whether more than an hour, to the second, lies between two of a job's times.

    Not the time of its end less that of its beginning: they are told by the clocks of several machines. An index is
    made with this condition, on the databases that have such indexes, and found by it.
    """

    output_field = BooleanField()
    arity = len(TIMES)

    def __init__(self, *expressions, **extra):
        super().__init__(*(expressions or TIMES), **extra)

    def as_postgresql(self, compiler, connection, **extra):
        template = "(GREATEST(%(expressions)s) - LEAST(%(expressions)s) > INTERVAL '1 hour')"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_sqlite(self, compiler, connection, **extra):
        created, updated, started, completed = (compiler.compile(one)[0] for one in self.source_expressions)
        times = f"{created}, {updated}, IFNULL({started}, {created}), IFNULL({completed}, {created})"
        return f"(MAX({times}) > DATETIME(MIN({times}), '+1 hour'))", []


NEAR = Near(TIMES, within=timedelta(hours=1, seconds=1), unless=LivedLong())
