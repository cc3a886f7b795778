"""API keys that were found a moment ago: a client in a hurry is not looked up anew for each of its calls.

To look up a key and its owner is a third of what a short answer costs. What closes a key (revoked, deleted, its owner
deactivated or stripped of a permission) is noticed at once by the process that does it, and by the others in a second.
"""

from functools import partial

from django.db.models.signals import m2m_changed, post_delete, post_save
from django.utils import timezone

from accounts.models import ApiKey, User
from aiworkflow_project.kept import Kept

known = Kept(seconds=1.0, at_most=256)  # by the hash of the secret


def find(secret: str) -> ApiKey | None:
    """The usable key that `secret` is, with its owner, or None. It is shared: nobody may change it."""
    key = known.get(ApiKey.hash_of(secret), partial(ApiKey.objects.matching, secret))
    return key if key and (key.expires_at is None or key.expires_at > timezone.now()) else None


def listen() -> None:
    for model in (ApiKey, User):
        post_save.connect(known.forget, sender=model)
        post_delete.connect(known.forget, sender=model)
    m2m_changed.connect(known.forget)  # of groups and permissions
