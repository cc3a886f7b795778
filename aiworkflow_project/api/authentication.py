"""Who is calling: a machine with an API key or a person with a JWT, both as `Authorization: Bearer …`."""

from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import InvalidToken

from accounts import known_keys
from accounts.models import ApiKey, Workspace


class BearerAuthentication(JWTAuthentication):
    """`aiwf_…` is an API key; everything else must be one of our JWTs."""

    def authenticate(self, request):
        scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme != "Bearer" or not secret.startswith(ApiKey.MARK):
            try:
                return super().authenticate(request)
            except InvalidToken:
                # The library's answer lists its token classes, which nobody asked for.
                raise AuthenticationFailed("The token is not valid, or has expired.", code="token_not_valid") from None
        key = known_keys.find(secret.strip())
        if key is None:
            raise AuthenticationFailed("The API key is not valid, or has expired.", code="api_key_not_valid")
        key.note_use()
        return key.user, key


def workspace_id_of(request):
    """The workspace that the caller acts in: an API key's own, else the default one."""
    return request.auth.workspace_id if isinstance(request.auth, ApiKey) else Workspace.DEFAULT_ID
