"""Django's MySQL backend over PyMySQL, a driver in pure Python, where mysqlclient is not installed."""

try:
    import MySQLdb  # noqa: F401
except ImportError:
    import pymysql

    pymysql.install_as_MySQLdb()

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.mysql import base  # needs the driver above


class DatabaseWrapper(base.DatabaseWrapper):
    def init_connection_state(self):
        if ("matrixone" in self.mysql_server_info.lower()) != (self.display_name == "MatrixOne"):
            raise ImproperlyConfigured(
                "DATABASE_URL must say matrixone:// for a server that is MatrixOne, and mysql:// for any other."
            )
        super().init_connection_state()
