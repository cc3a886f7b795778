"""The addresses of workflows under /api/v1."""

from aiworkflow_project.api.routes import route
from workflows.api.views import ComponentViewSet, RevisionViewSet, WorkflowViewSet

listed = {"get": "list"}
one = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}

urlpatterns = [
    *route("ai_workflow_def", WorkflowViewSet.as_view({"post": "create", **listed}), "ai_workflow_def_all"),
    *route("ai_workflow_def/list", WorkflowViewSet.as_view(listed), "ai_workflow_def_list"),
    *route("ai_workflow_def/validate", WorkflowViewSet.as_view({"post": "validate"}), "ai_workflow_def_validate"),
    *route("ai_workflow_def/<uuid:pk>", WorkflowViewSet.as_view(one), "ai_workflow_def"),
    *route("ai_workflow_def/<uuid:pk>/schema", WorkflowViewSet.as_view({"get": "schema_of"}), "ai_workflow_def_schema"),
    *route("ai_workflow_def/<uuid:pk>/revisions", RevisionViewSet.as_view(listed), "ai_workflow_def_revisions"),
    *route("components", ComponentViewSet.as_view(listed), "components"),
    *route("components/<str:type>", ComponentViewSet.as_view({"get": "retrieve"}), "component"),
]
