"""Finds the secret key: from the environment, or, on a development site, one made once and kept under DATA_DIR."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def find(configured: str, data_dir: Path, *, debug: bool) -> str:
    """`configured` if there is one; else the development site's own. Production without one is refused."""
    if configured:
        return configured
    if not debug:
        raise ImproperlyConfigured("SECRET_KEY (or SECRET_KEY_FILE) must be set when DEBUG is off.")
    path = data_dir / "secret_key"
    try:
        if not path.exists():
            _make(path)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ImproperlyConfigured(
            f"The secret key {path} can't be kept ({reason}): set DATA_DIR to a folder that this user may write to."
        ) from None
    if not key:
        raise ImproperlyConfigured(f"The secret key {path} is empty: delete the file, and a new one is made.")
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix="secret_key.", dir=path.parent)  # for this user alone
    try:
        with open(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # whoever is first wins, and nobody reads half a key
    finally:
        os.unlink(draft)
