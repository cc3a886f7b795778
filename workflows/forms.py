"""The form of a workflow: its row's fields and the pipeline's YAML, kept byte for byte."""

import re
from difflib import SequenceMatcher

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from workflows import engine
from workflows.models import Workflow
from workflows.services import NameTaken, PipelineRefused

STARTER = """\
# Says hello. Replace it with your own pipeline: components, how they are connected, and what goes in and out.
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters:
      template: "Hello, {{ name }}! 你好,{{ name }}!"
      required_variables: [name]

connections: []

inputs:
  name: [prompt.name]
outputs:
  greeting: prompt.prompt
"""


SITE_DAYS = {"keep_jobs_days": "RETENTION_JOBS_DAYS", "keep_steps_days": "RETENTION_STEPS_DAYS"}


class WorkflowForm(forms.ModelForm):
    pipeline_yaml = forms.CharField(
        label=_("Pipeline YAML"),
        strip=False,
        widget=forms.Textarea(attrs={"class": "yaml", "rows": 26, "spellcheck": "false", "autocapitalize": "off"}),
    )
    # The revision that the page was made from: whoever saves must not undo what somebody else saved meanwhile.
    based_on = forms.CharField(required=False, widget=forms.HiddenInput)

    # What the service refused when this same request tried to save, set by the admin.
    refused: Exception | None = None
    problems: tuple[engine.Problem, ...] = ()

    class Meta:
        model = Workflow
        fields = (
            "name",
            "version",
            "description",
            "tags",
            "concurrency_limit",
            "is_active",
            "keep_jobs_days",
            "keep_steps_days",
        )
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, days in SITE_DAYS.items():
            if name in self.fields:  # not for those who may only look
                self.fields[name].help_text = _site_says(getattr(settings, days))
        revision = self.instance.current_revision
        self.stored = revision.pipeline_yaml if revision else ""
        if revision:
            self.initial["pipeline_yaml"] = self.stored
            self.initial["based_on"] = str(revision.pk)

    def clean_pipeline_yaml(self) -> str:
        return with_newlines_of(self.stored, self.cleaned_data["pipeline_yaml"])

    def clean(self):
        cleaned = super().clean()
        revision = self.instance.current_revision
        if revision and cleaned.get("based_on") and cleaned["based_on"] != str(revision.pk):
            self.add_error(
                None,
                _("Somebody saved revision %(number)s while you were editing. Open the page anew to see it.")
                % {"number": revision.number},
            )
        match self.refused:
            case PipelineRefused(problems=problems):
                self.problems = tuple(problems)
                for problem in problems:
                    self.add_error("pipeline_yaml", placed(problem))
            case NameTaken():
                self.add_error("name", _("There is already a workflow of this name and version."))
            case engine.RunnerUnavailable():
                self.add_error(
                    "pipeline_yaml",
                    _("The pipeline cannot be checked now, because the runner does not answer. Try again in a moment."),
                )
        return cleaned


def _site_says(days: int) -> str:
    if not days:
        return _("Days after their end. Empty: as the site does, for ever.")
    return _("Days after their end; 0 for ever. Empty: as the site does, %(days)s days.") % {"days": days}


def placed(problem: engine.Problem) -> str:
    """A problem as one line: where, then what."""
    place = f"{problem.line}:{problem.column or 1}: " if problem.line else ""
    return f"{place}{problem.message}"


def with_newlines_of(stored: str, submitted: str) -> str:
    """The submitted text with the line ends of the stored one: browsers send CRLF whatever they were given.

    A line that was not changed keeps its own; a new one gets the kind that the stored text uses most.
    """
    wanted = _split(submitted)
    if not stored:
        return "\n".join(line for line, _end in wanted)
    known = _split(stored)
    ends = [end for _line, end in known if end]
    usual = max(set(ends), key=ends.count) if ends else "\n"
    if len(set(ends)) < 2:
        return usual.join(line for line, _end in wanted)
    result = [end and usual for _line, end in wanted]
    matcher = SequenceMatcher(None, [line for line, _ in known], [line for line, _ in wanted], autojunk=False)
    for i, j, size in matcher.get_matching_blocks():
        for step in range(size):
            if result[j + step] and known[i + step][1]:
                result[j + step] = known[i + step][1]
    return "".join(line + end for (line, _end), end in zip(wanted, result, strict=True))


def _split(text: str) -> list[tuple[str, str]]:
    """(line, its end) for each line; only CRLF, CR and LF end one, as in a browser."""
    parts = re.split(r"(\r\n|\r|\n)", text)
    return list(zip(parts[::2], [*parts[1::2], ""], strict=True))
