"""Slows down whoever guesses passwords: failed sign-ins are counted by name and address."""

import hashlib
import math
import time

from django.core.cache import cache

FAILURES = 10  # within the time below; then further ones, right or wrong, have to wait
SECONDS = 300


class FailedSignIns:
    """The recent failures of one name from one address. Kept in the cache, so each web process counts its own."""

    def __init__(self, request):
        body = request.data if isinstance(request.data, dict) else {}
        who = f"{request.META.get('REMOTE_ADDR', '')} {body.get('username', '')}"
        self._key = f"failed-sign-ins:{hashlib.sha256(who.encode(errors='replace')).hexdigest()}"

    def wait(self) -> int:
        """For how many seconds nobody of this name and address may try again; 0 if he may now."""
        failures = self._recent()
        return math.ceil(failures[0] + SECONDS - time.time()) if len(failures) >= FAILURES else 0

    def add(self) -> None:
        cache.set(self._key, [*self._recent(), time.time()][-FAILURES:], SECONDS)

    def clear(self) -> None:
        cache.delete(self._key)

    def _recent(self) -> list[float]:
        return [at for at in cache.get(self._key, []) if at > time.time() - SECONDS]
