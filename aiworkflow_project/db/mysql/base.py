"""Django's backend for MySQL and MariaDB, with the surprises taken out that would make this product wrong there.

Text is compared as the other databases do, whatever collation the administrator's database was made with; the session
runs in UTC and in strict mode, whatever the server's own settings; a statement that is too long is an error of the
data and not of the connection. The driver is PyMySQL, in pure Python, where mysqlclient is not installed.
"""

try:
    import MySQLdb  # noqa: F401
except ImportError:
    import pymysql

    pymysql.install_as_MySQLdb()

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.mysql import base, features, operations, schema  # needs the driver above
from MySQLdb import DataError, OperationalError

ANY_CASE = {"iexact", "icontains", "istartswith", "iendswith"}
LOST_OR_TOO_LONG = {1153, 2006, 2013}  # a server that gets too long a statement may hang up before it says so


class DatabaseFeatures(features.DatabaseFeatures):
    # MariaDB sorts its own type by the last part of the id first, so that a range of ids would not be those that
    # begin alike, as the console's search by a part of an id has it.
    has_native_uuid_field = False


class DatabaseOperations(operations.DatabaseOperations):
    def lookup_cast(self, lookup_type, internal_type=None):
        found = super().lookup_cast(lookup_type, internal_type)
        return f"LOWER({found})" if lookup_type in ANY_CASE else found


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Gives each table a collation by which texts are the same when they are so byte for byte, trailing blanks too."""

    @property
    def sql_create_table(self):
        collation = "utf8mb4_nopad_bin" if self.connection.mysql_is_mariadb else "utf8mb4_0900_bin"
        return f"{super().sql_create_table} CHARACTER SET utf8mb4 COLLATE {collation}"


class CursorWrapper(base.CursorWrapper):
    def __init__(self, cursor, longest: int):
        super().__init__(cursor)
        self.longest = longest

    def execute(self, query, args=None):
        try:
            return super().execute(query, args)
        except OperationalError as error:
            if error.args[0] in LOST_OR_TOO_LONG and _size(args) > self.longest:
                raise DataError(
                    f"{_size(args):,} bytes are more than this server takes at once: its max_allowed_packet is "
                    f"{self.longest:,}."
                ) from error
            raise


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = DatabaseFeatures
    ops_class = DatabaseOperations
    SchemaEditorClass = DatabaseSchemaEditor
    operators = base.DatabaseWrapper.operators | dict.fromkeys(ANY_CASE, "LIKE LOWER(%s)")
    pattern_ops = base.DatabaseWrapper.pattern_ops | {
        name: f"LIKE LOWER({pattern.removeprefix('LIKE ')})"
        for name, pattern in base.DatabaseWrapper.pattern_ops.items()
        if name in ANY_CASE
    }
    max_allowed_packet = 0
    # Now() is to be the time that we store, which is in UTC; a text that is too long is not to be cut.
    session = "SET time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')"

    def init_connection_state(self):
        if ("matrixone" in self.mysql_server_info.lower()) != (self.display_name == "MatrixOne"):
            raise ImproperlyConfigured(
                "DATABASE_URL must say matrixone:// for a server that is MatrixOne, and mysql:// for any other."
            )
        super().init_connection_state()
        with self.cursor() as cursor:
            cursor.execute(self.session)
            cursor.execute("SELECT @@max_allowed_packet")
            [self.max_allowed_packet] = cursor.fetchone()

    def create_cursor(self, name=None):
        return CursorWrapper(self.connection.cursor(), self.max_allowed_packet)


def _size(args) -> int:
    """The bytes that the parameters take at least."""
    return sum(len(value.encode()) for value in args or () if isinstance(value, str))
