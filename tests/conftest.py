"""Fixtures for the tests of every room."""

import pytest

from tests.model_server import running


@pytest.fixture
def model_server():
    """An OpenAI-compatible server of the test's own, on a free port: see tests/model_server.py."""
    with running() as server:
        yield server
