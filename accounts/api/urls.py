"""The addresses of access under /api/v1/auth."""

from accounts.api.views import ApiKeyViewSet, RefreshView, TokenView
from aiworkflow_project.api.routes import route

urlpatterns = [
    *route("auth/token", TokenView.as_view(), "auth_token"),
    *route("auth/token/refresh", RefreshView.as_view(), "auth_token_refresh"),
    *route("auth/api_keys", ApiKeyViewSet.as_view({"get": "list", "post": "create"}), "auth_api_keys"),
    *route("auth/api_keys/<uuid:pk>", ApiKeyViewSet.as_view({"get": "retrieve", "delete": "destroy"}), "auth_api_key"),
]
