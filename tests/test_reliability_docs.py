"""docs/reliability.md names every fault test, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_table_of_faults_and_the_tests_are_in_step():
    rows = re.findall(r"^\| .* \| `(test_\w+)` \|$", (ROOT / "docs/reliability.md").read_text("utf-8"), re.MULTILINE)
    tests = [
        name
        for file in (ROOT / "tests/faults").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    ]

    assert sorted(rows) == sorted(tests)
    assert len(rows) >= 25
