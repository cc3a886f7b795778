"""What a component can see, read, write and start."""

import os
import signal
import uuid
from pathlib import Path

import pytest

from tests.runner.conftest import PARENTS_SECRET, alive, pipeline, until
from workflows.engine.runner import landlock

needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")


def look(runner, read=(), write=(), **changes) -> dict:
    outcome = runner.one("Looker", {"read": [str(path) for path in read], "write": [str(p) for p in write]}, **changes)
    assert outcome["kind"] == "result", outcome
    return outcome["result"]["it"]


def test_nothing_of_the_parents_environment_is_visible(runner):
    found = look(runner)["environment"]

    assert PARENTS_SECRET not in str(found)
    assert not [name for name in found if name.startswith(("DJANGO", "DATABASE", "SECRET", "DATA_DIR", "QUEUE"))]
    assert set(found) >= {"HOME", "TMPDIR", "PATH"}


def test_the_environment_that_the_runner_was_started_with_holds_no_secret_either(runner):
    outcome = runner.one("FirstEnvironment", {"needle": PARENTS_SECRET})

    assert outcome["result"] == {"it": {"text": "not found"}}
    assert runner.one("FirstEnvironment", {"needle": "HAYSTACK_TELEMETRY_ENABLED"})["result"]["it"]["text"] == "found"


def test_a_run_sees_its_own_secrets_and_the_next_one_does_not(runner):
    first = runner.outcome(pipeline({"it": "Looker"}), {"it": {"read": [], "write": []}}, secrets={"KEY_ONE": "a"})
    second = look(runner)

    assert first["result"]["it"]["environment"]["KEY_ONE"] == "a"
    assert "KEY_ONE" not in second["environment"]


def test_a_run_has_a_home_of_its_own_that_is_gone_afterwards(runner):
    first, second = look(runner), look(runner)

    assert first["home"] == first["cwd"] != second["home"]
    assert until(lambda: not Path(first["home"]).exists() and not Path(second["home"]).exists())


def test_files_that_a_run_leaves_in_its_scratch_folder_are_removed(runner):
    outcome = look(runner, write=["left.txt", "/dev/null"])

    assert outcome["written"] == {"left.txt": "done", "/dev/null": "done"}
    assert until(lambda: not runner.scratch())


@needs_landlock
def test_nothing_outside_scratch_can_be_written(runner, tmp_path):
    folders = [
        tmp_path,
        Path.home(),
        runner.config.data_dir,
        Path("/tmp"),
        Path(__file__).parent,
        Path(os.__file__).parent,
    ]
    targets = [folder / f"written-by-a-run-{uuid.uuid4().hex}" for folder in folders]

    written = look(runner, write=targets)["written"]

    assert set(written.values()) == {"PermissionError"}
    assert not [target for target in targets if target.exists()]


@needs_landlock
def test_neither_data_nor_other_runs_nor_settings_can_be_read(runner, tmp_path):
    root = Path(__file__).parents[2]
    secret = tmp_path / "secret.txt"
    secret.write_text("秘密")
    database = runner.config.data_dir / "db.sqlite3"
    database.write_text("rows")
    hidden = [secret, database, "/etc/passwd", "/etc/shadow", "/proc/1/environ", f"/proc/{runner.pid}/environ"]
    hidden.append(root / "pyproject.toml")

    read = look(runner, read=[*hidden, __file__])["read"]

    assert read.pop(__file__) == "done"  # the project's own code: it must be importable
    assert set(read.values()) == {"PermissionError"}, read


def test_the_documents_folder_of_the_run_can_be_written_and_its_neighbours_not(runner, tmp_path):
    mine, theirs = tmp_path / "documents" / "mine", tmp_path / "documents" / "theirs"
    theirs.mkdir(parents=True)
    (theirs / "a.txt").write_text("theirs")

    found = look(
        runner,
        read=[theirs / "a.txt"],
        write=[mine / "a.txt", theirs / "b.txt"],
        documents_dir=str(mine),
    )

    assert found["environment"]["AIWORKFLOW_DOCUMENTS_DIR"] == str(mine)
    assert (mine / "a.txt").read_text() == "was here"
    if landlock.version():
        assert found["read"] == {str(theirs / "a.txt"): "PermissionError"}
        assert not (theirs / "b.txt").exists()


def test_no_process_can_be_started_and_none_signalled(runner, tmp_path):
    outcome = runner.one("StartsProcesses", {"marker": str(tmp_path / "marker")})

    refused = outcome["result"]["it"]["refused"]
    expected = {"subprocess", "system", "posix_spawn", "exec", "fork", "kill"}
    if landlock.version():
        expected |= {"exec in C"}
    if landlock.version() >= 6:
        expected |= {"kill in C"}
    assert set(refused) >= expected
    assert set(refused.values()) == {"PermissionError"}
    assert not (tmp_path / "marker").exists()


def test_a_child_is_in_a_session_of_its_own_and_without_input(runner, stopped_at_end):
    run = runner.start(pipeline({"it": "Sleeper"}), {"it": {"seconds": 30}})
    stopped_at_end.append(run)
    assert until(lambda: runner.children())
    [child] = runner.children()
    assert until(lambda: os.getsid(child) == child)

    assert os.readlink(f"/proc/{child}/fd/0") == "/dev/null"
    # One that opens a file to import it has a fifth for that moment.
    assert until(lambda: sorted(os.listdir(f"/proc/{child}/fd")) == ["0", "1", "2", "3"])


def test_a_child_dies_with_the_runner(tmp_path):
    """By the kernel's doing: a runner that is killed can do nothing any more."""
    from tests.runner.conftest import OURS, run_request
    from workflows.engine import client
    from workflows.engine import config as engine_config
    from workflows.engine.keeper import RunnerKeeper

    before = engine_config._current
    config = engine_config.Config(data_dir=tmp_path, socket=str(tmp_path / "r.sock"), components=OURS)
    engine_config.configure(config)
    keeper = RunnerKeeper(config)
    try:
        assert keeper.wait_until_ready(60)
        client.Run(run_request(pipeline({"it": "Sleeper"}), {"it": {"seconds": 60}}))  # dropped: the client is gone
        run = client.Run(run_request(pipeline({"it": "BusyInC"}), {"it": {"exponent": 200_000_000}}, seconds=100))
        children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children")
        run.wait(10)
        assert until(lambda: len(children.read_text().split()) == 1)
        child = int(children.read_text())

        os.kill(keeper.pid, signal.SIGKILL)

        assert until(lambda: not alive(child), 5)
        run.kill()
    finally:
        keeper.stop()
        engine_config._current = before
