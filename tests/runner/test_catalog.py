"""The catalog has every component that is installed, ours too, and says what each needs."""

import json

import pytest

from workflows.engine import client


@pytest.fixture(scope="module")
def components(the_runner):
    from workflows.engine import config

    before = config._current
    config.configure(the_runner.config)
    [message] = client.request({"op": "catalog"}, 120)
    config._current = before
    assert len(json.dumps(message)) < 3_000_000
    return message["catalog"]["components"]


def test_all_of_haystacks_components_are_there_and_ours(components):
    assert len([path for path in components if path.startswith("haystack.")]) >= 90
    assert "workflows.documents.retrievers.WorkspaceBM25Retriever" in components


def test_a_parameter_is_told_with_type_default_and_description(components):
    found = components["haystack.components.retrievers.in_memory.bm25_retriever.InMemoryBM25Retriever"]
    parameters = {parameter["name"]: parameter for parameter in found["init_parameters"]}

    assert parameters["top_k"]["type"] == "int"
    assert parameters["top_k"]["default"] == 10
    assert parameters["top_k"]["schema"] == {"type": "integer"}
    assert "documents" in parameters["top_k"]["description"]
    assert parameters["document_store"]["required"] is True
    assert "schema" not in parameters["document_store"]
    assert [(each["name"], each["type"]) for each in found["outputs"]] == [("documents", "list[Document]")]
    assert {"name": "query", "type": "str"}.items() <= found["inputs"][0].items()
    assert found["summary"]
    assert found["available"] is True


def test_a_component_whose_package_is_missing_says_so(components):
    found = components["haystack.components.converters.pypdf.PyPDFToDocument"]

    assert found["available"] is False
    assert "pypdf" in found["unavailable_because"]


def test_sockets_of_a_component_without_parameters_are_told(components):
    found = components["haystack.components.joiners.document_joiner.DocumentJoiner"]

    assert [each["name"] for each in found["inputs"]] == ["documents", "top_k"]
