"""MariaDB's own settings change nothing for us."""

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import DataError, OperationalError, connection, migrations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import ConnectionHandler

from tests.databases.test_migrations import LATER

pytestmark = pytest.mark.django_db


@pytest.fixture
def opened():
    """Another connection to the same database, after a statement that stands for the server's configuration."""
    made = []

    def open_after(statement):
        options = {**connection.settings_dict["OPTIONS"], "init_command": statement}
        made.append(ConnectionHandler({"default": connection.settings_dict | {"OPTIONS": options}})["default"])
        return made[-1].cursor()

    yield open_after
    for wrapper in made:
        wrapper.close()


def test_the_session_is_in_utc_wherever_the_server_is(opened):
    cursor = opened("SET time_zone = '+08:00'")

    cursor.execute("SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), CURRENT_TIMESTAMP())")

    assert cursor.fetchone() == (0,)


def test_a_text_that_is_too_long_is_refused_and_not_cut(opened):
    cursor = opened("SET sql_mode = ''")
    cursor.execute("CREATE TEMPORARY TABLE short (text VARCHAR(3) CHARACTER SET utf8mb4)")

    with pytest.raises(DataError):
        cursor.execute("INSERT INTO short VALUES (%s)", ["四个汉字"])


def test_every_table_of_ours_compares_byte_for_byte_whatever_the_database_does():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND collation_name IS NOT NULL AND collation_name <> 'utf8mb4_nopad_bin'"
        )
        others = cursor.fetchall()

    assert others == ()


def test_a_packet_that_is_too_small_for_results_is_warned_of(settings):
    def ids():
        return [message.id for message in run_checks(databases=["default"]) if message.id.startswith("aiworkflow.W")]

    assert "aiworkflow.W003" not in ids()
    settings.ENGINE = settings.ENGINE | {"result_bytes": 12 * 1024 * 1024}
    assert "aiworkflow.W003" in ids()


def on_rows_alone(migration) -> bool:
    return all(isinstance(operation, migrations.RunPython) for operation in migration.operations)


@pytest.mark.parametrize("key", [key for key, found in LATER.items() if on_rows_alone(found)], ids=".".join)
def test_a_migration_of_rows_that_broke_off_is_run_again(key):
    for broken_off_or_later in MigrationLoader(connection).graph.backwards_plan(key):
        MigrationRecorder(connection).record_unapplied(*broken_off_or_later)

    call_command("migrate", *key, verbosity=0)

    assert key in MigrationRecorder(connection).applied_migrations()


@pytest.mark.django_db(transaction=True)
def test_a_migration_of_the_schema_that_broke_off_says_what_is_there_and_can_be_marked_as_done():
    MigrationRecorder(connection).record_unapplied("sessions", "0001_initial")

    with pytest.raises(OperationalError, match="already exists"):
        call_command("migrate", verbosity=0)
    call_command("migrate", "sessions", "0001", fake=True, verbosity=0)
    call_command("migrate", verbosity=0)

    assert ("sessions", "0001_initial") in MigrationRecorder(connection).applied_migrations()
