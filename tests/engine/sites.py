"""A site of a test's own: a data directory, a configured engine and a real runner."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from workflows import engine
from workflows.engine import config as engine_config


@contextlib.contextmanager
def configured(data_dir: Path, **settings) -> Iterator[engine.Config]:
    """The engine configured for `data_dir`, and as it was before afterwards. No runner is started."""
    before = engine_config._current
    config = engine.Config(
        data_dir=data_dir, socket=str(data_dir / "runner.sock"), **{"patience_seconds": 0} | settings
    )
    engine.configure(config)
    try:
        yield config
    finally:
        engine_config._current = before


@contextlib.contextmanager
def with_runner(data_dir: Path, **settings) -> Iterator[engine.Config]:
    """The same, with a runner that answers."""
    with configured(data_dir, **settings) as config:
        keeper = engine.RunnerKeeper(config)
        try:
            assert keeper.wait_until_ready(60)
            yield config
        finally:
            keeper.stop()
