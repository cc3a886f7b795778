"""What only SQLite does to us."""

import pytest
from django.db import connection

from aiworkflow_project.db import statistics
from jobs import search
from jobs.models import Job


@pytest.mark.django_db
def test_triggers_that_a_migration_dropped_are_made_again_and_nothing_is_missed(make_job):
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER job_was_made")
    job = make_job(name="batch 7")

    before = set(Job.objects.named_like("batch"))
    search.ensure("default")

    assert before == set(Job.objects.named_like("batch")) == {job}
    assert "trigrams" in Job.objects.named_like("batch").explain()


@pytest.mark.django_db
def test_statistics_tell_how_the_jobs_are_indexed(make_job):
    make_job()

    statistics.gather()

    with connection.cursor() as cursor:
        cursor.execute("SELECT idx FROM sqlite_stat1 WHERE tbl = %s", [Job._meta.db_table])
        assert {index.name for index in Job._meta.indexes} <= {name for (name,) in cursor.fetchall()}
