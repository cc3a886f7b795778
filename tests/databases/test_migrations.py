"""Migrations can be resumed where a database can't take back half of one (MariaDB, MySQL)."""

import pytest
from django.db.migrations.loader import MigrationLoader

LATER = {
    (app, name): migration
    for (app, name), migration in sorted(MigrationLoader(None).disk_migrations.items())
    if app in ("accounts", "workflows", "jobs") and not migration.initial
}


@pytest.mark.parametrize("key", LATER, ids=".".join)
def test_a_later_migration_makes_one_change_so_that_it_is_done_or_not(key):
    assert len(LATER[key].operations) == 1
