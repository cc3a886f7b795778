"""What the brokers on a server of their own have in common: the server may be away, and hold what can't be read."""

import logging
import time
from abc import abstractmethod
from collections.abc import Iterable

from django_q.brokers import Broker
from django_q.signing import SignedPackage

from jobs.queue.look import look

logger = logging.getLogger(__name__)

# Messages kept at most, oldest out first. Wake-ups are alike, and one is enough for all jobs that wait.
KEPT = 10_000
KEPT_DEAD = 1_000
AWAY_PAUSE = 1.0  # seconds between two looks while the server is away
SILENCE = 5.0  # seconds without a message after which a pool looks for jobs itself, whatever the reason


class RemoteBroker(Broker):
    """A queue of wake-ups on another server, on which no job depends.

    While that server is away a pool looks for jobs itself, about once a second, and now and then while it is silent,
    since a broken network can't be told from a quiet one. What can't be read goes to a dead-letter queue beside this
    one, and harms nothing.
    """

    ERRORS: tuple[type[Exception], ...]  # what the client raises when the server is away or unwell

    def __init__(self, list_key: str | None = None):
        super().__init__(list_key)
        self.dead_key = f"{self.list_key}.dead"
        self._is_away = False
        self._last = time.monotonic()  # when we last had something to give

    def dequeue(self) -> list[tuple[object, str]]:
        """What has arrived, as (receipt, message); waits up to about a second for it."""
        try:
            taken = [(receipt, payload.decode(errors="replace")) for receipt, payload in self._take()]
            readable = [message for message in taken if self._can_be_read(*message)]
        except self.ERRORS as error:
            self._note_away(error)
            time.sleep(AWAY_PAUSE)
            return self._own_look()
        if self._is_away:
            self._is_away = False
            logger.warning("The queue's server answers again.")
        if readable:
            self._last = time.monotonic()
        elif time.monotonic() - self._last > SILENCE:
            return self._own_look()
        return readable

    def _own_look(self) -> list[tuple[None, str]]:
        self._last = time.monotonic()
        return look()

    @abstractmethod
    def _take(self) -> Iterable[tuple[object, bytes]]:
        """Messages with their receipts; none after about a second without any."""

    @abstractmethod
    def _bury(self, receipt, payload: str, reason: str) -> None:
        """Move a message to the dead-letter queue."""

    def _can_be_read(self, receipt, payload: str) -> bool:
        try:
            SignedPackage.loads(payload)
        except Exception as error:  # another site's key, another release's pickle, or anything else
            logger.error("A message that can't be read goes to the queue %s: %r", self.dead_key, error)
            self._bury(receipt, payload, repr(error))
            return False
        return True

    def _note_away(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            logger.error("The queue's server is away; workers look for jobs by themselves until it is back: %s", error)
