"""Makes SQLite search as servers do: `contains` in the case as written, `icontains` in any case of any alphabet.

SQLite's own LIKE takes A for a and nothing else for its lower case, whatever it was asked.
"""

from django.db.backends.signals import connection_created
from django.db.models import CharField, TextField, lookups


class Contains(lookups.Contains):
    def as_sqlite(self, compiler, connection):
        if not self.rhs_is_direct_value():
            return self.as_sql(compiler, connection)
        column, parameters = self.process_lhs(compiler, connection)
        return f"INSTR({column}, %s) > 0", [*parameters, str(self.rhs)]


class IContains(lookups.IContains):
    def as_sqlite(self, compiler, connection):
        text = str(self.rhs)
        # LIKE is right where it can be, and ten times as fast as a function of ours.
        if not self.rhs_is_direct_value() or text.isascii() or text.lower() == text.upper():
            return self.as_sql(compiler, connection)
        column, parameters = self.process_lhs(compiler, connection)
        return f"INSTR(LOWER_ANY({column}), %s) > 0", [*parameters, text.lower()]


def _add_functions(connection, **kwargs):
    if connection.vendor == "sqlite":
        connection.connection.create_function("LOWER_ANY", 1, _lower, deterministic=True)


def _lower(text: str | None) -> str | None:
    return None if text is None else str(text).lower()


def register() -> None:
    for field in (CharField, TextField):
        field.register_lookup(Contains)
        field.register_lookup(IContains)
    connection_created.connect(_add_functions)
