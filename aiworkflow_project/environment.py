"""Reads typed environment variables, or the files that NAME_FILE points at, with errors that name the variable."""

import os
from collections.abc import Collection
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ImproperlyConfigured

FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def text(name: str, default: str = "") -> str:
    """The variable, or the content of the file that NAME_FILE names (as Docker and systemd hand over secrets)."""
    value, path = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value and path:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE can't be read ({error.strerror}): name a file that this user may read."
            ) from None
        except ValueError:  # not UTF-8, and the error would quote what may be a secret
            raise ImproperlyConfigured(f"{name}_FILE does not name a text in UTF-8.") from None
        if not value:
            raise ImproperlyConfigured(f"{name}_FILE names an empty file: write the value into it, or unset it.")
    return value if value else default


def integer(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from None
    if number < least:
        raise ImproperlyConfigured(f"{name} must be at least {least}, not {number}.")
    if most is not None and number > most:
        raise ImproperlyConfigured(f"{name} must be at most {most}, not {number}.")
    return number


def flag(name: str, default: bool) -> bool:
    value = text(name, str(default)).strip().lower()
    if value not in FLAGS:
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")
    return FLAGS[value]


def choice(name: str, default: str, among: Collection[str]) -> str:
    """One of `among`, which are upper case; the variable may be in any."""
    value = text(name, default).strip().upper()
    if value not in among:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(among)}, not {value!r}.")
    return value


def time_zone(name: str, default: str) -> str:
    value = text(name, default).strip()
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ImproperlyConfigured(f"{name} must be a name like Asia/Shanghai, not {value!r}.") from None
    return value


def words(name: str) -> list[str]:
    """The comma separated values, without blanks."""
    return [word.strip() for word in text(name).split(",") if word.strip()]
