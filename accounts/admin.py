"""The console's pages of who may do what: people, groups, the workspace, and the API keys of machines."""

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.models import Group
from django.db import models
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import ApiKey, User, Workspace
from aiworkflow_project.paginator import CappedPaginator
from aiworkflow_project.templatetags.console import badge, moment

ACTIONS = {
    "add": gettext_lazy("add"),
    "change": gettext_lazy("change"),
    "delete": gettext_lazy("delete"),
    "view": gettext_lazy("view"),
}


class PermissionChoice(forms.ModelMultipleChoiceField):
    """Permissions in the reader's language: Django keeps their names in English, in the database."""

    def label_from_instance(self, permission):
        kind = permission.content_type
        action = ACTIONS.get(permission.codename.removesuffix(f"_{kind.model}"), permission.name)
        return f"{kind.name}: {action}"


class PermissionField:
    """Offers the permissions that a door of this site asks for, and no others; what is granted already stays."""

    APPS = ("accounts", "auth", "workflows", "jobs")

    def formfield_for_manytomany(self, db_field, request=None, **kwargs):
        if db_field.name in ("permissions", "user_permissions"):
            kwargs["form_class"] = PermissionChoice
        return super().formfield_for_manytomany(db_field, request=request, **kwargs)

    def get_form(self, request, obj=None, change=False, **kwargs):
        form = super().get_form(request, obj, change=change, **kwargs)
        for name in ("permissions", "user_permissions"):
            if name in form.base_fields:
                offered = models.Q(content_type__app_label__in=self.APPS)
                if obj is not None:
                    offered |= models.Q(pk__in=getattr(obj, name).values("pk"))
                field = form.base_fields[name]
                field.queryset = field.queryset.filter(offered)
        return form


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(PermissionField, StockGroupAdmin):
    """Named sets of permissions."""


@admin.register(User)
class UserAdmin(PermissionField, StockUserAdmin):
    list_display = ("username", "email", "role", "is_active", "seen")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    search_fields = ("username", "first_name", "last_name", "email")
    show_facets = admin.ShowFacets.NEVER
    ordering = ("username", "pk")
    paginator = CappedPaginator
    show_full_result_count = False
    list_select_related = False
    filter_horizontal = ("groups", "user_permissions")
    # What would make somebody more than the person at the keyboard is.
    GRANTS = ("is_staff", "is_superuser", "groups", "user_permissions")

    @admin.display(description=gettext_lazy("access"))
    def role(self, user):
        if user.is_superuser:
            return _("everything")
        return _("sign in to the console") if user.is_staff else _("use the API")

    @admin.display(description=gettext_lazy("last sign-in"), ordering="last_login")
    def seen(self, user):
        return moment(user.last_login)

    def get_readonly_fields(self, request, obj=None):
        own = (*super().get_readonly_fields(request, obj), "last_login", "date_joined")
        return own if request.user.is_superuser else (*own, *self.GRANTS)

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request, obj=None):
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    def delete_queryset(self, request, queryset):
        super().delete_queryset(request, queryset if request.user.is_superuser else queryset.filter(is_superuser=False))

    @staticmethod
    def _may_touch(request, user) -> bool:
        """A superuser's password is for superusers to set: whoever sets it can sign in as them."""
        return user is None or request.user.is_superuser or not user.is_superuser


@admin.register(Workspace)
class WorkspaceAdmin(admin.ModelAdmin):
    """To look at: everything lives in the one workspace that the first migration made."""

    list_display = ("name", "slug", "made")
    search_fields = ("name", "slug")
    ordering = ("name", "pk")
    paginator = CappedPaginator
    show_full_result_count = False
    list_select_related = False
    fields = ("name", "slug", "made")
    readonly_fields = ("slug", "made")

    @admin.display(description=gettext_lazy("created"), ordering="created_at")
    def made(self, workspace):
        return moment(workspace.created_at)

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """A key's secret is shown once, right after it was made. Keys are revoked, never changed."""

    list_display = ("name", "begins", "user", "state", "used", "expires")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), ("expires_at", admin.DateFieldListFilter))
    list_select_related = ("user",)
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("name", "prefix", "user__username")
    ordering = ("-created_at", "pk")
    paginator = CappedPaginator
    show_full_result_count = False
    actions = ("revoke_selected",)

    formfield_overrides = {
        models.DateTimeField: {
            "form_class": forms.DateTimeField,
            "widget": forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        }
    }

    def get_queryset(self, request):
        """Everybody's keys for a superuser, else one's own: a key acts as its owner."""
        keys = super().get_queryset(request)
        return keys if request.user.is_superuser else keys.filter(user=request.user)

    def get_fields(self, request, obj=None):
        if obj is not None:
            return ("name", "begins", "user", "state", "made", "used", "expires", "revoked")
        return ("name", "user", "expires_at") if request.user.is_superuser else ("name", "expires_at")

    def get_readonly_fields(self, request, obj=None):
        return () if obj is None else ("begins", "user", "state", "made", "used", "expires", "revoked")

    def get_changeform_initial_data(self, request):
        return {"user": request.user.pk, **super().get_changeform_initial_data(request)}

    def formfield_for_foreignkey(self, db_field, request, **kwargs):
        if db_field.name == "user":
            kwargs["queryset"] = User.objects.filter(is_active=True).order_by("username")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_delete_permission(self, request, obj=None):
        return False  # a revoked key stays, so that the past can be read

    def get_form(self, request, obj=None, change=False, **kwargs):
        form = super().get_form(request, obj, change=change, **kwargs)
        if "user" in form.base_fields:  # a key is no place to make or change people
            widget = form.base_fields["user"].widget
            widget.can_add_related = widget.can_change_related = widget.can_view_related = False
        return form

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        only_save = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().changeform_view(request, object_id, form_url, only_save | (extra_context or {}))

    def save_model(self, request, obj, form, change):
        if change:
            super().save_model(request, obj, form, change)
            return
        if not request.user.is_superuser:
            obj.user = request.user
        obj.workspace_id = Workspace.DEFAULT_ID
        request.new_secret = obj.issue()

    def response_add(self, request, obj, post_url_continue=None):
        """The secret, on a page of its own that nothing may keep; it is in no message, session or log."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("The key was made"),
            "key": obj,
            "secret": request.new_secret,
        }
        response = TemplateResponse(request, "admin/accounts/apikey/made.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description=gettext_lazy("begins with"), ordering="prefix")
    def begins(self, key):
        return format_html('<span class="mono">{}…</span>', key.prefix)

    @admin.display(description=gettext_lazy("state"))
    def state(self, key):
        if key.revoked_at:
            return badge("off", _("revoked"))
        if key.expires_at and key.expires_at <= timezone.now():
            return badge("off", _("expired"))
        return badge("active", _("usable"))

    @admin.display(description=gettext_lazy("created"))
    def made(self, key):
        return moment(key.created_at)

    @admin.display(description=gettext_lazy("last used"), ordering="last_used_at")
    def used(self, key):
        return moment(key.last_used_at)

    @admin.display(description=gettext_lazy("expires"), ordering="expires_at")
    def expires(self, key):
        return moment(key.expires_at)

    @admin.display(description=gettext_lazy("revoked"))
    def revoked(self, key):
        return moment(key.revoked_at)

    @admin.action(description=gettext_lazy("Revoke: the key opens no door any more"), permissions=["change"])
    def revoke_selected(self, request, queryset):
        keys = list(queryset.filter(revoked_at=None))
        for key in keys:
            key.revoke()
            self.log_change(request, key, [{"changed": {"fields": ["revoked"]}}])
        said = ngettext("%(number)d key was revoked.", "%(number)d keys were revoked.", len(keys))
        self.message_user(request, said % {"number": len(keys)}, messages.SUCCESS)
