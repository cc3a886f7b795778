"""Tokens and API keys on the wire."""

from django.contrib.auth import get_user_model
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.serializers import TokenRefreshSerializer

from accounts.models import ApiKey
from aiworkflow_project.api.wire import WireSerializer


class RefreshSerializer(TokenRefreshSerializer):
    def validate(self, attrs):
        try:
            return super().validate(attrs)
        except get_user_model().DoesNotExist:
            raise AuthenticationFailed("The token is not valid, or has expired.", code="token_not_valid") from None


class ApiKeySerializer(WireSerializer):
    class Meta:
        model = ApiKey
        wire = {
            "id": "id",
            "name_str": "name",
            "prefix_str": "prefix",
            "created_at_time": "created_at",
            "expires_at_time": "expires_at",
            "last_used_at_time": "last_used_at",
            "revoked_at_time": "revoked_at",
        }

    def validate_expires_at_time(self, value):
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("This time is past.", code="past")
        return value


class NewApiKeySerializer(ApiKeySerializer):
    secret_str = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(ApiKeySerializer.Meta):
        wire = {**ApiKeySerializer.Meta.wire, "secret_str": "secret_str"}
