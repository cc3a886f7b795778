"""Workflows on the wire: the fields of `ai_workflow_def`, and of what hangs on it."""

from rest_framework import serializers

from aiworkflow_project.api.wire import StrictCharField, WireSerializer
from workflows.models import Workflow, WorkflowRevision


class WorkflowSerializer(WireSerializer):
    hs_yaml_content = StrictCharField(
        trim_whitespace=False, help_text="The pipeline in Haystack's YAML, kept byte for byte."
    )
    user_id = serializers.IntegerField(read_only=True, allow_null=True, help_text="Who created it.")
    ai_workflow_revision_int = serializers.IntegerField(
        read_only=True, help_text="The number of the revision that jobs run now; each new text is a new one."
    )

    class Meta:
        model = Workflow
        wire = {
            "id": "id",
            "name_str": "name",
            "description_text": "description",
            "hs_yaml_content": "current_revision__pipeline_yaml",
            "version_str": "version",
            "is_active_flag": "is_active",
            "tags_str": "tags",
            "concurrency_limit_int": "concurrency_limit",
            "keep_jobs_days_int": "keep_jobs_days",
            "keep_steps_days_int": "keep_steps_days",
            "ai_workflow_revision_int": "current_revision__number",
            "user_id": "created_by_id",
            "created_at_time": "created_at",
            "updated_at_time": "updated_at",
        }
        extra_kwargs = {
            "keep_jobs_days_int": {
                "help_text": "Days after its end that a job is kept; 0 for ever, null as the site's setting says."
            },
            "keep_steps_days_int": {
                "help_text": "The same for the steps and events of a job, which go with it at the latest."
            },
        }

    def to_internal_value(self, data):
        """The model's own field values, with the YAML beside them as `pipeline_yaml`."""
        values = super().to_internal_value(data)
        if revision := values.pop("current_revision", None):
            values["pipeline_yaml"] = revision["pipeline_yaml"]
        return values


class RevisionSerializer(WireSerializer):
    user_id = serializers.IntegerField(read_only=True, allow_null=True)

    class Meta:
        model = WorkflowRevision
        wire = {
            "id": "id",
            "revision_int": "number",
            "content_hash_str": "content_hash",
            "hs_yaml_content": "pipeline_yaml",
            "user_id": "created_by_id",
            "created_at_time": "created_at",
        }


class PipelineSerializer(serializers.Serializer):
    hs_yaml_content = StrictCharField(trim_whitespace=False)


class PipelineProblemSerializer(serializers.Serializer):
    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()
    path = serializers.CharField(help_text="Within the document: `components.prompt.type`.")
    line = serializers.IntegerField(allow_null=True)
    column = serializers.IntegerField(allow_null=True)


class InterfaceSerializer(serializers.Serializer):
    """What a pipeline takes and gives."""

    inputs = serializers.JSONField(help_text="JSON Schema of the trigger data, in its flat shape.")
    outputs = serializers.JSONField(help_text="By name, where each part of the result comes from and its type.")


class ValidationSerializer(serializers.Serializer):
    valid = serializers.BooleanField()
    errors = PipelineProblemSerializer(many=True)
    warnings = PipelineProblemSerializer(many=True)
    inputs = serializers.JSONField(allow_null=True, help_text="JSON Schema of the trigger data; null if not valid.")
    outputs = serializers.JSONField(allow_null=True)


class ComponentSummarySerializer(serializers.Serializer):
    type = serializers.CharField(help_text="The name to write in YAML.")
    name = serializers.CharField()
    summary = serializers.CharField()
    allowed = serializers.BooleanField(help_text="Whether a definition may use it here.")


class ComponentSerializer(serializers.Serializer):
    """What the runner knows of a component; more may be added."""

    type = serializers.CharField()
    name = serializers.CharField()
    docs = serializers.CharField()
    allowed = serializers.BooleanField()
