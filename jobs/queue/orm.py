"""The default broker: wake-ups in the project's own database, taken at most once."""

from time import sleep

from django_q.brokers.orm import ORM
from django_q.conf import Conf


class WakeUps(ORM):
    """django-q2's ORM broker, but a message is deleted when it is taken instead of locked until acknowledged.

    A wake-up carries nothing that could be lost: the job's row is the truth, and the sweep sends another. Locked rows
    of dead clusters would only pile up.
    """

    def dequeue(self):
        message = self.get_connection().filter(key=self.list_key).order_by("pk").first()
        if message is None:
            sleep(Conf.POLL)
            return []
        deleted, _ = self.get_connection().filter(pk=message.pk).delete()
        return [(None, message.payload)] if deleted else []  # else another cluster was faster
