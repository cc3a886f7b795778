from django.db import connection

VENDORS = {
    "test_on_sqlite.py": {"sqlite"},
    "test_on_servers.py": {"postgresql", "mysql"},
    "test_on_postgresql.py": {"postgresql"},
    "test_on_mariadb.py": {"mysql"},
}
collect_ignore = [name for name, vendors in VENDORS.items() if connection.vendor not in vendors]
