"""One runner per socket: started by whoever holds the lock, started again, and gone with its keeper."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.runner.conftest import alive, until
from workflows.engine import client
from workflows.engine import config as engine_config
from workflows.engine.config import Config
from workflows.engine.errors import RunnerUnavailable
from workflows.engine.keeper import RunnerKeeper

ROOT = Path(__file__).parents[2]

KEEP = """
    import sys, time
    from pathlib import Path
    from workflows.engine import config
    from workflows.engine.keeper import RunnerKeeper

    site = config.Config(data_dir=Path(sys.argv[1]), socket=sys.argv[2])
    config.configure(site)
    keeper = RunnerKeeper(site)
    keeper.wait_until_ready(60)
    print(keeper.pid, flush=True)
    while True:
        keeper.tick()
        time.sleep(0.05)
"""


@pytest.fixture
def site(tmp_path):
    before = engine_config._current
    config = Config(data_dir=tmp_path, socket=str(tmp_path / "runner.sock"))
    engine_config.configure(config)
    yield config
    engine_config._current = before


@pytest.fixture
def keepers(site):
    """Starts keepers in processes of their own."""
    started = []

    def start() -> subprocess.Popen:
        command = [sys.executable, "-c", textwrap.dedent(KEEP), str(site.data_dir), site.socket]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_without_a_runner_there_is_no_answer(site):
    assert client.runner_status() is None
    with pytest.raises(RunnerUnavailable, match="No runner answers"):
        client.request({"op": "ping"}, 1)


def test_a_runner_that_dies_is_started_again(site):
    keeper = RunnerKeeper(site)
    try:
        assert keeper.wait_until_ready(60)
        first = keeper.pid
        os.kill(first, signal.SIGKILL)
        assert until(lambda: not alive(first))

        assert client.runner_status() is None
        assert keeper.wait_until_ready(60)
        assert keeper.pid != first
    finally:
        keeper.stop()
    assert client.runner_status() is None
    assert not Path(site.socket).exists()


def test_a_runner_that_dies_at_once_is_not_started_at_every_tick(site, monkeypatch):
    keeper = RunnerKeeper(site)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    starts = []
    start = keeper._start
    monkeypatch.setattr(keeper, "_start", lambda: (starts.append(time.monotonic()), start()))

    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        keeper.tick()
        time.sleep(0.01)
    keeper.stop()

    assert 2 <= len(starts) <= 3


def test_the_second_keeper_waits_and_takes_over_when_the_first_dies(keepers, site):
    first = keepers()
    runner = int(first.stdout.readline())
    second = keepers()
    assert second.stdout.readline() == "None\n"  # it is answered, by a runner that isn't its own
    assert client.runner_status()["pid"] == runner

    first.kill()

    assert until(lambda: not alive(runner), 5)
    assert until(lambda: (client.runner_status() or {"pid": runner})["pid"] != runner, 30)


def test_a_fork_of_the_keeper_neither_holds_the_lock_nor_drops_it(site):
    keeper = RunnerKeeper(site)
    try:
        assert keeper.wait_until_ready(60)
        runner = keeper.pid
        child = os.fork()
        if child == 0:
            keeper.tick()
            keeper.stop()
            os._exit(0 if keeper.pid is None else 1)

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.runner_status()["pid"] == runner
        keeper.tick()
        assert keeper.pid == runner
    finally:
        keeper.stop()


def test_a_second_keeper_in_one_process_does_not_break_the_first_ones_lock(site, keepers):
    first, second = RunnerKeeper(site), RunnerKeeper(site)
    try:
        assert first.wait_until_ready(60)
        second.tick()
        assert second.pid is None

        other = keepers()
        assert other.stdout.readline() == "None\n"
    finally:
        first.stop()


def test_the_runner_is_told_nothing_of_ours(site, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "k" * 50)
    monkeypatch.setenv("DATABASE_URL", "postgres://u:p@h/d")
    monkeypatch.setenv("HAYSTACK_UNSAFE_DESERIALIZATION", "1")
    monkeypatch.setenv("LD_PRELOAD", "")
    keeper = RunnerKeeper(site)
    try:
        assert keeper.wait_until_ready(60)
        environment = Path(f"/proc/{keeper.pid}/environ").read_bytes().decode()
    finally:
        keeper.stop()

    names = {entry.partition("=")[0] for entry in environment.split("\0")}
    assert not names & {"SECRET_KEY", "DATABASE_URL", "HAYSTACK_UNSAFE_DESERIALIZATION", "LD_PRELOAD"}
    assert "HAYSTACK_TELEMETRY_ENABLED=false" in environment


def test_a_socket_in_a_deep_folder_works(tmp_path):
    deep = tmp_path / ("深" * 30) / ("d" * 60) / ("e" * 60)
    config = Config(data_dir=tmp_path, socket=str(deep / "runner.sock"))
    assert len(os.fsencode(config.socket)) > 200
    before = engine_config._current
    engine_config.configure(config)
    keeper = RunnerKeeper(config)
    try:
        assert keeper.wait_until_ready(60)
        assert client.runner_status()["pid"] == keeper.pid
    finally:
        keeper.stop()
        engine_config._current = before


def test_a_socket_that_a_killed_runner_left_is_replaced_and_its_scratch_is_emptied(site):
    scratch = Path(f"{site.socket}.scratch") / "old"
    scratch.mkdir(parents=True)
    (scratch / "left").write_text("behind")
    Path(site.socket).touch()
    keeper = RunnerKeeper(site)
    try:
        assert keeper.wait_until_ready(60)
        assert until(lambda: not scratch.exists())
    finally:
        keeper.stop()


def test_stopping_ends_the_running_children(site):
    keeper = RunnerKeeper(site)
    assert keeper.wait_until_ready(60)
    run = client.Run({"op": "run"} | {"yaml": ""})
    pid = keeper.pid

    keeper.stop()

    assert not alive(pid)
    run.kill()
