import pytest

from tests.journeys.site import Site


@pytest.fixture
def new_site(tmp_path):
    """Makes sites; all that were started are stopped at the end."""
    made = []

    def make(**options) -> Site:
        folder = tmp_path / f"site{len(made)}"
        folder.mkdir()
        made.append(Site(folder, **options))
        return made[-1].start()

    yield make
    for site in made:
        if hasattr(site, "process"):
            site.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One site for a module's stories that leave it as they found it."""
    site = Site(tmp_path_factory.mktemp("site"), PIPELINE_COMPONENTS=COMPONENTS).start()
    yield site
    site.stop()


COMPONENTS = ",".join(
    f"tests.components.{name}"
    for name in (
        "Sleeper", "BusyLoop", "HoldsTheGIL", "MemoryHog", "Raiser", "Witnessed", "Deaf", "DiskFiller", "Answers",
        "RaisesUnspeakable", "Dies",
    )
)  # fmt: skip
