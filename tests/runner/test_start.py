"""How a runner begins: it answers soon, and a run finds all that is needed."""

from pathlib import Path

import pytest

from tests.runner.conftest import follow, run_request
from workflows.engine import client
from workflows.engine import config as engine_config
from workflows.engine.config import Config
from workflows.engine.keeper import RunnerKeeper

SLOW = "tests.runner.slow.SlowToImport"


@pytest.fixture
def starting(tmp_path):
    """A keeper whose runner can't import all of its components before there is a file `go`."""
    before = engine_config._current
    config = Config(data_dir=tmp_path, socket=str(tmp_path / "runner.sock"), components=(SLOW,))
    engine_config.configure(config)
    keeper = RunnerKeeper(config)
    yield keeper
    keeper.stop()
    engine_config._current = before


def let_it_go(keeper) -> None:
    Path(keeper._config.socket).with_name("go").touch()


def test_a_runner_answers_before_it_has_imported_every_component(starting):
    assert starting.wait_until_ready(30)


def test_a_run_that_comes_early_waits_until_its_runner_is_prepared(starting):
    assert starting.wait_until_ready(30)
    run = client.Run(run_request(f"components: {{it: {{type: {SLOW}}}}}", components=[SLOW]))

    let_it_go(starting)

    assert follow(run)[-1] == {"kind": "result", "result": {"it": {"is_rehearsed": True}}}
