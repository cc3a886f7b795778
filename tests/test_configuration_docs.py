"""The settings, their page and their example file name the same variables."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def variables_in_settings() -> set[str]:
    tree = ast.parse((ROOT / "aiworkflow_project/settings.py").read_text())
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "environment"
    }


def test_the_page_explains_every_variable_and_no_other():
    page = (ROOT / "docs/configuration.md").read_text()

    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.M))

    assert explained == variables_in_settings()


def test_the_example_file_lists_every_variable_and_no_other():
    example = (ROOT / ".env.example").read_text()

    assert set(re.findall(r"^#?([A-Z_]+)=", example, re.M)) == variables_in_settings()


def test_no_other_module_reads_the_environment():
    """But for the three that must: the reader itself, the tests' settings, and what runs before any settings."""
    allowed = {"aiworkflow_project/environment.py", "aiworkflow_project/wsgi.py", "aiworkflow_project/asgi.py"}
    readers = {
        str(path.relative_to(ROOT))
        for room in ("accounts", "aiworkflow_project", "jobs", "workflows")
        for path in (ROOT / room).rglob("*.py")
        if "os.environ" in path.read_text() or "os.getenv" in path.read_text()
    }
    runner = {name for name in readers if name.startswith(("workflows/engine/runner/", "workflows/documents/"))}

    assert readers - allowed - runner <= {
        "aiworkflow_project/settings.py",  # the values of the secrets that PIPELINE_SECRETS names
        "jobs/management/commands/qcluster.py",  # django-q2 wants its cluster's name there
        "workflows/engine/keeper.py",  # what the runner's scrubbed environment keeps
    }
