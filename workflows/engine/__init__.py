"""What a pipeline is: the door of the room that checks, describes and runs them.

No Django, no models, no queue in here, and no Haystack either: that lives in the runner, a process of its own,
which this door reaches over a socket. Everything that others may use is listed in `__all__`.
"""

from workflows.engine.catalog import catalog
from workflows.engine.checking import Checked, check, static_check
from workflows.engine.client import Run, runner_status, start_run
from workflows.engine.config import Config, configure
from workflows.engine.errors import (
    RETRY_REASONS,
    InputProblem,
    Problem,
    RunnerLost,
    RunnerUnavailable,
    TriggerDataRefused,
)
from workflows.engine.graph import draw
from workflows.engine.inputs import accept
from workflows.engine.keeper import RunnerKeeper

__all__ = [
    "RETRY_REASONS",
    "Checked",
    "Config",
    "InputProblem",
    "Problem",
    "Run",
    "RunnerKeeper",
    "RunnerLost",
    "RunnerUnavailable",
    "TriggerDataRefused",
    "accept",
    "catalog",
    "check",
    "configure",
    "draw",
    "runner_status",
    "start_run",
    "static_check",
]
