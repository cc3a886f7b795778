"""Who a component may call: the hosts that the operator has named, and nobody else.

Two nets. The kernel's (Landlock, in `sandbox`) knows ports only. This one knows names: it watches Python's own audit
events, which components can't switch off, and remembers which addresses an allowed name has resolved to.
"""

import _socket
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass

_USUAL_PORTS = (443, 80)
# Names that only a private network answers, so an operator who names one means a private address.
_PRIVATE_NAMES = (".internal", ".local", ".localhost", ".lan", ".home.arpa", ".svc", ".test")

_PROCESS_EVENTS = frozenset(
    {
        "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.spawn",
        "subprocess.Popen",
    }
)  # fmt: skip
_CALL_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_NAME_EVENTS = frozenset({"socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"})
_WATCHED = frozenset(
    {*_PROCESS_EVENTS, *_CALL_EVENTS, *_NAME_EVENTS, "socket.getaddrinfo", "socket.bind", "os.kill", "os.killpg"}
)


class EgressRefused(BaseException):
    """A component tried to reach what the operator hasn't named.

    Not an Exception: client libraries retry on those, with pauses, and in the end report something else.
    """


@dataclass(frozen=True)
class Host:
    name: str  # "api.openai.com", "127.0.0.1", or ".example.com" for every name below example.com
    ports: tuple[int, ...]


def parse(entry: str) -> Host:
    """`api.openai.com` (ports 443 and 80), `127.0.0.1:18080`, `[::1]:18080`, `*.example.com`."""
    name, port = entry.strip(), ""
    if name.startswith("["):
        name, _, port = name[1:].partition("]")
        port = port.removeprefix(":")
    elif name.count(":") == 1:
        name, _, port = name.partition(":")
    return Host(_plain(name.removeprefix("*")), (int(port),) if port else _USUAL_PORTS)


class Guard:
    """Refuses every call but those to `hosts`. Once installed it stays until the process ends."""

    def __init__(self, hosts: Iterable[str]):
        self.hosts = [parse(entry) for entry in hosts]
        self.watch_call: Callable[[socket.socket], None] = lambda sock: None  # told of each call that is let through
        self._of_process: list[str] = []  # refusals, in words
        self._of_run: ContextVar[list[str] | None] = ContextVar("refusals", default=None)  # where several share it
        self._ports_of: dict[str, set[int]] = {}  # address: what may be called there
        self._resolve = _socket.getaddrinfo

    @property
    def ports(self) -> set[int]:
        return {port for host in self.hosts for port in host.ports}

    @property
    def refused(self) -> str | None:
        """The first refusal, in words."""
        return next(iter(self._refusals), None)

    def begin_run(self) -> None:
        """From here on, in this context, keep refusals apart from those of other runs."""
        self._of_run.set([])

    @property
    def _refusals(self) -> list[str]:
        found = self._of_run.get()
        return self._of_process if found is None else found

    def install(self) -> None:
        # The socket module and everything above it (http.client, httpx, urllib3, asyncio) resolves by this name.
        _socket.getaddrinfo = self.getaddrinfo
        watched, audit = _WATCHED, self._audit

        def hook(event: str, arguments: tuple) -> None:
            # Haystack copies what it hands on, and each id() that it takes for that is an event. A plain function,
            # since Python asks the hook for an attribute each time, and a bound method takes long to have none.
            if event in watched:
                audit(event, arguments)

        sys.addaudithook(hook)

    def getaddrinfo(self, host, port, *arguments, **keywords):
        """The addresses of an allowed name, less those that it has no business to have; the rest is refused."""
        found = self._resolve(host, port, *arguments, **keywords)  # raises the audit event, which checks the name
        if host is None:
            return found
        name = _plain(host)
        ports = self._ports(name)
        allowed = [entry for entry in found if self._may_have(name, _plain(entry[4][0]))]
        if not allowed:
            self._refuse(f"{name} is among the hosts that pipelines may reach, but resolves to a private address")
        for entry in allowed:
            self._ports_of.setdefault(_plain(entry[4][0]), set()).update(ports)
        return allowed

    def _audit(self, event: str, arguments: tuple) -> None:
        if event in _CALL_EVENTS:
            self._check_call(arguments[0], arguments[1])
            self.watch_call(arguments[0])
        elif event == "socket.getaddrinfo":
            self._check_name(arguments[0])
        elif event in _NAME_EVENTS:
            self._check_name(arguments[0][0] if isinstance(arguments[0], tuple) else arguments[0])
        elif event == "socket.bind":
            raise PermissionError("A component may not listen on a socket.")
        elif event in _PROCESS_EVENTS:
            raise PermissionError("A component may not start a process.")
        elif event == "os.kill" and arguments[0] != os.getpid():
            raise PermissionError("A component may not signal another process.")
        elif event == "os.killpg":
            raise PermissionError("A component may not signal other processes.")

    def _check_name(self, host) -> None:
        if host is None:
            return  # no name: an address of this machine, which connect() then checks
        name = _plain(host)
        if not self._ports(name):
            self._refuse(f"{name!r} is not among the hosts that pipelines may reach")

    def _check_call(self, sock: socket.socket, address) -> None:
        if address is None:
            return  # sendmsg() on a connected socket: its connect() was checked
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            self._refuse("components may only call hosts, and this is a local socket")
        name, port = _plain(address[0]), address[1]
        if port in self._ports(name):
            if not _address(name):
                self.getaddrinfo(name, port)  # connect() is about to resolve it; the answer must be a fit one
            return
        if port not in self._ports_of.get(name, ()):
            self._refuse(f"{name}:{port} is not among the hosts that pipelines may reach")

    def _ports(self, name: str) -> set[int]:
        return {port for host in self.hosts if _matches(host, name) for port in host.ports}

    def _may_have(self, name: str, address: str) -> bool:
        """Whether this name may have this address: a private one only if the name itself says so."""
        if _address(name) or ipaddress.ip_address(address).is_global:
            return True
        return "." not in name or name.endswith(_PRIVATE_NAMES)

    def _refuse(self, why: str) -> None:
        if not self._refusals:
            self._refusals.append(why)
        raise EgressRefused(why)


def _matches(host: Host, name: str) -> bool:
    return name.endswith(host.name) and len(name) > len(host.name) if host.name.startswith(".") else name == host.name


def _plain(host) -> str:
    """One spelling per host: no case, no final dot, no scope, IDNA, and IPv4 where IPv6 only wraps it."""
    text = host.decode("ascii", "replace") if isinstance(host, (bytes, bytearray)) else str(host)
    text = text.strip().rstrip(".").lower().partition("%")[0]
    address = _address(text)
    if address:
        return str(getattr(address, "ipv4_mapped", None) or address)
    try:
        return text if text.isascii() else text.encode("idna").decode()
    except UnicodeError:
        return text


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
