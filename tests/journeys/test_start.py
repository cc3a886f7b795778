"""Starting and stopping a site as an administrator does: one command, no network, clear refusals, a clean end."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys

import httpx
import pytest

from tests.journeys.site import PASSWORD, ROOT, USERNAME, Site, free_port, wait_for

PIPELINE = """\
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters: {template: "你好，{{ name }}！"}
connections: []
"""
# A network of its own that has nothing but loopback: SIOCSIFFLAGS with IFF_UP | IFF_RUNNING on "lo".
CUT_OFF = (
    "import fcntl, os, socket, struct, sys; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x41)); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=kept | environment,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_the_sample_runs_with_the_network_cut_off(tmp_path):
    site = Site(tmp_path, DATABASE_URL="")  # a database server would be cut off, too
    log = tmp_path / "sample.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(shutil.which("unshare"), "--net", "--map-root-user", sys.executable, "-c", CUT_OFF),
                *("manage.py", "up", "--sample", "--port", str(site.port)),
            ],
            cwd=ROOT,
            env=site.environment,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: log.read_text().count("Ctrl-C stops it") == 2 or process.poll() is not None, 60, "the sample")
        told = log.read_text()
        assert '"query": "什么是人工智能？"' in told, told
        assert "人工智能（Artificial Intelligence，简称 AI）是研究" in told
        assert f"http://127.0.0.1:{site.port}/admin/" in told
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_new_site_shows_a_password_once_and_keeps_its_secrets_to_itself(tmp_path):
    site = Site(tmp_path)
    del site.environment["DJANGO_SUPERUSER_PASSWORD"]
    del site.environment["DJANGO_SUPERUSER_USERNAME"]
    site.sign_in = lambda: None
    site.start()
    try:
        [(username, password)] = re.findall(r"shown this once\): (\S+) / (\S+)", site.log.read_text())
        answer = httpx.post(
            f"{site.address}/api/v1/auth/token", json={"username": username, "password": password}, timeout=30
        )
        assert answer.status_code == 200

        assert stat.S_IMODE((tmp_path / "var/secret_key").stat().st_mode) == 0o600
        [runner] = site.processes("workflows.engine.runner.server")
        with open(f"/proc/{runner}/environ") as environ:
            told = environ.read()
        assert "HAYSTACK_TELEMETRY_ENABLED=false" in told
        assert not re.search(r"SECRET_KEY|DATABASE|PASSWORD|DATA_DIR|DJANGO", told)
    finally:
        assert site.stop(signal.SIGINT) == 0
    assert not site.processes()

    site.start()
    site.stop()
    assert site.log.read_text().count("shown this once") == 1


PRODUCTION = {"DEBUG": "false", "SECRET_KEY": "x" * 25 + "abcdefghijklmnopqrstuvwxyz", "ALLOWED_HOSTS": "example.com"}


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS"),
        ({"DEBUG_API": "true"}, "DEBUG_API"),
        ({"WORKERS": "many"}, "WORKERS must be a whole number"),
        ({"DATABASE_URL": "oracle://x/y"}, "scheme"),
        ({"QUEUE_URL": "sqs://localhost"}, "QUEUE_URL must be empty, or redis://"),
    ],
)
@pytest.mark.parametrize("command", ["up", "serve", "qcluster"])
def test_production_refuses_to_start_with_unusable_settings(tmp_path, missing, words, command):
    refused = manage(command, DATA_DIR=str(tmp_path / "var"), **PRODUCTION | missing)

    assert refused.returncode != 0
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_production_settings_pass_the_deployment_check(tmp_path):
    checked = manage("check", "--deploy", "--fail-level", "WARNING", DATA_DIR=str(tmp_path), **PRODUCTION)

    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(("manage.py serve",), id="web"),
        pytest.param(("manage.py qcluster",), id="workers"),
        pytest.param(("workflows.engine.runner.server",), id="runner"),
    ],
)
def test_a_part_that_is_killed_is_started_again(site, part):
    before = set(site.processes(*part))
    assert before

    for pid in before:
        os.kill(pid, signal.SIGKILL)

    def is_back():
        now = set(site.processes(*part))
        try:
            return now and not now & before and httpx.get(f"{site.address}/health", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(is_back, 30, f"{part} to be back")
    done = site.finished(site.submit(site.define(f"after {part}", PIPELINE), {"name": "小明"}))
    assert done["result_data_json"] == {"prompt": {"prompt": "你好，小明！"}}


def test_the_web_process_has_neither_haystack_nor_numpy_in_it(site):
    site.submit(site.define("light", PIPELINE), {"name": "x"})
    [web] = site.processes("manage.py serve")

    with open(f"/proc/{web}/maps") as maps:
        assert "numpy" not in maps.read()


def test_web_and_workers_alone_share_one_runner(tmp_path):
    site = Site(tmp_path)
    for command in (("migrate", "--verbosity", "0"), ("createsuperuser", "--noinput", "--email", "a@example.com")):
        assert site.command(*command, stdout=subprocess.DEVNULL).wait(60) == 0
    site.port = free_port()
    with site.log.open("a") as log:
        site.process = web = site.command("serve", "--port", str(site.port), stdout=log, stderr=log)
        workers = site.command("qcluster", "--workers", "1", stdout=log, stderr=log)
    site.address = f"http://127.0.0.1:{site.port}"
    try:
        wait_for(site._is_up, 30, "the site")
        site.sign_in()

        done = site.finished(site.submit(site.define("alone", PIPELINE), {"name": "小红"}))

        assert done["status_str"] == "completed"
        both = [pid for process in (web, workers) for pid in _children(process.pid)]
        assert len([pid for pid in both if "runner.server" in _command(pid)]) == 1
    finally:
        for process in (web, workers):
            process.terminate()
        assert [process.wait(60) for process in (web, workers)] == [0, 0]


def _children(pid: int) -> list[int]:
    """The processes below `pid`."""
    direct = [int(child) for task in os.listdir(f"/proc/{pid}/task") for child in _read_children(pid, task)]
    return direct + [one for child in direct for one in _children(child)]


def _read_children(pid: int, task: str) -> list[str]:
    with open(f"/proc/{pid}/task/{task}/children") as children:
        return children.read().split()


def _command(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as command:
        return command.read()


def test_an_administrator_named_in_the_environment_signs_in(site):
    answer = httpx.post(
        f"{site.address}/api/v1/auth/token", json={"username": USERNAME, "password": PASSWORD}, timeout=30
    )

    assert answer.status_code == 200
