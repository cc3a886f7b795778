"""The API of access: tokens for people, API keys for machines."""

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, Throttled
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from accounts.api.serializers import ApiKeySerializer, NewApiKeySerializer, RefreshSerializer
from accounts.api.throttle import FailedSignIns
from accounts.models import ApiKey
from aiworkflow_project.api.authentication import workspace_id_of
from aiworkflow_project.api.filters import StrictFilterBackend
from aiworkflow_project.api.lists import ListMixin
from aiworkflow_project.api.routes import location


class TokenView(TokenObtainPairView):
    @extend_schema(operation_id="auth_token", auth=[])
    def post(self, request, *args, **kwargs):
        """Exchange a name and a password for an access token and a refresh token."""
        failures = FailedSignIns(request)
        if wait := failures.wait():
            raise Throttled(wait, "Too many failed attempts.", code="too_many_attempts")
        try:
            answer = super().post(request, *args, **kwargs)
        except AuthenticationFailed:
            failures.add()
            raise
        failures.clear()
        return answer


class RefreshView(TokenRefreshView):
    serializer_class = RefreshSerializer

    @extend_schema(operation_id="auth_token_refresh", auth=[])
    def post(self, request, *args, **kwargs):
        """Exchange a refresh token, which is then used up, for a new pair."""
        return super().post(request, *args, **kwargs)


class ApiKeyViewSet(ListMixin, GenericViewSet):
    """The caller's own API keys."""

    queryset = ApiKey.objects.all()
    serializer_class = ApiKeySerializer
    permission_classes = [IsAuthenticated]
    filter_backends = [StrictFilterBackend]

    def get_queryset(self):
        return super().get_queryset().filter(user_id=self.request.user.pk).order_by("-created_at", "-pk")

    @extend_schema(operation_id="auth_api_keys_list")
    def list(self, request):
        """List your API keys, newest first."""
        page = self.page()
        return self.get_paginated_response(page)

    @extend_schema(operation_id="auth_api_keys_create", request=ApiKeySerializer, responses={201: NewApiKeySerializer})
    def create(self, request):
        """Make an API key. Its secret is in this answer and nowhere else."""
        if isinstance(request.auth, ApiKey):
            raise PermissionDenied("An API key can't make another: sign in as a person.")
        body = ApiKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        key = ApiKey(workspace_id=workspace_id_of(request), user=request.user, **body.validated_data)
        secret = key.issue()
        row = ApiKeySerializer.rows(self.get_queryset().filter(pk=key.pk)).get()
        return Response(
            row | {"secret_str": secret},
            status=status.HTTP_201_CREATED,
            headers={"Location": location(request, "auth_api_key", key.pk), "Cache-Control": "no-store"},
        )

    @extend_schema(operation_id="auth_api_keys_read")
    def retrieve(self, request, pk):
        """Read one of your API keys."""
        row = ApiKeySerializer.rows(self.get_queryset().filter(pk=pk)).first()
        if row is None:
            raise Http404
        return Response(row)

    @extend_schema(operation_id="auth_api_keys_revoke", responses={204: OpenApiResponse(description="Revoked.")})
    def destroy(self, request, pk):
        """Revoke one of your API keys, for good."""
        key = self.get_queryset().filter(pk=pk).first()
        if key is None:
            raise Http404
        key.revoke()
        return Response(status=status.HTTP_204_NO_CONTENT)
