"""The API of jobs: submit, follow, cancel and retry."""

from functools import partial

from django.http import Http404, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import Workspace
from aiworkflow_project.api.authentication import workspace_id_of
from aiworkflow_project.api.errors import Conflict, Refused, field_errors, trigger_data_errors
from aiworkflow_project.api.filters import StrictFilterBackend
from aiworkflow_project.api.idempotency import idempotent
from aiworkflow_project.api.lists import ListMixin
from aiworkflow_project.api.renderers import EventStreamRenderer, JSONRenderer
from aiworkflow_project.api.routes import location
from aiworkflow_project.api.schema import IDEMPOTENCY_KEY, PREFER_WAIT
from aiworkflow_project.db.prepared import Prepared
from jobs import services
from jobs.api.events import EventStream
from jobs.api.filters import JobFilter
from jobs.api.serializers import JobChangeSerializer, JobSerializer, StepSerializer, WaitSerializer, asked_for
from jobs.api.waiting import may_wait, told
from jobs.api.workflows import known_workflows, named_workflow
from jobs.models import Job, JobStep
from jobs.waiting import why
from workflows import engine
from workflows.models import Workflow

LAST_EVENT = 2**31 - 1

_row = Prepared(
    lambda workspace, pk: JobSerializer.rows(Job.objects.filter(workspace_id=workspace, pk=pk)),
    Workspace._meta.pk,
    Job._meta.pk,
)
REFUSALS = (Refused, services.InactiveWorkflow, engine.TriggerDataRefused, services.WorkflowChanged)


class JobViewSet(ListMixin, GenericViewSet):
    """`ai_workflow_job`: runs of definitions on given trigger data."""

    queryset = Job.objects.all()
    serializer_class = JobSerializer
    filter_backends = [StrictFilterBackend]
    filterset_class = JobFilter
    indexed_within = "workspace"
    ordering_default = "created_at_time"
    ordering_choices = {
        "job_name_str": "name",
        "status_str": "status",
        "started_at_time": "started_at",
        "completed_at_time": "completed_at",
        "execution_time_seconds": "execution_seconds",
        "created_at_time": "created_at",
        "updated_at_time": "updated_at",
    }
    permissions_of = {
        "cancel": ["jobs.change_job"],
        "retry": ["jobs.add_job"],
        "events": ["jobs.view_job"],
        "waiting": ["jobs.view_job"],
    }

    def get_queryset(self):
        return super().get_queryset().filter(workspace_id=workspace_id_of(self.request))

    def get_object(self) -> Job:
        job = self.get_queryset().filter(pk=self.kwargs["pk"]).first()
        if job is None:
            raise Http404
        return job

    def _row(self, pk) -> dict:
        for row in JobSerializer.answer(_row(workspace_id_of(self.request), pk)):
            return row
        raise Http404

    def list(self, request):
        """List jobs, newest first."""
        page = self.page()
        return self.get_paginated_response(page)

    @extend_schema(
        operation_id="ai_workflow_job_submit",
        parameters=[IDEMPOTENCY_KEY, PREFER_WAIT],
        responses={201: JobSerializer},
    )
    @may_wait
    @idempotent
    def create(self, request, *, keep):
        """Submit a job. The trigger data is checked before it is accepted."""
        submit = partial(self._submit, also=keep(self._created))
        known = named_workflow(request, from_memory=True)
        try:
            job = submit(known, from_memory=True)
        except REFUSALS:  # perhaps only by what is no longer so
            known_workflows.forget()
            job = submit(named_workflow(request))
        return self._created(job)

    def _submit(self, workflow: Workflow | None, **options) -> Job:
        body = JobSerializer(data=self.request.data, context={"workflow": workflow})
        if not body.is_valid():
            raise Refused(field_errors(body.errors) + _further_errors(workflow, body))
        return services.submit(
            workflow,
            **asked_for(body.validated_data),
            created_by=self.request.user,
            request_id=self.request.id,
            **options,
        )

    def _created(self, job: Job) -> Response:
        where = location(self.request, "ai_workflow_job", job.pk)
        return Response(JobSerializer.row_of(job), status=status.HTTP_201_CREATED, headers={"Location": where})

    @extend_schema(operation_id="ai_workflow_job_read")
    def retrieve(self, request, pk):
        """Read a job."""
        return Response(self._row(pk))

    @extend_schema(operation_id="ai_workflow_job_rename", request=JobChangeSerializer, responses={200: JobSerializer})
    def partial_update(self, request, pk):
        """Rename a job. Nothing else of it is a client's to change."""
        job = self.get_object()
        body = JobChangeSerializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        if body.validated_data:
            job.rename(body.validated_data["name"])
        return Response(self._row(pk))

    @extend_schema(operation_id="ai_workflow_job_delete", responses={204: OpenApiResponse(description="Deleted.")})
    def destroy(self, request, pk):
        """Delete a job that is over, with its steps and events."""
        job = self.get_object()
        if not job.is_over:
            raise Conflict(f"A {job.status} job can't be deleted: cancel it first.", "invalid_transition")
        job.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="ai_workflow_job_cancel", request=None, responses={200: JobSerializer})
    def cancel(self, request, pk):
        """Cancel a job: at once while it is pending; while it is running, its worker is asked to stop it."""
        self.get_object().cancel()
        return Response(self._row(pk))

    @extend_schema(
        operation_id="ai_workflow_job_retry",
        request=None,
        parameters=[IDEMPOTENCY_KEY, PREFER_WAIT],
        responses={201: JobSerializer},
    )
    @may_wait
    @idempotent
    def retry(self, request, pk, *, keep):
        """Submit the data of a job that is over as a new job."""
        job = services.retry(
            self.get_object(), created_by=request.user, request_id=request.id, also=keep(self._created)
        )
        return self._created(job)

    @extend_schema(operation_id="ai_workflow_job_waiting", responses={200: WaitSerializer})
    def waiting(self, request, pk):
        """Why a pending job has not started: its time, its definition's limit, no worker, or its place in the queue."""
        job = self.get_queryset().select_related("workflow").filter(pk=pk).first()
        if job is None:
            raise Http404
        return Response(told(why(job)))


def _further_errors(workflow, body) -> list[dict]:
    """What is wrong with the trigger data when something else is wrong as well."""
    if workflow is None or "trigger_data_json" in body.errors or "trigger_data_json" not in body.initial_data:
        return []
    data = body.fields["trigger_data_json"].run_validation(body.initial_data["trigger_data_json"])
    try:
        engine.accept(workflow.current_revision.description, data)
    except engine.TriggerDataRefused as error:
        return trigger_data_errors(error)
    return []


class StepViewSet(ListMixin, GenericViewSet):
    """The steps of a job, in the order in which they started; the attempts one after another."""

    queryset = JobStep.objects.all()
    serializer_class = StepSerializer
    filter_backends = [StrictFilterBackend]
    permissions_of = {"list": ["jobs.view_job"]}

    def get_queryset(self):
        return (
            super()
            .get_queryset()
            .filter(job=self.kwargs["pk"], job__workspace_id=workspace_id_of(self.request))
            .order_by("attempt", "position")
        )

    @extend_schema(operation_id="ai_workflow_job_steps")
    def list(self, request, pk):
        page = self.page()
        if not page and not Job.objects.filter(pk=pk, workspace_id=workspace_id_of(request)).exists():
            raise Http404
        return self.get_paginated_response(page)


class EventViewSet(GenericViewSet):
    """What happens to a job, as it happens."""

    queryset = Job.objects.all()
    renderer_classes = [EventStreamRenderer, JSONRenderer]
    filter_backends = []
    permissions_of = {"follow": ["jobs.view_job"]}

    @extend_schema(
        operation_id="ai_workflow_job_events",
        parameters=[
            OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER, description="Resume after this event."),
            OpenApiParameter("after", int, description="The same, for a first connection from a browser."),
        ],
        responses={(200, "text/event-stream"): OpenApiTypes.STR},
    )
    def follow(self, request, pk):
        """Server-sent events `state`, `step` and `token`. The stream ends when the job is over."""
        after = self._after()
        job = (
            self.get_queryset().filter(pk=pk, workspace_id=workspace_id_of(request)).only("status", "event_seq").first()
        )
        if job is None:
            raise Http404
        if job.is_over and after >= job.event_seq:
            # Tells a browser's EventSource not to connect again.
            return HttpResponse(status=status.HTTP_204_NO_CONTENT)
        if request.method == "HEAD":
            return HttpResponse(content_type=EventStream.CONTENT_TYPE)
        return EventStream(pk, after)

    def _after(self) -> int:
        headers, params = self.request.headers, self.request.query_params
        if "Last-Event-ID" in headers:
            return _event_number("Last-Event-ID", headers["Last-Event-ID"])
        return _event_number("after", params["after"]) if "after" in params else 0


def _event_number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= LAST_EVENT):
        raise ValidationError({name: [ErrorDetail("Must be the number of an event.", code="invalid")]})
    return int(text)
