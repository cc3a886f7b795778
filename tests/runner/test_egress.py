"""Components reach the hosts that the operator named, and the server next door never hears of the rest."""

import socket

import pytest

from tests.runner.conftest import pipeline
from workflows.engine.runner import landlock
from workflows.engine.runner.egress import EgressRefused, Guard, parse


def call(runner, host, port, by="httpx", hosts=()):
    return runner.one("Caller", {"host": host, "port": port, "by": by}, hosts=list(hosts))


@pytest.mark.parametrize("by", ["httpx", "connect", "stubborn", "udp"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433"])  # noqa: S104
def test_an_unnamed_host_is_refused_and_never_called(runner, neighbour, host, by):
    outcome = call(runner, host, neighbour.port, by)

    assert (outcome["code"], outcome["component"]) == ("egress_refused", "it"), outcome
    assert neighbour.connections == 0


def test_an_unnamed_host_is_refused_in_the_clothes_of_ipv6(runner, neighbour):
    outcome = call(runner, "::ffff:127.0.0.1", neighbour.port, "stubborn")

    assert outcome["code"] == "egress_refused"
    assert neighbour.connections == 0


def test_another_port_of_a_named_host_is_refused(runner, neighbour):
    outcome = call(runner, "127.0.0.1", neighbour.port, hosts=["127.0.0.1:9", "127.0.0.1"])

    assert outcome["code"] == "egress_refused"
    assert neighbour.connections == 0


def test_another_host_at_a_named_port_is_refused(runner, neighbour):
    outcome = call(runner, "localhost", neighbour.port, hosts=[f"example.com:{neighbour.port}"])

    assert outcome["code"] == "egress_refused"
    assert neighbour.connections == 0


@pytest.mark.parametrize("by", ["httpx", "connect"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_a_named_host_is_called(runner, neighbour, host, by):
    outcome = call(runner, host, neighbour.port, by, hosts=[f"{host.lower()}:{neighbour.port}"])

    assert outcome["kind"] == "result", outcome
    assert outcome["result"]["it"]["answer"] in ("ok", "connected")


@pytest.mark.skipif(landlock.version() < 4, reason="this kernel can't say which ports a process may call")
def test_c_code_cannot_call_an_unnamed_port_either(runner, neighbour):
    refused = call(runner, "127.0.0.1", neighbour.port, "C", hosts=["127.0.0.1:9"])
    allowed = call(runner, "127.0.0.1", neighbour.port, "C", hosts=[f"127.0.0.1:{neighbour.port}"])

    assert refused["result"]["it"]["answer"] == "Permission denied"
    assert allowed["result"]["it"]["answer"] == "connected"


def test_a_local_socket_is_refused(runner, tmp_path):
    path = str(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.setblocking(False)

        outcome = call(runner, path, 0, "unix")

        assert outcome["code"] == "egress_refused"
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_component_cannot_listen(runner):
    outcome = call(runner, "", 0, "listen", hosts=["127.0.0.1"])

    assert outcome["code"] == "component_failed"
    assert "PermissionError" in outcome["message"]


def test_a_call_from_a_thread_is_refused_too(runner, neighbour):
    call(runner, "127.0.0.1", neighbour.port, "thread")

    assert neighbour.connections == 0


def test_a_model_on_an_unnamed_host_is_never_asked(runner, neighbour):
    """The client library would try six times; the refusal ends it at the first."""
    text = pipeline(
        {
            "llm": (
                "OpenAIChatGenerator",
                {
                    "api_base_url": f"http://127.0.0.1:{neighbour.port}/v1",
                    "api_key": {"type": "env_var", "env_vars": ["KEY"], "strict": True},
                },
            )
        }
    )
    data = {"llm": {"messages": [{"role": "user", "content": "你好"}]}}

    outcome = runner.outcome(text, data, secrets={"KEY": "sk-1234567"})

    assert (outcome["code"], outcome["component"]) == ("egress_refused", "llm")
    assert neighbour.connections == 0
    runner.outcome(text, data, secrets={"KEY": "sk-1234567"}, hosts=[f"127.0.0.1:{neighbour.port}"], seconds=5)
    assert neighbour.asked


@pytest.mark.parametrize(
    ("entry", "name", "ports"),
    [
        ("api.openai.com", "api.openai.com", (443, 80)),
        ("API.OpenAI.com.", "api.openai.com", (443, 80)),
        ("127.0.0.1:18080", "127.0.0.1", (18080,)),
        ("[::1]:8080", "::1", (8080,)),
        ("::1", "::1", (443, 80)),
        ("*.example.com", ".example.com", (443, 80)),
        ("例子.测试:8000", "xn--fsqu00a.xn--0zwm56d", (8000,)),
    ],
)
def test_an_entry_names_a_host_and_its_ports(entry, name, ports):
    host = parse(entry)

    assert (host.name, host.ports) == (name, ports)


def guard(answers: dict[str, list[str]], *hosts: str) -> Guard:
    """A guard that has not been installed, over a resolver that knows these names."""
    found = Guard(hosts)

    def resolve(name, port, *_, **__):
        found._audit("socket.getaddrinfo", (name, port, 0, 0, 0))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers[name]]

    found._resolve = resolve
    return found


def connect(found: Guard, address: str, port: int) -> None:
    with socket.socket(socket.AF_INET) as sock:
        found._audit("socket.connect", (sock, (address, port)))


def test_a_named_host_may_have_public_addresses_only():
    found = guard({"api.example.com": ["93.184.216.34", "10.0.0.7"]}, "api.example.com")

    assert [entry[4][0] for entry in found.getaddrinfo("api.example.com", 443)] == ["93.184.216.34"]
    connect(found, "93.184.216.34", 443)
    with pytest.raises(EgressRefused):
        connect(found, "10.0.0.7", 443)
    with pytest.raises(EgressRefused):
        connect(found, "93.184.216.34", 22)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0"],  # noqa: S104
)
def test_a_public_name_that_resolves_to_a_private_address_is_refused(address):
    found = guard({"rebound.example.com": [address]}, "*.example.com")

    with pytest.raises(EgressRefused, match="private address"):
        found.getaddrinfo("rebound.example.com", 443)


def test_a_private_name_may_have_a_private_address():
    found = guard(
        {"ollama": ["172.18.0.3"], "ollama.default.svc.cluster.local": ["10.0.0.1"]}, "ollama:11434", "*.local"
    )

    found.getaddrinfo("ollama", 11434)
    connect(found, "172.18.0.3", 11434)
    assert found.getaddrinfo("ollama.default.svc.cluster.local", 443)


def test_a_wildcard_covers_what_is_below_a_name_and_nothing_else():
    found = guard(
        {
            name: ["93.184.216.34"]
            for name in ("a.example.com", "example.com", "evilexample.com", "a.example.com.evil.io")
        },
        "*.example.com",
    )

    assert found.getaddrinfo("a.example.com", 443)
    for name in ("example.com", "evilexample.com", "a.example.com.evil.io"):
        with pytest.raises(EgressRefused):
            found.getaddrinfo(name, 443)


def test_the_first_refusal_is_remembered():
    found = guard({}, "example.com")

    for name in ("first.io", "second.io"):
        with pytest.raises(EgressRefused):
            found.getaddrinfo(name, 443)

    assert "first.io" in found.refused
