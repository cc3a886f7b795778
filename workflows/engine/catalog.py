"""The components that are installed and what each is built with, asked of the runner once for each set of packages."""

import hashlib
import importlib.metadata
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from workflows.engine import client, policy
from workflows.engine.config import Config, current
from workflows.engine.errors import RunnerLost

_FORMAT = 1
_SECONDS = 120.0  # a machine that imports everything for the first time may be slow

_known: dict[str, dict] = {}


def catalog() -> dict:
    """What the runner says of every installed component, with `allowed`: whether a definition may use it here.

    Kept in memory and beside the data until a package or the policy changes. Raises RunnerUnavailable or RunnerLost.
    """
    config = current()
    key = _key(config)
    if key not in _known:
        path = config.data_dir / f"catalog-{key}.json"
        found = _read(path)
        if found is None:
            found = _marked(_ask(), config)
            _write(path, found)
        _known.clear()
        _known[key] = found
    return _known[key]


def _key(config: Config) -> str:
    packages = sorted(f"{each.name}=={each.version}" for each in importlib.metadata.distributions())
    allowed = sorted(policy.allowed_components(config))
    text = json.dumps([_FORMAT, packages, allowed])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ask() -> dict:
    for message in client.request({"op": "catalog"}, _SECONDS, patience=current().patience_seconds):
        if message["kind"] == "catalog":
            return message["catalog"]
        if message["kind"] == "error":
            raise RunnerLost(f"The runner could not list its components: {message['message']}")
    raise RunnerLost("The runner did not list its components.")


def _marked(found: dict, config: Config) -> dict:
    allowed = policy.allowed_components(config)
    components = {name: {**entry, "allowed": name in allowed} for name, entry in found["components"].items()}
    return {**found, "components": components}


def _read(path: Path) -> dict | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "components" in found else None


def _write(path: Path, found: dict) -> None:
    """Put the file in its place whole, and take away those of other packages; without a file it is asked again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".catalog-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(found, file, ensure_ascii=False, separators=(",", ":"))
            os.replace(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
        for other in path.parent.glob("catalog-*.json"):
            if other != path:
                other.unlink(missing_ok=True)
