"""Model fields for JSON and for texts that must come back exactly as they went in, on every database."""

import json

from django.core.exceptions import ValidationError
from django.db import models


class JSONTextField(models.TextField):
    """A JSON value kept as text.

    The databases' own JSON types lose key order (PostgreSQL, MySQL), refuse U+0000 (PostgreSQL), turn big
    integers into floats (MySQL) or stop at 31 levels (MariaDB). We never search inside these values, so text
    is both safer and faster. The value must have passed `engine.strict_json` or come from the runner.
    """

    def from_db_value(self, value, expression, connection):
        return None if value is None else json.loads(value)

    def to_python(self, value):
        if isinstance(value, str):
            try:
                return json.loads(value)
            except ValueError as error:
                raise ValidationError(str(error), code="invalid") from error
        return value

    def get_prep_value(self, value):
        return None if value is None else dump(value)

    def value_to_string(self, obj):
        return dump(self.value_from_object(obj))


class AnyTextField(models.TextField):
    """A text of whatever characters, as components write it.

    PostgreSQL refuses U+0000. A text that has one is kept as JSON, which escapes it, behind a mark that is no character
    and begins no other text.
    """

    MARK = "\ufdd0"

    def from_db_value(self, value, expression, connection):
        if value and value.startswith(self.MARK):
            return json.loads(value.removeprefix(self.MARK))
        return value

    def get_prep_value(self, value):
        value = super().get_prep_value(value)
        if value and ("\0" in value or value.startswith(self.MARK)):
            return self.MARK + dump(value)
        return value


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dump(value) -> str:
    """The compact text that the field stores."""
    return _encoder.encode(value)
