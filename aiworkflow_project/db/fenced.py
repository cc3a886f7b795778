"""Updates of rows that may have moved on meanwhile, and what is inserted only for those that have not."""

from django.db import connection, models, transaction

from aiworkflow_project.db.inserts import insert
from aiworkflow_project.db.postgresql import records
from aiworkflow_project.db.prepared import PreparedUpdate, cursor
from aiworkflow_project.db.rows import plain

UNSERVED = " IS NOT DISTINCT FROM "
# True of every key, and PostgreSQL takes it for true of one in two hundred (DEFAULT_RANGE_INEQ_SEL in its selfuncs.h).
FEW = "given.value_0 BETWEEN '00000000-0000-0000-0000-000000000000' AND 'ffffffff-ffff-ffff-ffff-ffffffffffff'"


class FencedUpdate(PreparedUpdate):
    """A `PreparedUpdate` of the one row of `model` whose key is the first value, if it is still as the rest asks.

    The key is a UUID.
    """

    def __init__(self, model: type[models.Model], build, *fields: models.Field):
        super().__init__(build, *fields)
        self._model = model
        self._at_once = {}  # by the kinds of rows that are inserted with it

    def each(self, rows: list[tuple], *groups: list[models.Model]) -> list[bool]:
        """Update for each of `rows`, which have different keys, and tell of each whether its row was changed.

        With them those new rows of each group are inserted whose foreign key names a row that was changed. All or
        nothing, and on PostgreSQL one statement.
        """
        if not rows:
            return []
        groups = [group for group in groups if group]
        if connection.vendor == "postgresql":
            changed = self._each_at_once(rows, groups)
            return [values[0] in changed for values in rows]
        with transaction.atomic(savepoint=False):
            done = [bool(self(*values)) for values in rows]
            changed = {values[0] for values, was_changed in zip(rows, done, strict=True) if was_changed}
            insert(*(self._naming(changed, group) for group in groups))
        return done

    def _naming(self, keys: set, group: list[models.Model]) -> list[models.Model]:
        name = self._foreign_key(type(group[0])).attname
        return [row for row in group if getattr(row, name) in keys]

    def _foreign_key(self, kind: type[models.Model]) -> models.ForeignKey:
        [key] = [field for field in kind._meta.concrete_fields if field.related_model is self._model]
        return key

    def _each_at_once(self, rows: list[tuple], groups: list[list[models.Model]]) -> set:
        kinds = tuple(type(group[0]) for group in groups)
        if kinds not in self._at_once:
            self._at_once[kinds] = self._statement(kinds)
        statement, before, names, after = self._at_once[kinds]
        fields = [(field, plain(field, connection.vendor)) for field in self._fields]
        given = records.parameter(names, [_prepared(values, fields) for values in rows])
        with cursor() as changed:
            changed.execute(statement, [*before, given, *after, *map(records.of, groups)])
            return {key for [key] in changed.fetchall()}

    def _statement(self, kinds: tuple[type[models.Model], ...]) -> tuple[str, list, list[str], list]:
        """Its text, with the names of a row's values, and the parameters before and after the rows."""
        sql, parameters, places = self._of_this_vendor()
        names = [f"value_{number}" for number in range(len(self._fields))]
        given = {place: name for name, at in zip(names, places, strict=True) for place in at}
        pieces, text = sql.split("%s"), ""
        for place, piece in enumerate(pieces[:-1]):
            text += piece + (f"given.{given[place]}" if place in given else "%s")
        changes, where, condition = (text + pieces[-1]).partition(" WHERE ")
        constants = [value for place, value in enumerate(parameters) if place not in given]
        first = changes.count("%s")

        quoted = connection.ops.quote_name
        key = f"{quoted(self._model._meta.db_table)}.{quoted(self._model._meta.pk.column)}"
        # Found by the key, whatever the server's statistics say: no index serves a condition that is written so. Where
        # they are of before a thousand jobs came, it would else look through all that wait, or through all that there
        # are, for each claim; for it takes any JSON to have a hundred rows.
        condition = condition.replace(" = ", UNSERVED).replace(f"{key}{UNSERVED}given.", f"{key} = given.")
        update = (
            f"{changes} FROM {records.table('given', dict(zip(names, self._fields, strict=True)))}{where}{condition} "
            f"AND {FEW} RETURNING {key} AS key"
        )
        were_changed = "SELECT key FROM part_0"
        inserts = [
            f"{records.insertion(kind, f'new_{number}')} "
            f"WHERE new_{number}.{quoted(self._foreign_key(kind).column)} IN ({were_changed})"
            for number, kind in enumerate(kinds)
        ]
        return records.together([update, *inserts], were_changed), constants[:first], names, constants[first:]


def _prepared(values: tuple, fields: list[tuple[models.Field, frozenset[type]]]) -> list:
    return [
        value if type(value) in as_it_is else field.get_db_prep_value(value, connection)
        for value, (field, as_it_is) in zip(values, fields, strict=True)
    ]
