"""What only a server can do to us."""

import threading

import pytest
from django.db import connection, transaction

from aiworkflow_project.db.conflicts import retried
from jobs.models import Job


@pytest.mark.django_db(transaction=True)
def test_two_that_wait_for_each_other_both_write_in_the_end(make_job):
    one, other = make_job().pk, make_job().pk
    both_hold_one = threading.Barrier(2)
    tries, wrong = [], []

    def rename(first, second):
        waited = False

        @retried
        def write():
            nonlocal waited
            tries.append(first)
            with transaction.atomic():
                Job.objects.filter(pk=first).update(name=str(first))
                if not waited:
                    waited = True
                    both_hold_one.wait(10)
                Job.objects.filter(pk=second).update(name=str(first))

        try:
            write()
        except Exception as error:
            wrong.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=rename, args=pair) for pair in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert wrong == []
    assert len(tries) == 3
    assert len(set(Job.objects.values_list("name", flat=True))) == 1
