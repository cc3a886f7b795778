"""What a caller may do: Django's model permissions, reading included."""

from rest_framework import permissions

BY_METHOD = {"GET": "view", "HEAD": "view", "OPTIONS": "view", "POST": "add", "PUT": "change", "PATCH": "change"}


class ModelPermissions(permissions.BasePermission):
    """The caller has the model permission that the method implies, or those that the view names for the action.

    A view that is not about one model says `permissions_of = {action: ["app.permission"]}` for each of its actions.
    """

    def has_permission(self, request, view):
        if not request.user or not request.user.is_authenticated:
            return False
        action = getattr(view, "action", None) or request.method.lower()
        named = getattr(view, "permissions_of", {}).get(action)
        return request.user.has_perms(named if named is not None else [self._implied(request.method, view)])

    @staticmethod
    def _implied(method: str, view) -> str:
        meta = view.queryset.model._meta
        return f"{meta.app_label}.{BY_METHOD.get(method, 'delete')}_{meta.model_name}"


class IsSuperuser(permissions.BasePermission):
    def has_permission(self, request, view):
        return bool(request.user and request.user.is_active and request.user.is_superuser)
