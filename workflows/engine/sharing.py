"""What runs must have in common to share a process: the client names it by that, and the process looks at it again.

It is most of a request, and stands first in it, in the same bytes for all that share it: made once, and known again
without being read.
"""

import hashlib
import json
from functools import cached_property

_OF_ONE_RUN = frozenset({"data", "labels", "seconds"})


def encoded(request: dict) -> bytes:
    return json.dumps(request, ensure_ascii=True, separators=(",", ":")).encode()


class Settings:
    """All of a request but what a run has to itself."""

    def __init__(self, request: dict):
        self.values = _settings(request)
        self._head = encoded(self.values)[:-1] + b","

    @cached_property
    def key(self) -> str:
        """Names the process that may serve a run with these."""
        return hashlib.sha256(self._head).hexdigest()

    def request(self, own: dict) -> bytes:
        """The request of a run that has `own` to itself."""
        return self._head + encoded(own)[1:]

    def read(self, request: bytes) -> dict:
        """The request in these bytes. Raises ValueError where its settings are others."""
        if request.startswith(self._head):
            own = json.loads(b"{" + request[len(self._head) :])
            if own.keys() <= _OF_ONE_RUN:
                return {**self.values, **own}
        found = json.loads(request)
        if _settings(found) != self.values:
            raise ValueError("it is for another resident")
        return found


def _settings(request: dict) -> dict:
    return {name: value for name, value in request.items() if name not in _OF_ONE_RUN}
