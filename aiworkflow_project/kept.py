"""What a process remembers for a while, so that it need not be found out again each time."""

import time
from collections.abc import Callable
from threading import Lock


class Kept:
    """Values by key, each for `seconds`, and of more than `at_most` the latest. What is None is not kept."""

    def __init__(self, seconds: float, at_most: int):
        self.seconds, self.at_most = seconds, at_most
        self.values: dict[object, tuple[float, object]] = {}  # with when they were found, by the monotonic clock
        self._lock = Lock()

    def get(self, key, find: Callable[[], object]):
        """The value that is kept, or what `find` finds."""
        values = self.values  # those of now: what is found before `forget` and comes after it is not kept
        found_at, value = values.get(key, (0.0, None))
        if value is None or time.monotonic() - found_at > self.seconds:
            value = find()
            if value is not None:
                with self._lock:
                    values.pop(key, None)
                    while len(values) >= self.at_most:
                        del values[next(iter(values))]  # the oldest
                    values[key] = time.monotonic(), value
        return value

    def forget(self, **_) -> None:
        """Forget all; a receiver of signals, too."""
        self.values = {}
