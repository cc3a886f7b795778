"""Clocks that are set while jobs run: all processes of a site see the wall clock jump, and no other clock."""

import os
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from tests.faults.promises import kept
from tests.journeys.site import wait_for

HOUR = 3600


class Clock:
    def __init__(self, folder: Path):
        library, self.file = folder / "clock.so", folder / "clock"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "TEST_CLOCK": str(self.file)}

    def set(self, offset: int) -> None:
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("q", offset))


@pytest.fixture
def clock(tmp_path):
    if not shutil.which("cc"):
        pytest.skip("no C compiler on this machine")
    return Clock(tmp_path)


@pytest.mark.parametrize("offset", [-HOUR, HOUR], ids=["back", "forward"])
def test_a_clock_that_is_set_disturbs_no_running_job(watched, witness, clock, offset):
    site = watched.site(workers=2, **clock.environment)
    jobs = watched.submit(site, watched.definition(site), 4, 10)
    wait_for(lambda: witness.running.total() == 4, what="all to run")

    clock.set(offset)

    site.sign_in()  # tokens know the clock too
    assert {(job["status_str"], job["attempt_int"]) for job in kept(site, jobs, witness)} == {("completed", 1)}


def test_a_job_whose_worker_dies_after_the_clock_was_set_back_is_recovered(watched, witness, clock):
    site = watched.site(workers=1, **clock.environment)
    [job] = watched.submit(site, watched.definition(site), 1, 6)
    wait_for(lambda: witness.running.total() == 1, what="the run")
    [worker] = site.processes("qcluster", "processing")

    os.kill(worker, signal.SIGSTOP)  # so that it can't renew its lease by the new clock
    clock.set(-HOUR)
    os.kill(worker, signal.SIGKILL)
    site.sign_in()

    [done] = kept(site, [job], witness)
    assert (done["status_str"], done["attempt_int"]) == ("completed", 2)
