"""The console's pages of workflows: writing one, what it is, its revisions, and hiding it."""

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, OuterRef, Subquery
from django.http import Http404, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import Workspace
from aiworkflow_project.paginator import CappedPaginator
from aiworkflow_project.templatetags.console import badge, moment
from workflows import diff, engine, services
from workflows.forms import STARTER, WorkflowForm, placed
from workflows.models import Workflow, split_tags

REFUSALS = (services.PipelineRefused, services.NameTaken, engine.RunnerUnavailable)


class TagFilter(admin.SimpleListFilter):
    title = gettext_lazy("tag")
    parameter_name = "tag"
    LOOKED_AT = 500  # the newest workflows, whose tags are offered

    def lookups(self, request, model_admin):
        texts = model_admin.get_queryset(request).exclude(tags="").order_by("-updated_at", "-id")
        tags = {tag for text in texts.values_list("tags", flat=True)[: self.LOOKED_AT] for tag in split_tags(text)}
        return [(tag, tag) for tag in sorted(tags, key=str.casefold)]

    def queryset(self, request, queryset):
        return queryset.tagged(self.value()) if self.value() else queryset


@admin.register(Workflow)
class WorkflowAdmin(admin.ModelAdmin):
    form = WorkflowForm
    list_display = ("title", "version", "state", "tag_list", "last_job", "changed")
    list_display_links = ("title",)
    list_filter = ("is_active", TagFilter, ("updated_at", admin.DateFieldListFilter))
    list_select_related = ("created_by",)
    list_per_page = 50
    paginator = CappedPaginator
    search_fields = ("name", "description", "tags")
    search_help_text = gettext_lazy("Name, description or tag")
    ordering = ("-updated_at", "-id")
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # counting each choice would read the whole table
    actions = ("activate", "deactivate")
    fieldsets = (
        (None, {"fields": (("name", "version"), "description", ("tags", "concurrency_limit", "is_active"))}),
        (gettext_lazy("Pipeline"), {"fields": ("pipeline_yaml", "based_on"), "classes": ("pipeline",)}),
        (gettext_lazy("Retention"), {"fields": (("keep_jobs_days", "keep_steps_days"),)}),
    )
    change_form_template = "admin/workflows/workflow/change_form.html"

    def get_queryset(self, request):
        # The newest job by the relation, not by an import: jobs know workflows, never the reverse.
        jobs = Workflow._meta.get_field("jobs").related_model.objects.filter(
            workspace=OuterRef("workspace"), workflow=OuterRef("pk")
        )
        newest = jobs.order_by("-created_at", "-id")
        return (
            super()
            .get_queryset(request)
            .kept()
            .in_workspace(Workspace.DEFAULT_ID)
            .annotate(
                last_job_id=Subquery(newest.values("pk")[:1]),
                last_job_status=Subquery(newest.values("status")[:1]),
                revision_number=F("current_revision__number"),
            )
        )

    # The list

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def title(self, workflow):
        about = (workflow.description or "").strip()
        if len(about) > 90:
            about = about[:89] + "…"
        return format_html('{}<span class="cell-sub">{}</span>', workflow.name, about) if about else workflow.name

    @admin.display(description=gettext_lazy("state"), ordering="is_active")
    def state(self, workflow):
        shown = badge("active", _("active")) if workflow.is_active else badge("off", _("not active"))
        if workflow.concurrency_limit is None:
            return shown
        limit = ngettext("%(number)d job at once", "%(number)d jobs at once", workflow.concurrency_limit)
        limit = limit % {"number": workflow.concurrency_limit} if workflow.concurrency_limit else _("held")
        return format_html('{}<span class="cell-sub">{}</span>', shown, limit)

    @admin.display(description=gettext_lazy("tags"))
    def tag_list(self, workflow):
        return format_html_join("", '<span class="tag">{}</span>', ((tag,) for tag in split_tags(workflow.tags))) or "–"

    @admin.display(description=gettext_lazy("last job"))
    def last_job(self, workflow):
        if not workflow.last_job_id:
            return "–"
        status = Workflow._meta.get_field("jobs").related_model.Status(workflow.last_job_status)
        url = reverse("admin:jobs_job_change", args=[workflow.last_job_id])
        return format_html('<a href="{}">{}</a>', url, badge(status.value, status.label))

    @admin.display(description=gettext_lazy("changed"), ordering="updated_at")
    def changed(self, workflow):
        revision = _("revision %(number)s") % {"number": workflow.revision_number}
        made_by = f" · {workflow.created_by}" if workflow.created_by else ""
        return format_html('{}<span class="cell-sub">{}{}</span>', moment(workflow.updated_at), revision, made_by)

    @admin.action(description=gettext_lazy("Activate: jobs may be submitted"), permissions=["change"])
    def activate(self, request, queryset):
        self._set_active(request, queryset, active=True)

    @admin.action(description=gettext_lazy("Deactivate: no new jobs"), permissions=["change"])
    def deactivate(self, request, queryset):
        self._set_active(request, queryset, active=False)

    def _set_active(self, request, queryset, *, active: bool):
        changed = queryset.exclude(is_active=active)
        for workflow in changed:
            self.log_change(request, workflow, [{"changed": {"fields": ["active"]}}])
        number = Workflow.objects.filter(pk__in=[workflow.pk for workflow in changed]).update(
            is_active=active, updated_at=timezone.now()
        )
        said = ngettext("%(number)d workflow was changed.", "%(number)d workflows were changed.", number)
        self.message_user(request, said % {"number": number}, messages.SUCCESS)

    # Hiding: a workflow is never really deleted

    def get_deleted_objects(self, objs, request):
        lacking = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        names = [str(workflow) for workflow in objs]
        return names, {self.opts.verbose_name_plural: len(names)}, lacking, []

    def delete_queryset(self, request, queryset):
        for workflow in queryset:
            workflow.delete()

    # Writing one

    def get_changeform_initial_data(self, request):
        return {"pipeline_yaml": STARTER, **super().get_changeform_initial_data(request)}

    def get_form(self, request, obj=None, change=False, **kwargs):
        form = super().get_form(request, obj, change=change, **kwargs)
        form.refused = getattr(request, "refused_by_service", None)
        return form

    def get_fieldsets(self, request, obj=None):
        if obj is not None and not self.has_change_permission(request, obj):
            return tuple(each for each in self.fieldsets if "pipeline_yaml" not in each[1]["fields"])
        return super().get_fieldsets(request, obj)

    def save_model(self, request, obj, form, change):
        if not change:
            obj.workspace_id = Workspace.DEFAULT_ID
            obj.created_by = request.user
        services.save(obj, form.cleaned_data["pipeline_yaml"], by=request.user)

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        """As the admin's, but without its transaction, and with a refusal of the service as errors of the form.

        Checking a pipeline may take seconds, and a transaction around it would keep every other writer out on
        SQLite. The service makes its own.
        """
        context = (extra_context or {}) | self._page(request, object_id)
        try:
            return self._changeform_view(request, object_id, form_url, context)
        except REFUSALS as refused:
            request.refused_by_service = refused  # the form says it, when it is made again
            return self._changeform_view(request, object_id, form_url, context)

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        form = context["adminform"].form
        context |= {
            "problems": [_as_json(problem) for problem in getattr(form, "problems", ())],
            "editor_words": EDITOR_WORDS,
        }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _page(self, request, object_id) -> dict:
        """What the page shows beside the form: the graph, what goes in and out, revisions and jobs."""
        workflow = self.get_object(request, unquote(object_id)) if object_id else None
        if workflow is None or not self.has_view_permission(request, workflow):
            return {}
        revision = workflow.current_revision
        return {
            "workflow": workflow,
            "revision": revision,
            **_picture(revision.description),
            "revisions": workflow.revisions.select_related("created_by")
            .defer("pipeline_yaml", "description")
            .order_by("-number")[:5],
            "latest_jobs": workflow.jobs.in_workspace(workflow.workspace_id)
            .defer("trigger_data", "result")
            .order_by("-created_at", "-id")[:6]
            if request.user.has_perm("jobs.view_job")
            else None,
        }

    # Further pages

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("check/", wrap(self.check_view), name="workflows_workflow_check"),
            path("components/", wrap(self.components_view), name="workflows_workflow_components"),
            path("<uuid:pk>/revisions/", wrap(self.revisions_view), name="workflows_workflow_revisions"),
            path("<uuid:pk>/revisions/<int:number>/", wrap(self.revision_view), name="workflows_workflow_revision"),
            path(
                "<uuid:pk>/revisions/<int:number>/restore/",
                wrap(self.restore_view),
                name="workflows_workflow_restore",
            ),
            *super().get_urls(),
        ]

    def check_view(self, request):
        """JSON: what is wrong with the posted YAML, and the picture of what it describes."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            checked = engine.check(request.POST.get("pipeline_yaml", ""))
        except engine.RunnerUnavailable:
            return JsonResponse({"unavailable": _("The runner does not answer. Try again in a moment.")}, status=503)
        picture = ""
        if checked.valid:
            picture = render_to_string("admin/workflows/workflow/picture.html", _picture(checked.description), request)
        return JsonResponse(
            {
                "valid": checked.valid,
                "verdict": _verdict(checked),
                "problems": [_as_json(problem) for problem in checked.problems],
                "picture": picture,
            }
        )

    def components_view(self, request):
        """JSON: the component types that a definition may name here, for the editor to complete."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = engine.catalog()["components"]
        except (engine.RunnerUnavailable, engine.RunnerLost):
            found = {}
        offered = [
            {"type": name, "description": entry["docs"].partition("\n\n")[0]}
            for name, entry in sorted(found.items())
            if entry["allowed"]
        ]
        return JsonResponse({"components": offered})

    def revisions_view(self, request, pk):
        workflow = self._visible(request, pk)
        revisions = workflow.revisions.select_related("created_by").defer("pipeline_yaml", "description")
        context = {
            "title": _("Revisions"),
            "workflow": workflow,
            "revisions": revisions.order_by("-number")[:500],
        }
        return self._render(request, "revisions", context)

    def revision_view(self, request, pk, number):
        """One revision's text, and how it differs from another: by default from the one before it."""
        workflow = self._visible(request, pk)
        revision = get_object_or_404(workflow.revisions.select_related("created_by"), number=number)
        against = self._other(request, workflow, revision)
        context = {
            "title": _("Revision %(number)s") % {"number": number},
            "workflow": workflow,
            "revision": revision,
            "against": against,
            "numbers": list(workflow.revisions.order_by("-number").values_list("number", flat=True)[:500]),
            "lines": diff.compare(against.pipeline_yaml, revision.pipeline_yaml) if against else [],
            "is_current": revision.pk == workflow.current_revision_id,
            "may_restore": self.has_change_permission(request, workflow),
        }
        return self._render(request, "revision", context)

    def restore_view(self, request, pk, number):
        workflow = self._visible(request, pk)
        if not self.has_change_permission(request, workflow):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        revision = get_object_or_404(workflow.revisions, number=number)
        try:
            services.save(workflow, revision.pipeline_yaml, by=request.user)
        except services.PipelineRefused as refused:
            for problem in refused.problems:
                self.message_user(request, placed(problem), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:workflows_workflow_revision", args=[pk, number]))
        except engine.RunnerUnavailable:
            self.message_user(request, _("The runner does not answer. Try again in a moment."), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:workflows_workflow_revision", args=[pk, number]))
        said = _("Revision %(number)s is the current one again.") % {"number": number}
        self.log_change(request, workflow, said)
        self.message_user(request, said, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:workflows_workflow_change", args=[pk]))

    def _visible(self, request, pk) -> Workflow:
        workflow = self.get_object(request, str(pk))
        if workflow is None:
            raise Http404
        if not self.has_view_permission(request, workflow):
            raise PermissionDenied
        return workflow

    @staticmethod
    def _other(request, workflow, revision):
        wanted = request.GET.get("against", "")
        if wanted.isdecimal():
            return get_object_or_404(workflow.revisions, number=int(wanted))
        return workflow.revisions.filter(number__lt=revision.number).order_by("-number").first()

    def _render(self, request, name: str, context: dict):
        context = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"admin/workflows/workflow/{name}.html", context)


EDITOR_WORDS = {
    "Find": gettext_lazy("Find"),
    "Replace": gettext_lazy("Replace"),
    "next": gettext_lazy("next"),
    "previous": gettext_lazy("previous"),
    "all": gettext_lazy("all"),
    "match case": gettext_lazy("match case"),
    "by word": gettext_lazy("by word"),
    "regexp": gettext_lazy("regular expression"),
    "replace": gettext_lazy("replace"),
    "replace all": gettext_lazy("replace all"),
    "close": gettext_lazy("close"),
    "Go to line": gettext_lazy("Go to line"),
    "go": gettext_lazy("go"),
    "Diagnostics": gettext_lazy("Problems"),
    "No diagnostics": gettext_lazy("No problems"),
}


def _as_json(problem: engine.Problem) -> dict:
    return {
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
    }


def _verdict(checked: engine.Checked) -> str:
    if not checked.valid:
        number = sum(problem.severity == "error" for problem in checked.problems)
        return ngettext("%(number)d problem", "%(number)d problems", number) % {"number": number}
    parts = len(checked.description["components"])
    return ngettext(
        "Valid: a pipeline of %(number)d component.", "Valid: a pipeline of %(number)d components.", parts
    ) % {"number": parts}


def _picture(description: dict) -> dict:
    return {"description": description, "drawing": engine.draw(description)}
