"""Making the first administrator of a new site."""

import secrets

from accounts.models import User


def make_first_administrator(username: str, password: str, email: str) -> str | None:
    """Make a superuser where there is none yet; with no `password`, a random one is made and returned, this once."""
    if User.objects.filter(is_superuser=True).exists():
        return None
    generated = None if password else secrets.token_urlsafe(12)
    User.objects.create_superuser(username, email, password or generated)
    return generated
