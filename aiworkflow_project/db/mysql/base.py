"""Django's MySQL backend over PyMySQL, a driver in pure Python, where mysqlclient is not installed."""

try:
    import MySQLdb  # noqa: F401
except ImportError:
    import pymysql

    pymysql.install_as_MySQLdb()

from django.db.backends.mysql.base import DatabaseWrapper  # noqa: F401 - needs the driver above
