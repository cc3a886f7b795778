"""Writes that come while another is made are made together, and one that fails harms no other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aiworkflow_project.db.group_commit import GroupCommit
from tests.journeys.site import wait_for

PATIENCE = 10


class Table:
    """Takes what is committed, all or nothing; `held` ones of it only when they are let go."""

    def __init__(self):
        self.commits = []
        self.refused = {}  # item: error
        self.held = {}  # item: (it has come, it may go)
        self.write = GroupCommit(self.commit)

    def commit(self, kind, items):
        for item in items:
            if item in self.held:
                come, go = self.held[item]
                come.set()
                assert go.wait(PATIENCE)
        for item in items:
            if item in self.refused:
                raise self.refused[item]
        self.commits.append((kind, items))

    def hold(self, item):
        self.held[item] = threading.Event(), threading.Event()

    def has_come(self, item):
        assert self.held[item][0].wait(PATIENCE)

    def let_go(self, item):
        self.held[item][1].set()

    def wait_for_waiting(self, kind, number):
        """Until so many wait behind the one that is being written."""
        wait_for(lambda: len(self.write._waiting.get(kind, ())) == number, PATIENCE, "those behind")


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def come(threads, table, items, *, kind="a", behind=0) -> list:
    """The calls, which come in this order."""
    calls = []
    for number, item in enumerate(items, behind + 1):
        calls.append(threads.submit(table.write, kind, item))
        table.wait_for_waiting(kind, number)
    return calls


def test_who_comes_alone_writes_at_once(table):
    table.write("a", 1)
    table.write("a", 2)

    assert table.commits == [("a", [1]), ("a", [2])]
    assert not table.write._waiting


def test_what_comes_while_one_is_written_is_written_together(table, threads):
    table.hold(1)
    first = threads.submit(table.write, "a", 1)
    table.has_come(1)
    rest = come(threads, table, [2, 3, 4])
    assert not any(call.done() for call in [first, *rest])

    table.let_go(1)
    for call in [first, *rest]:
        call.result(PATIENCE)

    assert table.commits == [("a", [1]), ("a", [2, 3, 4])]
    assert not table.write._waiting


def test_the_first_need_not_write_for_all_that_come_later(table, threads):
    for held in (1, 2):
        table.hold(held)
    first = threads.submit(table.write, "a", 1)
    table.has_come(1)
    second = come(threads, table, [2])
    table.let_go(1)
    first.result(PATIENCE)
    table.has_come(2)
    third = come(threads, table, [3])
    table.let_go(2)

    for call in second + third:
        call.result(PATIENCE)
    assert table.commits == [("a", [1]), ("a", [2]), ("a", [3])]


def test_what_is_of_another_kind_does_not_wait(table, threads):
    table.hold(1)
    first = threads.submit(table.write, "a", 1)
    table.has_come(1)

    threads.submit(table.write, "b", 2).result(PATIENCE)
    assert table.commits == [("b", [2])]

    table.let_go(1)
    first.result(PATIENCE)


def test_of_a_group_that_is_refused_each_has_its_own_answer(table, threads):
    table.refused[3] = ValueError("not this one")
    table.hold(1)
    first = threads.submit(table.write, "a", 1)
    table.has_come(1)
    rest = come(threads, table, [2, 3, 4])
    table.let_go(1)
    first.result(PATIENCE)

    outcomes = [call.exception(PATIENCE) for call in rest]

    assert outcomes == [None, table.refused[3], None]
    assert sorted(table.commits) == [("a", [1]), ("a", [2]), ("a", [4])]
    assert not table.write._waiting


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=["an error", "the end"])
def test_nobody_waits_for_ever_behind_one_that_fails(table, threads, error):
    table.refused[1] = error
    table.hold(1)
    first = threads.submit(table.write, "a", 1)
    table.has_come(1)
    rest = come(threads, table, [2, 3])
    table.let_go(1)

    assert first.exception(PATIENCE) is error
    for call in rest:
        call.result(PATIENCE)
    assert table.commits == [("a", [2, 3])]


def test_many_that_come_as_they_like_are_each_written_once(table, threads):
    def some(number):
        for item in range(200):
            table.write(item % 2, (number, item))

    list(threads.map(some, range(8)))

    written = [item for _, items in table.commits for item in items]
    assert sorted(written) == [(number, item) for number in range(8) for item in range(200)]
    assert all(item[1] % 2 == kind for kind, items in table.commits for item in items)
    assert not table.write._waiting
