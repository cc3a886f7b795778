"""The addresses of jobs under /api/v1."""

from aiworkflow_project.api.routes import route
from jobs.api.bulk import BatchViewSet, BulkViewSet
from jobs.api.views import EventViewSet, JobViewSet, StepViewSet

listed = {"get": "list"}
one = {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}

urlpatterns = [  # what is asked for most comes first
    *route("ai_workflow_job", JobViewSet.as_view({"post": "create", **listed}), "ai_workflow_job_all"),
    *route("ai_workflow_job/<uuid:pk>", JobViewSet.as_view(one), "ai_workflow_job"),
    *route("ai_workflow_job/list", JobViewSet.as_view(listed), "ai_workflow_job_list"),
    *route("ai_workflow_job/batch", BatchViewSet.as_view({"post": "create"}), "ai_workflow_job_batches"),
    *route("ai_workflow_job/batch/<uuid:pk>", BatchViewSet.as_view({"get": "retrieve"}), "ai_workflow_job_batch"),
    *route("ai_workflow_job/cancel", BulkViewSet.as_view({"post": "cancel"}), "ai_workflow_job_cancel_all"),
    *route("ai_workflow_job/retry", BulkViewSet.as_view({"post": "retry"}), "ai_workflow_job_retry_all"),
    *route("ai_workflow_job/<uuid:pk>/cancel", JobViewSet.as_view({"post": "cancel"}), "ai_workflow_job_cancel"),
    *route("ai_workflow_job/<uuid:pk>/retry", JobViewSet.as_view({"post": "retry"}), "ai_workflow_job_retry"),
    *route("ai_workflow_job/<uuid:pk>/waiting", JobViewSet.as_view({"get": "waiting"}), "ai_workflow_job_waiting"),
    *route("ai_workflow_job/<uuid:pk>/steps", StepViewSet.as_view(listed), "ai_workflow_job_steps"),
    *route("ai_workflow_job/<uuid:pk>/events", EventViewSet.as_view({"get": "follow"}), "ai_workflow_job_events"),
]
