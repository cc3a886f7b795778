"""API keys that were found a moment ago: a client in a hurry is not looked up anew for each of its calls.

To look up a key and its owner is a third of what a short answer costs. What closes a key (revoked, deleted, its owner
deactivated or stripped of a permission) is noticed at once by the process that does it, and by the others in a second.
"""

import time

from django.db.models.signals import m2m_changed, post_delete, post_save
from django.utils import timezone

from accounts.models import ApiKey, User

SECONDS = 1.0
AT_MOST = 256

_known: dict[str, tuple[float, ApiKey]] = {}  # by the hash of the secret; until when, by the monotonic clock


def find(secret: str) -> ApiKey | None:
    """The usable key that `secret` is, with its owner, or None. It is shared: nobody may change it."""
    secret_hash = ApiKey.hash_of(secret)
    until, key = _known.get(secret_hash, (0.0, None))
    if time.monotonic() < until and (key.expires_at is None or key.expires_at > timezone.now()):
        return key
    key = ApiKey.objects.matching(secret)
    if key:
        while len(_known) >= AT_MOST:
            _known.pop(next(iter(_known)), None)
        _known[secret_hash] = time.monotonic() + SECONDS, key
    return key


def forget(**_) -> None:
    _known.clear()


def listen() -> None:
    for model in (ApiKey, User):
        post_save.connect(forget, sender=model)
        post_delete.connect(forget, sender=model)
    m2m_changed.connect(forget)  # of groups and permissions
