"""The API of workflows: store, read, change and check definitions."""

from contextlib import suppress

from django.core.exceptions import ValidationError as FormError
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import Workspace
from aiworkflow_project.api import pagination
from aiworkflow_project.api.authentication import workspace_id_of
from aiworkflow_project.api.errors import Refused, field_errors, pipeline_errors
from aiworkflow_project.api.filters import FlagField, StrictFilterBackend, strangers
from aiworkflow_project.api.idempotency import idempotent
from aiworkflow_project.api.lists import ListMixin
from aiworkflow_project.api.routes import location
from aiworkflow_project.api.schema import IDEMPOTENCY_KEY
from aiworkflow_project.db.prepared import Prepared
from workflows import engine, services
from workflows.api.filters import WorkflowFilter
from workflows.api.serializers import (
    ComponentSerializer,
    ComponentSummarySerializer,
    InterfaceSerializer,
    PipelineSerializer,
    RevisionSerializer,
    ValidationSerializer,
    WorkflowSerializer,
)
from workflows.models import Workflow, WorkflowRevision

_row = Prepared(
    lambda workspace, pk: WorkflowSerializer.rows(Workflow.objects.kept().filter(workspace_id=workspace, pk=pk)),
    Workspace._meta.pk,
    Workflow._meta.pk,
)


class WorkflowViewSet(ListMixin, GenericViewSet):
    """`ai_workflow_def`: named, versioned pipelines."""

    queryset = Workflow.objects.kept()
    serializer_class = WorkflowSerializer
    filter_backends = [StrictFilterBackend]
    filterset_class = WorkflowFilter
    ordering_default = "updated_at_time"
    ordering_choices = {
        "name_str": "name",
        "version_str": "version",
        "is_active_flag": "is_active",
        "created_at_time": "created_at",
        "updated_at_time": "updated_at",
    }
    permissions_of = {"validate": ["workflows.add_workflow"]}

    def get_queryset(self):
        return super().get_queryset().filter(workspace_id=workspace_id_of(self.request))

    def get_object(self) -> Workflow:
        """The workflow of the address, with its revision, ready to be changed."""
        workflow = self.get_queryset().filter(pk=self.kwargs["pk"]).select_related("current_revision").first()
        if workflow is None:
            raise Http404
        return workflow

    def _validated(self, *, partial=False) -> dict:
        """The body's values. Raises Refused with every field that is wrong, the YAML's own problems included."""
        body = WorkflowSerializer(data=self.request.data, partial=partial)
        if body.is_valid():
            return body.validated_data
        wrong = field_errors(body.errors)
        text = self.request.data.get("hs_yaml_content") if isinstance(self.request.data, dict) else None
        if isinstance(text, str) and "hs_yaml_content" not in body.errors:
            with suppress(engine.RunnerUnavailable):
                wrong += pipeline_errors(engine.check(text).problems, "error")
        raise Refused(wrong)

    def _save(self, workflow: Workflow, given: dict, also=None) -> None:
        text = given.pop("pipeline_yaml", None)
        for name, value in given.items():
            setattr(workflow, name, value)
        text = text or workflow.current_revision.pipeline_yaml
        services.save(workflow, text, by=self.request.user, also=also)

    def _row(self, pk) -> dict:
        row = _row.first(workspace_id_of(self.request), pk)
        if row is None:
            raise Http404
        return row

    def list(self, request):
        """List definitions, newest change first."""
        page = self.page()
        return self.get_paginated_response(page)

    @extend_schema(
        operation_id="ai_workflow_def_create", parameters=[IDEMPOTENCY_KEY], responses={201: WorkflowSerializer}
    )
    @idempotent
    def create(self, request, *, keep):
        """Check the YAML and store it as a new definition."""
        given = self._validated()
        workflow = Workflow(workspace_id=workspace_id_of(request), created_by=request.user)
        self._save(workflow, given, also=keep(self._created))
        return self._created(workflow)

    def _created(self, workflow: Workflow) -> Response:
        where = location(self.request, "ai_workflow_def", workflow.pk)
        return Response(self._row(workflow.pk), status=status.HTTP_201_CREATED, headers={"Location": where})

    @extend_schema(operation_id="ai_workflow_def_read")
    def retrieve(self, request, pk):
        """Read a definition."""
        return Response(self._row(pk))

    @extend_schema(operation_id="ai_workflow_def_replace")
    def update(self, request, pk):
        """Replace a definition: what is not given goes back to its default."""
        workflow = self.get_object()
        # What has a default, or may be empty.
        for name in (
            "description",
            "version",
            "is_active",
            "tags",
            "concurrency_limit",
            "keep_jobs_days",
            "keep_steps_days",
        ):
            setattr(workflow, name, Workflow._meta.get_field(name).get_default())
        self._save(workflow, self._validated())
        return Response(self._row(pk))

    @extend_schema(operation_id="ai_workflow_def_change")
    def partial_update(self, request, pk):
        """Change what is given, and nothing else."""
        workflow = self.get_object()
        self._save(workflow, self._validated(partial=True))
        return Response(self._row(pk))

    @extend_schema(operation_id="ai_workflow_def_delete", responses={204: OpenApiResponse(description="Deleted.")})
    def destroy(self, request, pk):
        """Delete a definition. Jobs that ran keep it; its name is free again."""
        self.get_object().delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        operation_id="ai_workflow_def_validate", request=PipelineSerializer, responses={200: ValidationSerializer}
    )
    def validate(self, request):
        """Check YAML without saving it."""
        body = PipelineSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        checked = engine.check(body.validated_data["hs_yaml_content"])
        description = checked.description if checked.valid else None
        return Response(
            {
                "valid": checked.valid,
                "errors": pipeline_errors(checked.problems, "error"),
                "warnings": pipeline_errors(checked.problems, "warning"),
                "inputs": description and description["trigger_schema"],
                "outputs": description and description["outputs"],
            }
        )

    @extend_schema(operation_id="ai_workflow_def_schema", responses={200: InterfaceSerializer})
    def schema_of(self, request, pk):
        """The JSON Schema of a definition's trigger data, and its outputs."""
        description = self.get_object().current_revision.description
        return Response({"inputs": description["trigger_schema"], "outputs": description["outputs"]})


class RevisionViewSet(ListMixin, GenericViewSet):
    """The texts that a definition has had, newest first."""

    queryset = WorkflowRevision.objects.all()
    serializer_class = RevisionSerializer
    filter_backends = [StrictFilterBackend]
    permissions_of = {"list": ["workflows.view_workflow"]}

    def get_queryset(self):
        return (
            super()
            .get_queryset()
            .filter(
                workflow=self.kwargs["pk"],
                workflow__workspace_id=workspace_id_of(self.request),
                workflow__deleted_at=None,
            )
            .order_by("-number")
        )

    @extend_schema(operation_id="ai_workflow_def_revisions")
    def list(self, request, pk):
        page = self.page()
        if not page and not Workflow.objects.kept().filter(pk=pk, workspace_id=workspace_id_of(request)).exists():
            raise Http404
        return self.get_paginated_response(page)


class ComponentViewSet(GenericViewSet):
    """The installed components, and which of them a definition may use here."""

    queryset = Workflow.objects.none()  # whoever may read workflows may read what they can be made of
    serializer_class = ComponentSummarySerializer
    filter_backends = []

    @extend_schema(
        operation_id="components_list",
        parameters=[
            OpenApiParameter("name", str, description="Part of the type, in any case."),
            OpenApiParameter("allowed", bool, description="Only those that may be used, or only those that may not."),
        ],
        responses={200: ComponentSummarySerializer(many=True)},
    )
    def list(self, request):
        """List components by type."""
        part, allowed = self._asked_for(request.query_params)
        found = [
            {
                "type": entry["type"],
                "name": entry["name"],
                "summary": entry["docs"].partition("\n")[0],
                "allowed": entry["allowed"],
            }
            for _, entry in sorted(engine.catalog()["components"].items())
            if part in entry["type"].lower() and allowed in (None, entry["allowed"])
        ]
        return self.get_paginated_response(self.paginate_queryset(found))

    @staticmethod
    def _asked_for(params) -> tuple[str, bool | None]:
        wrong = strangers(params, {*pagination.BY_OFFSET, "name", "allowed"})
        allowed = None
        try:
            allowed = FlagField().clean(params["allowed"]) if "allowed" in params else None
        except FormError as error:
            wrong["allowed"] = [ErrorDetail(error.messages[0], code="invalid")]
        try:
            pagination.read(params)
        except ValidationError as error:
            wrong |= error.detail
        if wrong:
            raise ValidationError(wrong)
        return params.get("name", "").lower(), allowed

    @extend_schema(operation_id="components_read", responses={200: ComponentSerializer})
    def retrieve(self, request, type):
        """Read all that is known of one component: its documentation, parameters and sockets."""
        entry = engine.catalog()["components"].get(type)
        if entry is None:
            raise Http404
        return Response(entry)
