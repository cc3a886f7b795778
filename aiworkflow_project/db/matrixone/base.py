"""Django's MySQL backend for MatrixOne, which speaks MySQL's protocol and lacks some of what Django takes for granted.

What it lacks, by its sources and its own documentation up to 4.2: ROLLBACK TO SAVEPOINT, SKIP LOCKED and NOWAIT, CHECK
constraints, a filled information_schema.key_column_usage, LIKE BINARY. docs/databases.md says what was checked against
what. Savepoints weigh most: without them an error inside a nested `atomic()` ends the outer one too, which Django then
says at the next query, where MatrixOne itself would silently undo the outer block.
"""

from django.utils.functional import cached_property

from aiworkflow_project.db.mysql import base


class DatabaseFeatures(base.DatabaseWrapper.features_class):
    uses_savepoints = False
    can_release_savepoints = False
    has_select_for_update_nowait = False
    has_select_for_update_skip_locked = False
    has_select_for_update_of = False
    # On by default there; Django would switch it off in a statement that PyMySQL does not send.
    is_sql_auto_is_null_enabled = False
    supports_column_check_constraints = False
    supports_table_check_constraints = False
    can_introspect_check_constraints = False
    supports_expression_indexes = False
    supports_expression_defaults = False
    supports_stored_generated_columns = False
    supports_virtual_generated_columns = False
    has_native_uuid_field = False
    has_zoneinfo_database = False


class DatabaseIntrospection(base.DatabaseWrapper.introspection_class):
    _FOREIGN_KEYS = """
        SELECT constraint_name, column_name, refer_table_name, refer_column_name
        FROM mo_catalog.mo_foreign_keys WHERE db_name = DATABASE() AND table_name = %s
    """

    def get_relations(self, cursor, table_name):
        cursor.execute(self._FOREIGN_KEYS, [table_name])
        return {column: (other_column, other_table) for _name, column, other_table, other_column in cursor.fetchall()}

    def get_constraints(self, cursor, table_name):
        """Keys and indexes from SHOW INDEX, foreign keys from MatrixOne's own catalogue."""
        constraints = super().get_constraints(cursor, table_name)
        for name, constraint in constraints.items():
            constraint["primary_key"] = name == "PRIMARY"
        cursor.execute(self._FOREIGN_KEYS, [table_name])
        for name, column, other_table, other_column in cursor.fetchall():
            constraints[name] = {
                "columns": [column],
                "primary_key": False,
                "unique": False,
                "index": False,
                "check": False,
                "foreign_key": (other_table, other_column),
                "orders": [],
            }
        return constraints


class DatabaseWrapper(base.DatabaseWrapper):
    display_name = "MatrixOne"
    features_class = DatabaseFeatures
    introspection_class = DatabaseIntrospection
    SchemaEditorClass = base.schema.DatabaseSchemaEditor  # all its tables are utf8mb4_bin
    session = "SET time_zone = '+00:00'"

    # Its collation is binary, and LIKE with it.
    operators = {name: sql.replace("LIKE BINARY", "LIKE") for name, sql in base.DatabaseWrapper.operators.items()}
    pattern_ops = {name: sql.replace("LIKE BINARY", "LIKE") for name, sql in base.DatabaseWrapper.pattern_ops.items()}

    @cached_property
    def data_type_check_constraints(self):
        return {}
