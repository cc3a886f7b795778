"""What can go wrong with a pipeline, in words for the person who can mend it."""

from dataclasses import dataclass

# What `retry_on` may name: errors after which another attempt may go better. "transient" stands for what passes by
# itself, whatever its code: time-outs, broken connections, HTTP 408, 425, 429 and 5xx.
RETRY_REASONS = (
    "transient",
    "component_failed",
    "timed_out",
    "pipeline_blocked",
    "max_runs_exceeded",
    "load_failed",
    "out_of_memory",
    "crashed",
    "result_not_json",
    "result_too_large",
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a definition's YAML, and where. Lines and columns count from 1."""

    code: str  # stable, snake_case: "component_not_allowed"
    message: str
    path: str = ""  # within the document: "components.prompt.type", "connections[0].sender"
    line: int | None = None
    column: int | None = None
    severity: str = "error"  # or "warning", which does not make the definition invalid

    @property
    def is_error(self) -> bool:
        return self.severity == "error"


@dataclass(frozen=True)
class InputProblem:
    """One thing that is wrong with trigger data; `path` says where: "prompt.query", "documents[0].content"."""

    code: str
    message: str
    path: str = ""


class TriggerDataRefused(Exception):
    """The trigger data does not fit the definition's inputs; `problems` says each reason."""

    def __init__(self, problems: list[InputProblem]):
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class RunnerUnavailable(Exception):
    """No runner answers on the socket. It may be starting: try again in a moment."""


class RunnerLost(Exception):
    """The runner went away in the middle of a run: the run is dead and has no answer."""
