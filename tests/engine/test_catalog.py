"""The catalogue: asked of the runner once, and kept until something changes."""

import importlib
import json

import pytest

from tests.engine.sites import configured, with_runner
from workflows import engine
from workflows.engine import client

catalog = importlib.import_module("workflows.engine.catalog")  # on the door, the name is the function's


@pytest.fixture(autouse=True)
def nothing_remembered():
    catalog._known.clear()
    yield
    catalog._known.clear()


def answer(*names):
    return [
        {"kind": "catalog", "catalog": {"haystack_version": "3.4.0", "components": {n: {"type": n} for n in names}}}
    ]


def test_the_runner_lists_what_is_installed_and_the_policy_marks_it(tmp_path):
    with with_runner(tmp_path):
        found = engine.catalog()["components"]

    assert found["haystack.components.builders.prompt_builder.PromptBuilder"]["allowed"] is True
    assert found["workflows.documents.retrievers.WorkspaceBM25Retriever"]["allowed"] is True
    assert found["haystack.components.fetchers.link_content.LinkContentFetcher"]["allowed"] is False


def test_the_runner_is_asked_once_for_each_set_of_packages_and_policy(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(client, "request", lambda payload, seconds, **_: asked.append(payload) or answer("a.B", "c.D"))

    with configured(tmp_path):
        engine.catalog()
        catalog._known.clear()  # as another process would begin
        first = engine.catalog()
    with configured(tmp_path, components=("a.B",)):
        second = engine.catalog()

    assert len(asked) == 2
    assert not first["components"]["a.B"]["allowed"]
    assert second["components"]["a.B"]["allowed"]
    assert len(list(tmp_path.glob("*catalog*"))) == 1


def test_a_broken_file_is_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "request", lambda payload, seconds, **_: answer("a.B"))
    with configured(tmp_path):
        engine.catalog()
        (file,) = tmp_path.glob("catalog-*.json")
        file.write_text('{"compon')
        catalog._known.clear()

        assert "a.B" in engine.catalog()["components"]
        assert json.loads(file.read_text())["components"]


def test_a_directory_that_cannot_be_written_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "request", lambda payload, seconds, **_: answer("a.B"))
    blocked = tmp_path / "file"
    blocked.write_text("")

    with configured(blocked / "data"):
        assert "a.B" in engine.catalog()["components"]


def test_a_runner_that_fails_is_no_empty_catalogue(tmp_path, monkeypatch):
    monkeypatch.setattr(
        client, "request", lambda payload, seconds, **_: [{"kind": "error", "code": "x", "message": "no"}]
    )

    with configured(tmp_path), pytest.raises(engine.RunnerLost):
        engine.catalog()
