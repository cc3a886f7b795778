"""The form with which a person runs a workflow: its inputs, or the JSON as a whole, and how the job is to be run."""

import json
from datetime import UTC, datetime

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from jobs.models import LONG_AGO, Job
from jobs.services import usual_control
from workflows import engine
from workflows.engine.strict_json import StrictJSONError, loads

SAMPLES = {
    "Document": {"content": "…", "meta": {}},
    "ChatMessage": {"role": "user", "content": [{"text": "…"}]},
    "ByteStream": {"data": "…", "mime_type": "text/plain", "meta": {}},
}
JSON_ROWS = 5
# engine.RETRY_REASONS in words for people.
RETRY_REASONS = {
    "transient": _("errors that pass: time-outs, broken connections, HTTP 408, 425, 429 and 5xx"),
    "component_failed": _("any error of a component"),
    "timed_out": _("going over its time limit"),
    "pipeline_blocked": _("ending without any of its outputs"),
    "max_runs_exceeded": _("a component running more often than it may"),
    "load_failed": _("a pipeline that could not be loaded"),
    "out_of_memory": _("needing more memory than it may have"),
    "crashed": _("a crash of its process"),
    "result_not_json": _("a result that is no JSON"),
    "result_too_large": _("a result that is too large"),
}
OPTIONS = ("priority", "not_before", "timeout_seconds", "max_attempts", "retry_on")
FAR_OFF = datetime(9999, 1, 1, tzinfo=UTC)  # later ones can't be told in every time zone


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


def _number(name: str, label) -> forms.IntegerField:
    """One of a job's numbers, within the bounds of its model."""
    limits = Job._meta.get_field(name).validators
    return forms.IntegerField(
        label=label,
        required=False,
        min_value=max(limit.limit_value for limit in limits if isinstance(limit, MinValueValidator)),
        max_value=min(limit.limit_value for limit in limits if isinstance(limit, MaxValueValidator)),
    )


class RunForm(forms.Form):
    """A job of one description. `trigger_data` and `control` are what was asked for, once the form is valid."""

    job_name = forms.CharField(label=_("Name of the job"), max_length=255, required=False)
    shape = forms.ChoiceField(
        choices=[("form", _("Form")), ("json", _("JSON"))], initial="form", widget=forms.RadioSelect, required=False
    )
    whole = StrictJSONField(label=_("Trigger data as JSON"), required=False, rows=14)
    priority = _number("priority", _("Priority"))
    not_before = forms.DateTimeField(
        label=_("Not before"),
        required=False,
        validators=[MinValueValidator(LONG_AGO), MaxValueValidator(FAR_OFF)],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    timeout_seconds = _number("timeout_seconds", _("Time limit in seconds"))
    max_attempts = _number("max_attempts", _("Attempts at most"))
    retry_on = forms.MultipleChoiceField(
        label=_("Tried again after"),
        choices=RETRY_REASONS.items(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

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
        self._say_what_is_usual()
        if not self.is_bound:
            self.initial.setdefault("whole", json.dumps(sample(description), ensure_ascii=False, indent=2))

    def _say_what_is_usual(self) -> None:
        """At each option: what holds when it is left empty."""
        usual = usual_control(self.description)
        for name in ("priority", "timeout_seconds", "max_attempts"):
            self.fields[name].widget.attrs["placeholder"] = str(usual[name])
        zone = timezone.get_current_timezone_name()
        self.fields["not_before"].help_text = gettext("In the site's time zone, %(zone)s.") % {"zone": zone}
        reasons = gettext("; ").join(in_words(usual["retry_on"])) or gettext("nothing")
        self.fields["retry_on"].help_text = gettext("None chosen: after %(reasons)s.") % {"reasons": reasons}

    @property
    def input_fields(self):
        return [self[key] for key in self.inputs]

    @property
    def option_fields(self):
        return [self[name] for name in OPTIONS]

    @property
    def options_are_used(self) -> bool:
        return any(field.value() for field in self.option_fields)  # as there is where one has an error

    @property
    def trigger_data(self) -> dict:
        if self.cleaned_data.get("shape") == "json":
            return self.cleaned_data["whole"]
        given = {name: self.cleaned_data[key] for key, name in self.inputs.items()}
        return {name: value for name, value in given.items() if value not in (None, "")}

    @property
    def control(self) -> dict:
        """What was asked for of how the job is run, as the services' `new_job` takes it."""
        asked = {name: self.cleaned_data[name] for name in OPTIONS}
        asked["available_at"] = asked.pop("not_before")
        asked["retry_on"] = ",".join(asked["retry_on"])
        return {name: value for name, value in asked.items() if value not in (None, "")}

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


def in_words(retry_on: str) -> list[str]:
    """The reasons of a job's `retry_on`, for people."""
    return [str(RETRY_REASONS.get(reason, reason)) for reason in retry_on.split(",") if reason]


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
