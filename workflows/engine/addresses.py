"""Web addresses as the policy compares them: exactly, by host and port, and never by what a name resolves to."""

import re
from urllib.parse import urlsplit

_BAD_IN_URL = re.compile(r"[\s\\\x00-\x20\x7f-\xa0]")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def address(url: str) -> tuple[str, str, int] | None:
    """The scheme, host and port of `url`, or None when it is no plain web address."""
    if _BAD_IN_URL.search(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc or "%" in parts.netloc:
        return None
    return scheme, host.rstrip("."), port or _DEFAULT_PORTS[scheme]


def host_allowed(target: tuple[str, str, int], hosts) -> bool:
    """Whether `hosts` has the target's host and port. `*.example.com` has every name below it, and no addresses."""
    scheme, host, port = target
    for entry in hosts:
        name, wanted = _split(entry)
        if port != (wanted or _DEFAULT_PORTS[scheme]):
            continue
        if name == host:
            return True
        if name.startswith("*.") and host.endswith(name[1:]) and len(host) >= len(name) and not _is_address(host):
            return True
    return False


def is_bound(entry: str, target) -> bool:
    """Whether a secret bound to `entry` may go to `target`. Without a port it goes over TLS to 443 and nowhere else."""
    scheme, host, port = target
    name, wanted = _split(entry)
    return name == host and (port == wanted if wanted else scheme in ("https", "wss") and port == 443)


def _split(entry: str) -> tuple[str, int | None]:
    """Host and port of "host", "host:port", "[::1]:port" or "::1"."""
    entry = entry.strip().lower()
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
    else:
        host, port = entry, ""
    return host.rstrip("."), int(port) if port.isdigit() else None


def _is_address(host: str) -> bool:
    return ":" in host or host.rsplit(".", 1)[-1].isdigit()


def shown(scheme: str, host: str, port: int) -> str:
    """Host and port as people write them."""
    name = f"[{host}]" if ":" in host else host
    return name if port == _DEFAULT_PORTS[scheme] else f"{name}:{port}"
