"""Jobs on the wire: the fields of `ai_workflow_job`, of its steps and of its events."""

from django.db.models import Case, When
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from aiworkflow_project.api.wire import OrFalse, OrNull, RawJSON, StrictCharField, WireSerializer
from jobs.bulk import BATCH_MOST
from jobs.models import Job, JobBatch, JobStep
from workflows import engine
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


class ReasonsField(StrictCharField):
    """Reasons to try again, comma separated, each one that the engine knows."""

    def to_internal_value(self, data):
        reasons = list(
            dict.fromkeys(word.strip() for word in super().to_internal_value(data).split(",") if word.strip())
        )
        for reason in reasons:
            if reason not in engine.RETRY_REASONS:
                known = ", ".join(engine.RETRY_REASONS)
                raise serializers.ValidationError(f"Choose from: {known}.", code="invalid_choice")
        return ",".join(reasons)


class OfWorkflow(serializers.Serializer):
    """A body that names a definition. The context has it, or None: whoever calls has looked it up."""

    ai_workflow_def_id = serializers.UUIDField()

    def validate_ai_workflow_def_id(self, value):
        if self.context["workflow"] is None:
            raise serializers.ValidationError("There is no such definition.", code="does_not_exist")
        return value


class WhilePending(Case):
    """What a job waits for, as long as it does."""

    def __init__(self):
        super().__init__(When(status=Job.Status.PENDING, then="waits_for"))

    def of(self, job: Job):
        return job.waits_for if job.status == Job.Status.PENDING else None


class JobSerializer(OfWorkflow, WireSerializer):
    trigger_data_json = TriggerDataField(default=dict, help_text="A JSON object, or a string that holds one.")
    status_str = serializers.ChoiceField(
        Job.Status.choices, default=Job.Status.PENDING, help_text="Only the service moves it on from `pending`."
    )
    result_data_json = serializers.JSONField(read_only=True, allow_null=True)
    error_code_str = serializers.CharField(read_only=True, allow_null=True)
    error_message_text = serializers.CharField(read_only=True, allow_null=True)
    ai_workflow_revision_int = serializers.IntegerField(read_only=True, help_text="The revision that this job runs.")
    retry_on_str = ReasonsField(
        required=False,
        max_length=255,
        allow_blank=True,
        help_text=f"Errors after which it is tried again, comma separated: {', '.join(engine.RETRY_REASONS)}.",
    )
    waits_for_str = serializers.ChoiceField(
        Job.WaitsFor.choices, read_only=True, allow_null=True, help_text="What keeps it pending; null when it is not."
    )
    batch_id = serializers.UUIDField(read_only=True, allow_null=True)
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
            "priority_int": "priority",
            "timeout_seconds": "timeout_seconds",
            "attempt_int": "attempt",
            "max_attempts_int": "max_attempts",
            "retry_on_str": "retry_on",
            "not_before_time": "available_at",
            "waits_for_str": WhilePending(),
            "cancel_requested_at_time": "cancel_requested_at",
            "batch_id": "batch_id",
            "retry_of_id": "retry_of_id",
            "steps_pruned_flag": OrFalse("steps_pruned"),
            "user_id": "created_by_id",
            "created_at_time": "created_at",
            "updated_at_time": "updated_at",
        }
        read_only_fields = ["attempt_int"]
        extra_kwargs = {
            "priority_int": {"help_text": "0 to 9; the highest is run first."},
            "timeout_seconds": {"required": False, "help_text": "Of one attempt."},
            "max_attempts_int": {"required": False},
            "not_before_time": {"help_text": "It is not tried before. While it waits after a failure: until when."},
        }

    def validate_status_str(self, value):
        if value != Job.Status.PENDING:
            raise serializers.ValidationError("A job is submitted as pending.", code="not_pending")
        return value


def asked_for(values: dict) -> dict:
    """What a valid body asks for, as the services' `new_job` takes it."""
    control = ("priority", "timeout_seconds", "max_attempts", "retry_on", "available_at")
    return {
        "trigger_data": values["trigger_data_json"],
        "name": values.get("name", ""),
        "control": {name: values[name] for name in control if name in values},
    }


class BatchSubmitSerializer(OfWorkflow):
    """A batch: what is common to its jobs, as in a job's own body, and the items, which may say otherwise."""

    batch_name_str = StrictCharField(max_length=255, allow_blank=True, default="")
    items = serializers.ListField(
        child=serializers.DictField(), allow_empty=False, max_length=BATCH_MOST, help_text="Bodies of jobs, in part."
    )


class BatchSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    ai_workflow_def_id = serializers.UUIDField()
    batch_name_str = serializers.CharField()
    jobs_int = serializers.IntegerField()
    pending_int = serializers.IntegerField()
    running_int = serializers.IntegerField()
    completed_int = serializers.IntegerField()
    failed_int = serializers.IntegerField()
    cancelled_int = serializers.IntegerField()
    user_id = serializers.IntegerField(allow_null=True)
    created_at_time = serializers.DateTimeField()

    @staticmethod
    def row(batch: JobBatch) -> dict:
        counts = batch.by_status()
        return {
            "id": batch.pk,
            "ai_workflow_def_id": batch.workflow_id,
            "batch_name_str": batch.name,
            "jobs_int": sum(counts.values()),
            **{f"{status}_int": number for status, number in counts.items()},
            "user_id": batch.created_by_id,
            "created_at_time": batch.created_at,
        }


class ItemErrorSerializer(serializers.Serializer):
    field = serializers.CharField(allow_null=True)
    code = serializers.CharField()
    detail = serializers.CharField()


class BatchItemSerializer(serializers.Serializer):
    index_int = serializers.IntegerField(help_text="The item's place in the request, from 0.")
    id = serializers.UUIDField(allow_null=True, help_text="The job; null when the item was refused.")
    errors = ItemErrorSerializer(many=True)


class BatchSubmittedSerializer(BatchSerializer):
    items = BatchItemSerializer(many=True)


class CancelledSerializer(serializers.Serializer):
    """What was done, or with `dry_run`, what would be."""

    dry_run_flag = serializers.BooleanField()
    pending_int = serializers.IntegerField(help_text="Cancelled at once.")
    running_int = serializers.IntegerField(help_text="Asked to stop.")
    more_flag = serializers.BooleanField(help_text="There are others: send the request again.")


class RetriedItemSerializer(serializers.Serializer):
    retry_of_id = serializers.UUIDField(help_text="The job that was found.")
    id = serializers.UUIDField(allow_null=True, help_text="The new job; null when it could not be submitted.")
    errors = ItemErrorSerializer(many=True)


class RetriedSerializer(serializers.Serializer):
    dry_run_flag = serializers.BooleanField()
    jobs_int = serializers.IntegerField(help_text="Submitted again.")
    more_flag = serializers.BooleanField(help_text="There are others: send the request again.")
    items = RetriedItemSerializer(many=True)


class HolderSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    job_name_str = serializers.CharField()
    status_str = serializers.CharField()


class WaitSerializer(serializers.Serializer):
    """Why a pending job has not started."""

    reason_str = serializers.ChoiceField(
        ["not_before", "backoff", "limit", "held", "no_worker", "queue"],
        allow_null=True,
        help_text="Null: not pending.",
    )
    detail_text = serializers.CharField(allow_null=True)
    until_time = serializers.DateTimeField(allow_null=True)
    position_int = serializers.IntegerField(allow_null=True, help_text="1 is the next; counted up to 10,001.")
    concurrency_limit_int = serializers.IntegerField(allow_null=True)
    held_by = HolderSerializer(many=True, help_text="Jobs that take up the definition's limit, ten at most.")
    workers_int = serializers.IntegerField(allow_null=True, help_text="Workers alive.")
    places_int = serializers.IntegerField(allow_null=True, help_text="Runs that they can supervise at once.")


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
