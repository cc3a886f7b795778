"""What tests of jobs that race need."""

import sqlite3
from contextlib import closing
from unittest import mock

import pytest
from django.db import connection, connections


@pytest.fixture
def on_disk(transactional_db, tmp_path):
    """SQLite's test database is in memory, where connections can't wait for each other: put it into a file."""
    if connection.vendor != "sqlite":
        yield
        return
    in_memory = connections["default"]
    in_memory.ensure_connection()
    with closing(sqlite3.connect(tmp_path / "races.sqlite3")) as file:
        in_memory.connection.backup(file)
    with mock.patch.dict(in_memory.settings_dict, NAME=str(tmp_path / "races.sqlite3")):
        del connections["default"]
        yield
        connection.close()
    connections["default"] = in_memory
