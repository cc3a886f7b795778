"""Group commit: what several threads want to write at once is written in one transaction.

After DeWitt et al., "Implementation Techniques for Main Memory Database Systems" (1984). There the log was what is
waited for; here it is as much what a statement costs us and the server, whatever number of rows it inserts.
"""

from collections.abc import Callable, Hashable
from threading import Event, Lock


class GroupCommit:
    """Calls `commit(kind, items)`, all or nothing, for what several threads bring.

    Nobody waits while nobody writes. What comes meanwhile waits, and then goes together, those of one kind.
    """

    def __init__(self, commit: Callable[[Hashable, list], None]):
        self._commit = commit
        self._waiting: dict[Hashable, list[_Write]] = {}  # by kind, while one is written
        self._lock = Lock()

    def __call__(self, kind: Hashable, item) -> None:
        """Returns when the item is written, and raises what kept it, itself, from being written."""
        mine = _Write(item)
        with self._lock:
            leads = kind not in self._waiting
            self._waiting.setdefault(kind, []).append(mine)
        if not leads:
            mine.turn.wait()
        if mine.is_written is None:
            self._write_all(kind)
        if not mine.is_written:
            self._commit(kind, [item])

    def _write_all(self, kind: Hashable) -> None:
        """Write what waits by now. Where several can't be written, each is left to try for itself."""
        with self._lock:
            together = self._waiting[kind]
            self._waiting[kind] = []
        written = False
        try:
            self._commit(kind, [write.item for write in together])
            written = True
        except Exception:
            if len(together) == 1:
                raise
        finally:
            for write in together:
                write.is_written = written
                write.turn.set()
            self._let_the_next_lead(kind)

    def _let_the_next_lead(self, kind: Hashable) -> None:
        with self._lock:
            if rest := self._waiting[kind]:
                rest[0].turn.set()
            else:
                del self._waiting[kind]


class _Write:
    def __init__(self, item):
        self.item = item
        self.turn = Event()  # to be over, or to lead
        self.is_written: bool | None = None  # None before it was tried
