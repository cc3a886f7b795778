"""What the engine must know of the site that it runs on. `workflows.apps` hands it over once, at start."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Config:
    data_dir: Path
    socket: str  # the runner's Unix socket
    hosts: tuple[str, ...] = ()  # hosts that components may reach: "api.openai.com", "127.0.0.1:18080", "*.example.com"
    secrets: tuple[str, ...] = ()  # "NAME@host[:port]": variables that a definition may name, each bound to a host
    secret_values: dict[str, str] = field(default_factory=dict, repr=False, hash=False)
    components: tuple[str, ...] = ()  # further component classes, by exact dotted name
    memory_mb: int = 1024  # what one run may use beyond the runner's own
    residents: int = 0  # processes that may stay to serve the runs of definitions with `keep_warm: true`
    result_bytes: int = 10 * 1024 * 1024
    patience_seconds: float = 5.0  # how long somebody who saves a definition waits for a runner that is starting
    check_seconds: int = 20  # what the runner may take to load and describe one definition

    @property
    def documents_dir(self) -> Path:
        """Where the embedded document stores live: documents/<workspace id>/<index>.sqlite3."""
        return self.data_dir / "documents"


_current: Config | None = None


def configure(config: Config) -> None:
    global _current
    _current = config


def current() -> Config:
    if _current is None:
        raise RuntimeError("The engine was used before workflows.engine.configure().")
    return _current
