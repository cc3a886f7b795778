"""Jobs on the wire: the fields of `ai_workflow_job`, of its steps and of its events."""

from django.db.models.functions import Coalesce
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from aiworkflow_project.api.wire import OrNull, RawJSON, StrictCharField, WireSerializer
from jobs.models import Job, JobStep
from workflows.engine import strict_json


@extend_schema_field({"oneOf": [{"type": "object", "additionalProperties": {}}, {"type": "string"}]})
class TriggerDataField(serializers.Field):
    """A JSON object, or a string that holds one."""

    default_error_messages = {"invalid": "A JSON object is required, or a string that holds one."}

    def to_internal_value(self, data):
        if isinstance(data, str):
            try:
                data = strict_json.loads(data)
            except strict_json.StrictJSONError as error:
                raise serializers.ValidationError(str(error), code="invalid") from error
        if not isinstance(data, dict):
            self.fail("invalid")
        return data


class JobSerializer(WireSerializer):
    """Writing takes the workflow itself from the context: whoever calls has looked it up."""

    ai_workflow_def_id = serializers.UUIDField()
    trigger_data_json = TriggerDataField(default=dict, help_text="A JSON object, or a string that holds one.")
    status_str = serializers.ChoiceField(
        Job.Status.choices, default=Job.Status.PENDING, help_text="Only the service moves it on from `pending`."
    )
    result_data_json = serializers.JSONField(read_only=True, allow_null=True)
    error_code_str = serializers.CharField(read_only=True, allow_null=True)
    error_message_text = serializers.CharField(read_only=True, allow_null=True)
    ai_workflow_revision_int = serializers.IntegerField(read_only=True, help_text="The revision that this job runs.")
    retry_of_id = serializers.UUIDField(read_only=True, allow_null=True)
    user_id = serializers.IntegerField(read_only=True, allow_null=True, help_text="Who submitted it.")
    steps_pruned_flag = serializers.BooleanField(
        read_only=True, help_text="Whether its steps and events were deleted because it is over for long enough."
    )

    class Meta:
        model = Job
        wire = {
            "id": "id",
            "ai_workflow_def_id": "workflow_id",
            "ai_workflow_revision_int": "revision__number",
            "job_name_str": "name",
            "trigger_data_json": RawJSON("trigger_data"),
            "status_str": "status",
            "result_data_json": RawJSON("result"),
            "error_code_str": OrNull("error_code"),
            "error_message_text": OrNull("error_message"),
            "started_at_time": "started_at",
            "completed_at_time": "completed_at",
            "execution_time_seconds": "execution_seconds",
            "timeout_seconds": "timeout_seconds",
            "attempt_int": "attempt",
            "max_attempts_int": "max_attempts",
            "cancel_requested_at_time": "cancel_requested_at",
            "retry_of_id": "retry_of_id",
            "steps_pruned_flag": Coalesce("steps_pruned", False),
            "user_id": "created_by_id",
            "created_at_time": "created_at",
            "updated_at_time": "updated_at",
        }
        read_only_fields = ["timeout_seconds", "attempt_int", "max_attempts_int"]

    def validate_ai_workflow_def_id(self, value):
        if self.context["workflow"] is None:
            raise serializers.ValidationError("There is no such definition.", code="does_not_exist")
        return value

    def validate_status_str(self, value):
        if value != Job.Status.PENDING:
            raise serializers.ValidationError("A job is submitted as pending.", code="not_pending")
        return value


class JobChangeSerializer(serializers.Serializer):
    """All that a client may change of a job."""

    job_name_str = StrictCharField(source="name", max_length=255, allow_blank=True)

    def run_validation(self, data=empty):
        wrong = {}
        if isinstance(data, dict):
            wrong = {
                str(name): [serializers.ErrorDetail("This can't be changed by a client.", code="read_only")]
                for name in data.keys() - self.fields.keys()
            }
        try:
            value = super().run_validation(data)
        except serializers.ValidationError as error:
            wrong |= error.detail
        if wrong:
            raise serializers.ValidationError(wrong)
        return value


class StepSerializer(WireSerializer):
    status_str = serializers.ChoiceField(JobStep.Status.choices)
    input_preview_json = serializers.JSONField(allow_null=True)
    output_preview_json = serializers.JSONField(allow_null=True)
    error_message_text = serializers.CharField(allow_null=True)

    class Meta:
        model = JobStep
        wire = {
            "id": "id",
            "attempt_int": "attempt",
            "position_int": "position",
            "component_name_str": "component",
            "component_type_str": "component_type",
            "visit_int": "visit",
            "status_str": "status",
            "started_at_time": "started_at",
            "completed_at_time": "completed_at",
            "execution_time_seconds": "execution_seconds",
            "input_preview_json": RawJSON("input_preview"),
            "output_preview_json": RawJSON("output_preview"),
            "error_message_text": OrNull("error_message"),
        }
