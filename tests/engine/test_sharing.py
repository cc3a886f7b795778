"""A request whose settings were read before is known by its first bytes; whatever else it says counts as it stands."""

import json

import pytest

from workflows.engine.sharing import Settings

SHARED = {"op": "run", "yaml": "组件: {}\n", "secrets": {"KEY": "秘密"}, "hosts": ("a.example",), "outputs": None}
OWN = {"data": {"it": {"query": "什么是人工智能？"}}, "seconds": 30, "labels": {"job": "一"}}


@pytest.fixture
def read() -> Settings:
    """As a process has them that was given a first request."""
    return Settings(json.loads(Settings(SHARED).request(OWN)))


def test_a_request_is_one_line_of_json():
    line = Settings(SHARED).request(OWN)

    assert b"\n" not in line
    assert json.loads(line) == {**SHARED, **OWN, "hosts": ["a.example"]}


def test_what_a_run_has_to_itself_does_not_count_for_the_key():
    assert Settings(SHARED | OWN).key == Settings(SHARED).key
    assert Settings(SHARED | {"yaml": ""}).key != Settings(SHARED).key


def test_a_request_with_the_same_settings_is_read(read):
    other = OWN | {"data": {}, "seconds": 1}

    assert read.read(Settings(SHARED).request(other)) == {**read.values, **other}


def test_the_same_settings_in_another_order_are_the_same(read):
    line = json.dumps({**OWN, **dict(reversed(SHARED.items()))}).encode()

    assert read.read(line) == {**read.values, **OWN}


@pytest.mark.parametrize(
    "changes", [{"yaml": "other: {}\n"}, {"secrets": {}}, {"hosts": ["a.example", "b.example"]}, {"more": 1}]
)
def test_other_settings_are_refused(read, changes):
    with pytest.raises(ValueError, match="another resident"):
        read.read(Settings(SHARED | changes).request(OWN))


@pytest.mark.parametrize("changes", [{"secrets": {"KEY": "其他"}}, {"hosts": []}, {"memory_mb": 9000}])
def test_what_a_run_has_to_itself_cannot_name_another_setting(read, changes):
    """JSON takes the last of two values of a name."""
    with pytest.raises(ValueError, match="another resident"):
        read.read(Settings(SHARED).request(OWN | changes))


def test_what_is_no_json_is_refused(read):
    with pytest.raises(ValueError):
        read.read(Settings(SHARED).request(OWN)[:-1])
