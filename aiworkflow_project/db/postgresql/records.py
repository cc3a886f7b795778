"""Any number of rows as one parameter: the statement has the same text for all numbers, and is kept by the server.

Rows sent one after the other in a pipeline would leave the server between two of them, with locks held and no clock
running, when we are frozen or cut off there: it takes a session for idle only after all that it was to be sent.
"""

import orjson
from django.db import connection, models

from aiworkflow_project.db import rows as new_rows


def table(alias: str, columns: dict[str, models.Field]) -> str:
    """What stands in FROM for the rows of a parameter with these columns."""
    types = (f"{connection.ops.quote_name(name)} {field.cast_db_type(connection)}" for name, field in columns.items())
    return f"json_to_recordset(%s::json) AS {alias} ({', '.join(types)})"


def parameter(names: list[str], rows: list[list]) -> str:
    """Rows of values, which their fields have prepared for the database."""
    return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows]).decode()


def insertion(model: type[models.Model], alias: str) -> str:
    """An INSERT of the rows of one parameter, to which a condition on `alias` may be added."""
    columns = {field.column: field for field in new_rows.written(model)}
    names = new_rows.columns(model)
    return f"{new_rows.insertion(model)} SELECT {names} FROM {table(alias, columns)}"  # noqa: S608 - of names only


def together(parts: list[str], last: str) -> str:
    """One statement of several, none of which sees what another changed; `last` gives the result."""
    if not parts:
        return last
    return f"WITH {', '.join(f'part_{n} AS ({part})' for n, part in enumerate(parts))} {last}"


def of(rows: list[models.Model]) -> str:
    """The parameter of `insertion`."""
    return parameter([field.column for field in new_rows.written(type(rows[0]))], list(map(new_rows.values, rows)))
