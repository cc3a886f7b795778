import uuid

import pytest

from tests.faults.witness import Witness
from tests.journeys.conftest import COMPONENTS, make_site, new_site, site, started_before

__all__ = ["make_site", "new_site", "site", "started_before"]


@pytest.fixture
def witness():
    with Witness() as witness:
        yield witness


@pytest.fixture
def watched(new_site, witness):
    """Makes sites whose runs report to the witness, and submits such runs."""

    class Watched:
        def site(self, **options):
            return new_site(PIPELINE_COMPONENTS=COMPONENTS, PIPELINE_HOSTS=witness.address, **options)

        def definition(self, site, name="见证", extra=""):
            return site.define(
                name,
                "components:\n  it:\n    type: tests.components.Witnessed\n"
                f'    init_parameters: {{address: "{witness.address}"}}\nconnections: []\n{extra}',
            )

        def submit(self, site, definition, number: int, seconds: float) -> list[dict]:
            return [site.submit(definition, {"name": uuid.uuid4().hex, "seconds": seconds}) for _ in range(number)]

    return Watched()
