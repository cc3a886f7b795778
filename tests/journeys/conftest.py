import fcntl
import os
import shutil

import pytest

from tests.journeys.site import Site


@pytest.fixture(scope="session")
def started_before(tmp_path_factory):
    """The data folder of a site that was started and stopped, with its tables, its administrator and its examples.

    Made once for all processes of a run: a first start costs a third more than a later one.
    """
    of_the_run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        of_the_run = of_the_run.parent
    folder = of_the_run / "started_before"
    with (of_the_run / "started_before.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = of_the_run / "starting"
            making.mkdir()
            site = Site(making, DATABASE_URL="").start()
            site.stop()
            site.data.rename(folder)
    return folder


@pytest.fixture(scope="session")
def make_site(started_before):
    """Makes sites that are still to be started; those on SQLite have been before."""

    def make(folder, **options) -> Site:
        site = Site(folder, **options)
        if not site.environment.get("DATABASE_URL"):
            shutil.copytree(started_before, site.data)
        return site

    return make


@pytest.fixture
def new_site(tmp_path, make_site):
    """Makes sites; all that were started are stopped at the end."""
    made = []

    def make(**options) -> Site:
        folder = tmp_path / f"site{len(made)}"
        folder.mkdir()
        made.append(make_site(folder, **options))
        return made[-1].start()

    yield make
    for site in made:
        if hasattr(site, "process"):
            site.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory, make_site):
    """One site for a module's stories that leave it as they found it."""
    site = make_site(tmp_path_factory.mktemp("site"), PIPELINE_COMPONENTS=COMPONENTS).start()
    yield site
    site.stop()


COMPONENTS = ",".join(
    f"tests.components.{name}"
    for name in (
        "Sleeper", "BusyLoop", "HoldsTheGIL", "MemoryHog", "Raiser", "Witnessed", "Deaf", "DiskFiller", "Answers",
        "RaisesUnspeakable", "Dies",
    )
)  # fmt: skip
