"""The form with which a person runs a workflow: one field for each input of its description, or the JSON as a whole."""

import json

from django import forms
from django.utils.translation import gettext_lazy as _

from workflows import engine
from workflows.engine.strict_json import StrictJSONError, loads

SAMPLES = {
    "Document": {"content": "…", "meta": {}},
    "ChatMessage": {"role": "user", "content": [{"text": "…"}]},
    "ByteStream": {"data": "…", "mime_type": "text/plain", "meta": {}},
}
JSON_ROWS = 5


class StrictJSONField(forms.CharField):
    """JSON as text, through the same gate as the API's."""

    def __init__(self, **kwargs):
        rows = kwargs.pop("rows", JSON_ROWS)
        kwargs.setdefault("widget", forms.Textarea(attrs={"class": "json", "rows": rows, "spellcheck": "false"}))
        super().__init__(**kwargs)

    def to_python(self, value):
        text = super().to_python(value)
        if text in self.empty_values:
            return None
        try:
            return loads(text)
        except StrictJSONError as error:
            raise forms.ValidationError(str(error), code="invalid") from error


class TextOrJSONField(StrictJSONField):
    """For inputs that take anything: text as it is, and JSON where it begins like an object or a list."""

    def __init__(self, **kwargs):
        super().__init__(**{"strip": False, **kwargs})

    def to_python(self, value):
        looks_like_json = isinstance(value, str) and value.lstrip().startswith(("{", "["))
        return super().to_python(value) if looks_like_json else forms.CharField.to_python(self, value)


class ChoiceOfJSONField(forms.ChoiceField):
    """A choice among JSON values: enums need not be texts."""

    def __init__(self, *, values, **kwargs):
        texts = {json.dumps(value, ensure_ascii=False): value for value in values}
        choices = [(text, value if isinstance(value, str) else text) for text, value in texts.items()]
        super().__init__(choices=[("", "–"), *choices], **kwargs)

    def clean(self, value):
        value = super().clean(value)
        return json.loads(value) if value else None


class RunForm(forms.Form):
    """Trigger data for one description. `trigger_data` is what was asked for, once the form is valid."""

    job_name = forms.CharField(label=_("Name of the job"), max_length=255, required=False)
    shape = forms.ChoiceField(
        choices=[("form", _("Form")), ("json", _("JSON"))], initial="form", widget=forms.RadioSelect, required=False
    )
    whole = StrictJSONField(label=_("Trigger data as JSON"), required=False, rows=14)

    def __init__(self, description: dict, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.description = description
        self.inputs = {f"input_{number}": name for number, name in enumerate(description["inputs"])}
        by_form = self.data.get("shape", "form") != "json" if self.is_bound else True
        for key, name in self.inputs.items():
            spec = description["inputs"][name]
            self.fields[key] = field = _field(name, spec)
            field.required = field.required and by_form
            field.json_type = spec.get("type", "")
            # The browser would otherwise hold back a form whose other tab is filled in.
            field.widget.use_required_attribute = lambda initial: False
        if not self.is_bound:
            self.initial.setdefault("whole", json.dumps(sample(description), ensure_ascii=False, indent=2))

    @property
    def input_fields(self):
        return [self[key] for key in self.inputs]

    @property
    def trigger_data(self) -> dict:
        if self.cleaned_data.get("shape") == "json":
            return self.cleaned_data["whole"]
        given = {name: self.cleaned_data[key] for key, name in self.inputs.items()}
        return {name: value for name, value in given.items() if value not in (None, "")}

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("shape") == "json" and "whole" in cleaned and not isinstance(cleaned["whole"], dict):
            self.add_error("whole", _("Trigger data is a JSON object."))
        return cleaned

    def refuse(self, problems: list[engine.InputProblem]) -> None:
        """Say what the engine did not accept, each problem at the field that it is about."""
        keys = {name: key for key, name in self.inputs.items()}
        by_json = self.cleaned_data.get("shape") == "json"
        for problem in problems:
            field = "whole" if by_json else keys.get(problem.path.partition(".")[0].partition("[")[0])
            where = f"{problem.path}: " if problem.path and (field in (None, "whole")) else ""
            self.add_error(field, f"{where}{problem.message}")


def sample(description: dict) -> dict:
    """Trigger data of the right shape: what is required, with an example of each type."""
    return {
        name: example(spec.get("schema", {}))
        for name, spec in description["inputs"].items()
        if spec.get("required", True)
    }


def example(schema: dict, depth: int = 0):
    """A small value that fits a JSON Schema well enough to start from."""
    schema = _inner(schema)
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return SAMPLES.get(schema["$ref"].rpartition("/")[2], {})
    kind = schema.get("type")
    if kind == "array":
        return [example(schema.get("items") or {}, depth + 1)] if depth < 4 else []
    if kind == "object":
        properties = schema.get("properties", {}) if depth < 4 else {}
        return {name: example(properties[name], depth + 1) for name in schema.get("required", ()) if name in properties}
    return {"integer": 1, "number": 1.0, "boolean": True, "null": None}.get(kind, "")


def _inner(schema: dict) -> dict:
    """The schema of a value that may also be null, without the null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    return choices[0] if choices else schema


def _field(name: str, spec: dict) -> forms.Field:
    schema = spec.get("schema", {})
    given = {
        "label": name,
        "required": spec.get("required", True),
        "help_text": spec.get("description", "") or schema.get("description", ""),
    }
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    inner = choices[0] if len(choices) == 1 else schema
    default = spec.get("default")
    kind = inner.get("type")
    if inner.get("enum"):
        return ChoiceOfJSONField(values=inner["enum"], **given)
    if kind in ("integer", "number"):
        field = forms.IntegerField if kind == "integer" else forms.FloatField
        attrs = {} if default is None else {"placeholder": str(default)}
        return field(
            min_value=inner.get("minimum"),
            max_value=inner.get("maximum"),
            widget=forms.NumberInput(attrs={"step": "1" if kind == "integer" else "any", **attrs}),
            **given,
        )
    if kind == "boolean":
        return ChoiceOfJSONField(values=[True, False], **given)
    if kind == "string":
        attrs = {"rows": 3}
        if isinstance(default, str):
            attrs["placeholder"] = default
        return forms.CharField(strip=False, widget=forms.Textarea(attrs=attrs), **given)
    if kind is None and "$ref" not in inner and "anyOf" not in inner:
        given["help_text"] = given["help_text"] or _("Text, or JSON that begins with { or [.")
        return TextOrJSONField(rows=3, **given)
    start = example(schema) if given["required"] else None
    initial = "" if start in (None, "") else json.dumps(start, ensure_ascii=False, indent=2)
    return StrictJSONField(initial=initial, rows=min(max(initial.count("\n") + 2, JSON_ROWS), 14), **given)
