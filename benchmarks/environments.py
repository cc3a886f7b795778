"""Environments of their own for what we are measured beside: none of it is installed into the project's."""

import subprocess
import tempfile
import venv
from pathlib import Path


def python_of(requirements: Path, given: str | None = None) -> Path:
    """A Python with what the file names, made at the first use, in the system's folder for temporary files."""
    folder = Path(given or Path(tempfile.gettempdir()) / f"aiworkflow-{requirements.parent.name}")
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    return python
