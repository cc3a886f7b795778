"""The API of many jobs at once: batches, and cancelling and retrying what a filter finds."""

from django.core.exceptions import ValidationError as FormError
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from aiworkflow_project.api.authentication import workspace_id_of
from aiworkflow_project.api.errors import Refused, as_answer, field_errors, trigger_data_errors
from aiworkflow_project.api.filters import FlagField, StrictFilterBackend, strangers, translated
from aiworkflow_project.api.idempotency import idempotent
from aiworkflow_project.api.routes import location
from aiworkflow_project.api.schema import IDEMPOTENCY_KEY
from jobs import bulk
from jobs.api.filters import JobFilter
from jobs.api.serializers import (
    BatchSerializer,
    BatchSubmitSerializer,
    BatchSubmittedSerializer,
    CancelledSerializer,
    JobSerializer,
    RetriedSerializer,
    asked_for,
)
from jobs.api.workflows import named_workflow
from jobs.models import Job, JobBatch
from workflows import engine

DRY_RUN = OpenApiParameter("dry_run", bool, description="Only count what would be done.")


class BatchViewSet(GenericViewSet):
    """Batches: up to 1,000 jobs of one definition, submitted by one call."""

    queryset = JobBatch.objects.all()
    serializer_class = BatchSerializer
    filter_backends = []
    permissions_of = {"create": ["jobs.add_job"], "retrieve": ["jobs.view_job"]}

    @extend_schema(
        operation_id="ai_workflow_job_batch_submit",
        request=BatchSubmitSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: BatchSubmittedSerializer},
    )
    @idempotent
    def create(self, request, *, keep):
        """Submit a batch.

        Each of `items` is the body of a job, less what the batch's own body says for all of them. Items that can't be
        accepted are refused one by one; when none can be accepted, nothing is created.
        """
        workflow = named_workflow(request)
        body = BatchSubmitSerializer(data=request.data, context={"workflow": workflow})
        body.is_valid(raise_exception=True)
        common = {name: value for name, value in request.data.items() if name not in ("items", "batch_name_str")}
        valid, refused = {}, {}
        for number, item in enumerate(body.validated_data["items"]):
            one = JobSerializer(data=common | item, context={"workflow": workflow})
            if one.is_valid():
                valid[number] = asked_for(one.validated_data)
            else:
                refused[number] = field_errors(one.errors)
        places = list(valid)

        def all_errors(of_data: dict[int, engine.TriggerDataRefused]) -> dict[int, list[dict]]:
            return refused | {places[number]: trigger_data_errors(error) for number, error in of_data.items()}

        def respond(submitted: bulk.Submitted) -> Response:
            jobs = {places[number]: job for number, job in submitted.jobs.items()}
            errors = all_errors(submitted.refused)
            items = [_item(n, jobs[n].pk if n in jobs else None, errors.get(n, [])) for n in sorted({*jobs, *errors})]
            where = location(request, "ai_workflow_job_batch", submitted.batch.pk)
            answer = BatchSerializer.row(submitted.batch) | {"items": items}
            return Response(answer, status=status.HTTP_201_CREATED, headers={"Location": where})

        try:
            submitted = bulk.submit_batch(
                workflow,
                list(valid.values()),
                name=body.validated_data["batch_name_str"],
                created_by=request.user,
                request_id=request.id,
                also=keep(respond),
            )
        except bulk.NothingAccepted as nothing:
            errors = all_errors(nothing.refused)
            raise Refused(
                [{**error, "field": f"items[{n}].{error['field']}"} for n in sorted(errors) for error in errors[n]]
            ) from nothing
        return respond(submitted)

    @extend_schema(operation_id="ai_workflow_job_batch_read", responses={200: BatchSerializer})
    def retrieve(self, request, pk):
        """Read a batch: how many of its jobs are in which state. The jobs themselves: `?batch_id=` in their list."""
        batch = self.get_queryset().filter(pk=pk, workspace_id=workspace_id_of(request)).first()
        if batch is None:
            raise Http404
        return Response(BatchSerializer.row(batch))


class BulkViewSet(GenericViewSet):
    """What a filter of the list finds, cancelled or retried."""

    queryset = Job.objects.all()
    filter_backends = [StrictFilterBackend]
    filterset_class = JobFilter
    pagination_class = None
    permissions_of = {"cancel": ["jobs.change_job"], "retry": ["jobs.add_job"]}

    def _matching(self) -> tuple:
        """The jobs that the address's filters find, and whether this is a dry run."""
        params = self.request.query_params
        wrong = strangers(params, {*JobFilter.base_filters, "dry_run"})
        dry_run = False
        try:
            dry_run = FlagField().clean(params.get("dry_run", "false"))
        except FormError as error:
            wrong["dry_run"] = [ErrorDetail(error.message, code=error.code)]
        mine = Job.objects.in_workspace(workspace_id_of(self.request))
        filters = JobFilter({name: params[name] for name in params if name != "dry_run"}, mine, request=self.request)
        if not filters.is_valid():
            wrong |= translated(filters.errors)
        if not wrong and not filters.data:
            said = "Name at least one filter: with none, it would be all jobs that there are."
            wrong["status"] = [ErrorDetail(said, code="required")]
        if wrong:
            raise ValidationError(wrong)
        return filters.qs, dry_run

    @extend_schema(
        operation_id="ai_workflow_job_cancel_all",
        request=None,
        parameters=[DRY_RUN],
        responses={200: CancelledSerializer},
    )
    def cancel(self, request):
        """Cancel the jobs that the filters find: pending ones at once, running ones are asked to stop.

        10,000 at most.
        """
        jobs, dry_run = self._matching()
        done = bulk.may_cancel(jobs) if dry_run else bulk.cancel_all(jobs)
        return Response(
            {
                "dry_run_flag": dry_run,
                "pending_int": done.pending,
                "running_int": done.running,
                "more_flag": done.more,
            }
        )

    @extend_schema(
        operation_id="ai_workflow_job_retry_all",
        request=None,
        parameters=[DRY_RUN, IDEMPOTENCY_KEY],
        responses={200: RetriedSerializer, 201: RetriedSerializer},
    )
    @idempotent
    def retry(self, request, *, keep):
        """Submit the jobs that the filters find again, each once: jobs that were retried before are left out.

        1,000 at most, the oldest first. Completed jobs only when `status` names them.
        """
        jobs, dry_run = self._matching()
        if "status" not in request.query_params:
            jobs = jobs.exclude(status=Job.Status.COMPLETED)
        if dry_run:
            number = bulk.retriable(jobs).count()
            more = number > bulk.BATCH_MOST
            return Response({"dry_run_flag": True, "jobs_int": number, "more_flag": more, "items": []})
        done = bulk.retry_all(jobs, created_by=request.user, request_id=request.id, also=keep(_retried))
        return _retried(done)


def _retried(done: bulk.Retried) -> Response:
    made = [{"retry_of_id": job.retry_of_id, "id": job.pk, "errors": []} for job in done.jobs]
    refused = [{"retry_of_id": pk, "id": None, "errors": as_answer(error).errors} for pk, error in done.refused.items()]
    answer = {"dry_run_flag": False, "jobs_int": len(made), "more_flag": done.more, "items": made + refused}
    return Response(answer, status=status.HTTP_201_CREATED if made else status.HTTP_200_OK)


def _item(number: int, pk, errors: list[dict]) -> dict:
    return {"index_int": number, "id": pk, "errors": errors}
