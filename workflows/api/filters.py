"""What the list of workflows may be narrowed by."""

from aiworkflow_project.api.filters import FlagFilter, StrictFilterSet, TextFilter, WordsFilter, between


class WorkflowFilter(StrictFilterSet):
    name = TextFilter(method="named_like", max_length=255, may_be_empty=True, help_text="Contains, in any case.")
    version = TextFilter(field_name="version", max_length=50, help_text="Exactly.")
    tags = WordsFilter(
        method="tagged", max_length=500, help_text="One or several, comma separated: whole tags, all must be present."
    )
    is_active = FlagFilter(field_name="is_active")
    locals().update(between("created", "created_at") | between("updated", "updated_at"))

    def named_like(self, queryset, name, value):
        return queryset.named_like(value)

    def tagged(self, queryset, name, value):
        return queryset.tagged(*value)
