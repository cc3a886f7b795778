"""Finds the secret key: from the environment, or, on a development site, one made once and kept under DATA_DIR."""

import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def find(configured: str, data_dir: Path, *, debug: bool) -> str:
    """`configured` if there is one; else the development site's own. Production without one is refused."""
    if configured:
        return configured
    if not debug:
        raise ImproperlyConfigured("SECRET_KEY (or SECRET_KEY_FILE) must be set when DEBUG is off.")
    path = data_dir / "secret_key"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"secret_key.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50))
        try:
            os.link(draft, path)  # whoever is first wins, and nobody reads half a key
        except FileExistsError:
            pass
        draft.unlink()
    return path.read_text()
