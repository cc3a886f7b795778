"""A run that is broken off leaves nothing behind for long."""

import subprocess
import sys

import pytest
from django.db import OperationalError

from tests.databases import servers
from tests.journeys.site import ROOT, wait_for

HOLD = "import sys; from tests.databases.servers import Server; print(Server(sys.argv[1]).make(), flush=True); input()"


@pytest.mark.parametrize("name", ["postgres", "mariadb"])
def test_the_databases_of_a_killed_run_are_dropped_by_the_next_and_those_of_a_live_one_are_not(name):
    try:
        server = servers.Server(servers.URLS[name])
        server.make()
    except OperationalError as error:
        pytest.skip(f"no such server on this machine: {error}")
    run = subprocess.Popen(
        [sys.executable, "-c", HOLD, servers.URLS[name]],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    theirs = run.stdout.readline().strip().rpartition("/")[2]

    servers.Server(servers.URLS[name]).reserve()
    assert (theirs,) in server._do("list")

    run.kill()
    run.communicate()

    def is_gone():  # the server takes a moment to notice that its client is
        servers.Server(servers.URLS[name]).reserve()
        return (theirs,) not in server._do("list")

    wait_for(is_gone, 10, "the next run to drop it")
