"""The console: Django's admin site with our navigation, language switch and first page."""

from functools import wraps

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.i18n import set_language

from accounts.models import Workspace
from jobs import charts, dashboard
from workflows import engine
from workflows.models import Workflow

GROUPS = (
    (_("Workflows"), ["Workflow"]),
    (_("Jobs"), ["Job"]),
    (_("Access"), ["User", "Group", "ApiKey", "Workspace"]),
)


# Tables that are the machinery's own: the queue only wakes workers up, and tokens are refused by the API itself.
LEFT_OUT = {"django_q", "token_blacklist"}


class ConsoleSite(admin.AdminSite):
    site_title = _("AI WorkFlow")
    site_header = _("AI WorkFlow")
    index_title = _("Overview")
    site_url = None
    empty_value_display = "–"

    def register(self, model_or_iterable, admin_class=None, **options):
        models = [model_or_iterable] if isinstance(model_or_iterable, type) else model_or_iterable
        kept = [model for model in models if model._meta.app_label not in LEFT_OUT]
        super().register(kept, admin_class, **options)

    def get_urls(self):
        return [path("language/", set_language, name="set_language"), *super().get_urls()]

    def admin_view(self, view, cacheable=False):
        """Refuses an address with U+0000 in it: PostgreSQL takes none as a value."""

        @wraps(view)
        def guarded(request, *args, **kwargs):
            if any("\0" in value for _name, values in request.GET.lists() for value in values):
                raise BadRequest("An address holds no U+0000.")
            return view(request, *args, **kwargs)

        return super().admin_view(guarded, cacheable)

    def each_context(self, request):
        context = super().each_context(request)
        if context["has_permission"] and not context["is_popup"]:
            counts = None
            if request.user.has_perm("jobs.view_job"):
                counts = dashboard.open_counts(Workspace.DEFAULT_ID)
            context |= {"open_counts": counts, "navigation": navigation(request, context["available_apps"], counts)}
        return context

    def index(self, request, extra_context=None):
        context = {"subtitle": None}
        if request.user.has_perm("jobs.view_job"):
            context |= overview()
        return super().index(request, context | (extra_context or {}))


def overview() -> dict:
    """What the first page shows of the default workspace."""
    workspace = Workspace.DEFAULT_ID
    day = dashboard.last_day(workspace)
    return {
        "day": day,
        "jobs_chart": charts.jobs_by_hour(day),
        "seconds_chart": charts.seconds_by_hour(day),
        "oldest_pending": dashboard.oldest_pending(workspace),
        "recent_failures": dashboard.recent_failures(workspace),
        "recent_jobs": dashboard.recent_jobs(workspace),
        "workers": dashboard.workers(),
        "runner": engine.runner_status(),
        "has_workflows": Workflow.objects.kept().in_workspace(workspace).exists(),
    }


def navigation(request, apps: list[dict], counts) -> list[dict]:
    """The sidebar's groups, each with the entries that this person may open.

    Built from the admin's own list, so permissions are the admin's; models of no group come last under Other.
    """
    models = {model["object_name"]: model for app in apps for model in app["models"] if model["admin_url"]}
    groups = []
    for title, names in GROUPS:
        entries = [_entry(request, models.pop(name)) for name in names if name in models]
        if counts is not None and "Job" in names:
            entries += [*_job_shortcuts(request, counts), _storage(request)]
        groups.append({"title": title, "entries": entries})
    groups.append({"title": _("Other"), "entries": [_entry(request, model) for model in models.values()]})
    return [group for group in groups if group["entries"]]


def _entry(request, model: dict) -> dict:
    return {
        "label": model["name"],
        "url": model["admin_url"],
        "add_url": model["add_url"],
        "current": request.path.startswith(model["admin_url"])
        and "status__exact" not in request.GET
        and request.path != reverse("admin:jobs_job_storage"),
        "icon": model["object_name"].lower(),
    }


def _job_shortcuts(request, counts) -> list[dict]:
    jobs = reverse("admin:jobs_job_changelist")
    here = request.GET.get("status__exact") if request.path == jobs else None
    labels = {"running": _("Running"), "pending": _("Pending"), "failed": _("Failed today")}
    return [
        {
            "label": label,
            "url": f"{jobs}?status__exact={status}" + ("&when=day" if status == "failed" else ""),
            "count": counts[status],
            "status": status,
            "current": here == status,
            "sub": True,
        }
        for status, label in labels.items()
    ]


def _storage(request) -> dict:
    url = reverse("admin:jobs_job_storage")
    return {"label": _("Storage"), "url": url, "current": request.path == url, "icon": "storage"}
