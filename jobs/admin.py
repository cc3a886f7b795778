"""The console's pages of jobs: the list, one job as it runs and when it is over, and running a workflow."""

import json
import shlex
import uuid
from collections import Counter
from datetime import timedelta

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import Workspace
from aiworkflow_project.db.counts import capped
from aiworkflow_project.paginator import CappedPaginator
from aiworkflow_project.templatetags.console import badge, duration, moment
from jobs import bulk, rendering, services, sizes
from jobs.forms import RunForm, in_words
from jobs.models import InvalidTransition, Job, JobBatch, JobEvent
from jobs.retention import Policy
from jobs.waiting import why
from workflows import engine
from workflows.models import Workflow

STEPS_AT_MOST = 300
STATES_AT_MOST = 100
STORAGE_SECONDS = 2.0  # for which the page on storage measures
WORKFLOWS_SHOWN = 200
TOKENS_AT_MOST = 2_000  # events of streamed text that a page reads when it opens
WORKFLOWS_OFFERED = 50
REASONS_TOLD = 5  # of a retry of many, each for any number of jobs
# Of bulk.Outlook: what would be done with so many jobs, and why so many would be left as they are.
DOES = {
    "pending": gettext_lazy("pending, to be cancelled at once"),
    "running": gettext_lazy("running, to be asked to stop"),
    "retried": gettext_lazy("to be submitted again, as new jobs"),
}
LEAVES = {
    "asked": gettext_lazy("asked to stop already"),
    "over": gettext_lazy("over already"),
    "unfinished": gettext_lazy("not over yet"),
    "retried_before": gettext_lazy("retried before; on its own page each can be retried once more"),
    "inactive": gettext_lazy("of a workflow that is not active"),
    "completed": gettext_lazy("completed; to retry them too, narrow the list to completed jobs"),
}
# What a job may ask for, by the names of the API.
ASKED_ON_THE_WIRE = {
    "priority": "priority_int",
    "timeout_seconds": "timeout_seconds",
    "max_attempts": "max_attempts_int",
    "retry_on": "retry_on_str",
}
LOST = {
    "worker_lost": gettext_lazy("The worker that ran it was lost."),
    "runner_lost": gettext_lazy("The runner that ran it was lost."),
    "resident_ended": gettext_lazy("The process that it shared with other runs ended, so that it does not count."),
    "handed_back": gettext_lazy("Its worker was stopped as planned, so that it does not count."),
}


class WhenFilter(admin.SimpleListFilter):
    title = gettext_lazy("time")
    parameter_name = "when"
    SPANS = {
        "hour": timedelta(hours=1),
        "day": timedelta(days=1),
        "week": timedelta(days=7),
        "month": timedelta(days=30),
    }

    def lookups(self, request, model_admin):
        return [
            ("hour", _("Last hour")),
            ("day", _("Last 24 hours")),
            ("week", _("Last 7 days")),
            ("month", _("Last 30 days")),
        ]

    def queryset(self, request, queryset):
        span = self.SPANS.get(self.value())
        return queryset.filter(created_at__gte=timezone.now() - span) if span else queryset


class WorkflowFilter(admin.SimpleListFilter):
    """The workflows that were changed last: a list of all of them would be as long as the table."""

    title = gettext_lazy("workflow")
    parameter_name = "workflow__id__exact"

    def lookups(self, request, model_admin):
        newest = Workflow.objects.kept().in_workspace(Workspace.DEFAULT_ID).order_by("-updated_at", "-id")
        offered = [(str(workflow.pk), str(workflow)) for workflow in newest[:WORKFLOWS_OFFERED]]
        chosen = _uuid(request.GET.get(self.parameter_name, ""))
        if chosen and str(chosen) not in dict(offered):
            offered += [(str(workflow.pk), str(workflow)) for workflow in Workflow.objects.filter(pk=chosen)]
        return offered

    def queryset(self, request, queryset):
        if not self.value():
            return queryset
        chosen = _uuid(self.value())
        return queryset.filter(workflow=chosen) if chosen else queryset.none()


class BatchFilter(admin.SimpleListFilter):
    """In sight only where a link chose a batch: there may be any number of them."""

    title = gettext_lazy("batch")
    parameter_name = "batch__id__exact"

    def lookups(self, request, model_admin):
        chosen = request.GET.get(self.parameter_name)
        if not chosen:
            return []
        batch = JobBatch.objects.filter(pk=_uuid(chosen), workspace=Workspace.DEFAULT_ID).first()
        return [(chosen, str(batch or chosen))]

    def queryset(self, request, queryset):
        if not self.value():
            return queryset
        chosen = _uuid(self.value())
        return queryset.filter(batch=chosen) if chosen else queryset.none()


@admin.register(Job)
class JobAdmin(admin.ModelAdmin):
    list_display = ("state", "title", "workflow_link", "took", "when")
    list_display_links = ("title",)
    list_filter = ("status", WhenFilter, WorkflowFilter, BatchFilter)
    list_select_related = ("workflow", "created_by", "batch")
    list_per_page = 50
    list_max_show_all = 200
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # counting each choice would read the whole table
    search_fields = ("name",)
    search_help_text = gettext_lazy("A part of the name, or an id or how it begins")
    ordering = ("-created_at", "-id")
    sortable_by = ("when",)  # the one order that an index serves
    actions = ("cancel_selected", "retry_selected")

    def get_queryset(self, request):
        found = super().get_queryset(request).in_workspace(Workspace.DEFAULT_ID)
        return found.defer("trigger_data", "result", "error_message")

    def get_search_results(self, request, queryset, search_term):
        """By name, by id, or by how an id begins: a range of the primary key, not a search through all ids."""
        term = search_term.strip().lower()
        digits = term.replace("-", "")
        if len(digits) >= 6 and len(digits) <= 32 and all(digit in "0123456789abcdef" for digit in digits):
            first, last = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
            by_id = queryset.filter(pk__gte=first, pk__lte=last)
            if by_id.exists():
                return by_id, False
        for word in search_term.split():
            queryset = queryset.named_like(word)
        return queryset, False

    # The list

    @admin.display(description=gettext_lazy("state"))
    def state(self, job):
        below = job.error_code or (job.status == Job.Status.PENDING and _waits(job))
        shown = badge(job.status, job.get_status_display())
        return format_html('{}<span class="cell-sub">{}</span>', shown, below) if below else shown

    @admin.display(description=gettext_lazy("name"))
    def title(self, job):
        urgency = ""
        if not job.is_over and job.priority != Job._meta.get_field("priority").default:
            urgency = " · " + _("priority %(number)s") % {"number": job.priority}
        return format_html(
            '{}<span class="cell-sub"><span class="mono">{}</span>{}</span>',
            job.name or _("(no name)"),
            str(job.pk)[:8],
            urgency,
        )

    @admin.display(description=gettext_lazy("workflow"))
    def workflow_link(self, job):
        shown = str(job.workflow)
        if job.workflow.deleted_at is None:
            url = reverse("admin:workflows_workflow_change", args=[job.workflow_id])
            shown = format_html('<a href="{}">{}</a>', url, shown)
        return format_html('{}<span class="cell-sub">{}</span>', shown, _batch_link(job)) if job.batch else shown

    @admin.display(description=gettext_lazy("duration"))
    def took(self, job):
        if job.status == Job.Status.RUNNING and job.started_at:
            return duration((timezone.now() - job.started_at).total_seconds())
        return duration(job.execution_seconds)

    @admin.display(description=gettext_lazy("submitted"), ordering="created_at")
    def when(self, job):
        if job.created_by is None:
            return moment(job.created_at)
        return format_html('{}<span class="cell-sub">{}</span>', moment(job.created_at), job.created_by)

    # What may be done with jobs

    def has_change_permission(self, request, obj=None):
        return False  # what ran is read-only; cancel and retry are moves of their own

    def has_cancel_permission(self, request):
        return request.user.has_perm("jobs.change_job")

    def has_retry_permission(self, request):
        return request.user.has_perm("jobs.add_job")

    def has_delete_permission(self, request, obj=None):
        return super().has_delete_permission(request, obj) and (obj is None or obj.is_over)

    @admin.action(description=gettext_lazy("Cancel…"), permissions=["cancel"])
    def cancel_selected(self, request, queryset):
        jobs = _bare(queryset)
        if "confirmed" not in request.POST:
            return self._ask(request, bulk.cancel_outlook(jobs), bulk.CANCEL_MOST, _("Cancel jobs"))
        done = bulk.cancel_all(jobs)
        ended = ngettext("%(number)d job was cancelled.", "%(number)d jobs were cancelled.", done.pending)
        asked = ngettext("%(number)d job was asked to stop.", "%(number)d jobs were asked to stop.", done.running)
        said = [text % {"number": number} for text, number in ((ended, done.pending), (asked, done.running)) if number]
        self._tell(request, said, _("No job was cancelled: all are over, or asked to stop already."), done.more)

    @admin.action(description=gettext_lazy("Retry…"), permissions=["retry"])
    def retry_selected(self, request, queryset):
        jobs = found = _bare(queryset)
        if self._leaves_completed(request):
            jobs = jobs.exclude(status=Job.Status.COMPLETED)
        if "confirmed" not in request.POST:
            outlook = bulk.retry_outlook(jobs)
            if jobs is not found:
                outlook.leaves["completed"] = capped(found.filter(status=Job.Status.COMPLETED))
            return self._ask(request, outlook, bulk.BATCH_MOST, _("Retry jobs"))
        done = bulk.retry_all(bulk.runnable(jobs), created_by=request.user, request_id=request.id)
        self._tell_refused(request, done.refused.values())
        number = len(done.jobs)
        said = ngettext("%(number)d job was submitted again.", "%(number)d jobs were submitted again.", number)
        self._tell(request, [said % {"number": number}] if number else [], _("No job was submitted again."), done.more)

    @staticmethod
    def _leaves_completed(request) -> bool:
        """Whatever a filter finds is retried without the completed jobs, unless it names them; as by the API."""
        return request.POST.get("select_across") == "1" and "status__exact" not in request.GET

    def _ask(self, request, outlook: bulk.Outlook, most: int, title: str):
        """The page between an action and its deed: what it would do, and what not and why."""
        number = sum(count.number for count in outlook.does.values())
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "outlook": outlook,
            "does": [(DOES[name], count) for name, count in outlook.does.items()],
            "leaves": [(LEAVES[name], count) for name, count in outlook.leaves.items() if count],
            "number": number,
            "most": most if number > most or any(count.more for count in outlook.does.values()) else None,
            "action": request.POST["action"],
            "across": request.POST.get("select_across") == "1",
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        }
        return TemplateResponse(request, "admin/jobs/job/confirm.html", context)

    def _tell(self, request, said: list[str], nothing: str, more: bool) -> None:
        if said:
            self.message_user(request, " ".join(said), messages.SUCCESS)
        else:
            self.message_user(request, nothing, messages.WARNING)
        if more:
            self.message_user(request, _("There are more. Do it again for the others."), messages.WARNING)

    def _tell_refused(self, request, refused) -> None:
        reasons = Counter(map(str, refused)).most_common()
        for reason, number in reasons[:REASONS_TOLD]:
            text = ngettext(
                "%(number)d job was not submitted: %(reason)s", "%(number)d jobs were not submitted: %(reason)s", number
            )
            self.message_user(request, text % {"number": number, "reason": reason}, messages.WARNING)
        number = sum(number for _reason, number in reasons[REASONS_TOLD:])
        if number:
            text = ngettext(
                "%(number)d more job was not submitted, for another reason.",
                "%(number)d more jobs were not submitted, for other reasons.",
                number,
            )
            self.message_user(request, text % {"number": number}, messages.WARNING)

    def get_deleted_objects(self, objs, request):
        """Jobs that are not over stay; of the others, their steps and events go with them, unnamed."""
        lacking = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        over = [job for job in objs if job.is_over]
        kept = [
            _("%(job)s is not over yet, so it cannot be deleted.") % {"job": job} for job in objs if not job.is_over
        ]
        return [str(job) for job in over], {self.opts.verbose_name_plural: len(over)}, lacking, kept

    def delete_queryset(self, request, queryset):
        queryset.filter(status__in=Job.FINAL).delete()

    # Pages

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("storage/", wrap(self.storage_view), name="jobs_job_storage"),
            path("<uuid:pk>/live/", wrap(self.live_view), name="jobs_job_live"),
            path("<uuid:pk>/cancel/", wrap(self.cancel_view), name="jobs_job_cancel"),
            path("<uuid:pk>/retry/", wrap(self.retry_view), name="jobs_job_retry"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """One job. Nothing on the page can be edited; while the job runs, the page follows it."""
        job = self._visible(request, _uuid(object_id))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(job),
            **_story(job),
            "trigger": rendering.pretty(job.trigger_data),
            "curl": _curl(request, job),
            "retried_after": in_words(job.retry_on),
            "batch_link": _batch_link(job) if job.batch else None,
            "retries": job.retries.order_by("created_at").only("name", "status", "retry_of")[:20],
            "may_cancel": self.has_cancel_permission(request),
            "may_retry": self.has_retry_permission(request),
            "may_delete": self.has_delete_permission(request, job),
        }
        return TemplateResponse(request, "admin/jobs/job/detail.html", context)

    def live_view(self, request, pk):
        """JSON: the parts of the page that change, and the last event that they tell of."""
        job = self._visible(request, pk)
        story = _story(job)
        names = ("head", "steps", "outcome", "streams")
        pieces = {name: render_to_string(f"admin/jobs/job/{name}.html", story, request) for name in names}
        response = JsonResponse({"seq": job.event_seq, "over": job.is_over, "status": job.status, "pieces": pieces})
        response["Cache-Control"] = "no-store"
        return response

    def storage_view(self, request):
        """How much the jobs of each workflow take up, and what retention does about it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        report = sizes.report(Workspace.DEFAULT_ID, seconds=STORAGE_SECONDS)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Storage"),
            "report": report,
            "shown": report.sizes[:WORKFLOWS_SHOWN],
            "site": Policy(settings.RETENTION_JOBS_DAYS, settings.RETENTION_STEPS_DAYS),
        }
        return TemplateResponse(request, "admin/jobs/job/storage.html", context)

    def add_view(self, request, form_url="", extra_context=None):
        """Run a workflow: choose it, fill in its inputs, and go to the job's page."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        chosen = _uuid(request.GET.get("workflow", ""))
        if chosen is None:
            return self._choose_view(request)
        workflow = get_object_or_404(
            Workflow.objects.kept().in_workspace(Workspace.DEFAULT_ID).select_related("current_revision"),
            pk=chosen,
        )
        form = RunForm(workflow.current_revision.description, request.POST or None)
        if request.method == "POST" and form.is_valid():
            job = self._submitted(request, workflow, form)
            if job:
                self.log_addition(request, job, [{"added": {}}])
                return HttpResponseRedirect(reverse("admin:jobs_job_change", args=[job.pk]))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Run %(workflow)s") % {"workflow": workflow},
            "workflow": workflow,
            "form": form,
            "description": workflow.current_revision.description,
        }
        return TemplateResponse(request, "admin/jobs/job/run.html", context)

    def _submitted(self, request, workflow, form) -> Job | None:
        try:
            return services.submit(
                workflow,
                form.trigger_data,
                name=form.cleaned_data["job_name"],
                control=form.control,
                created_by=request.user,
                request_id=request.id,
            )
        except engine.TriggerDataRefused as refused:
            form.refuse(refused.problems)
        except services.InactiveWorkflow as refused:
            form.add_error(None, str(refused))
        return None

    def _choose_view(self, request):
        wanted = request.GET.get("q", "").strip()
        workflows = Workflow.objects.active().in_workspace(Workspace.DEFAULT_ID)
        if wanted:
            workflows = workflows.named_like(wanted)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Run a workflow"),
            "workflows": workflows.order_by("-updated_at", "-id")[:WORKFLOWS_OFFERED],
            "wanted": wanted,
        }
        return TemplateResponse(request, "admin/jobs/job/choose.html", context)

    def cancel_view(self, request, pk):
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        job = self._visible(request, pk)
        if not self.has_cancel_permission(request):
            raise PermissionDenied
        try:
            job.cancel()
            said = _("The job was cancelled.") if job.is_over else _("The job's worker was asked to stop it.")
            self.message_user(request, said, messages.SUCCESS)
        except InvalidTransition as refused:
            self.message_user(request, f"{job}: {refused}", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:jobs_job_change", args=[pk]))

    def retry_view(self, request, pk):
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        job = self._visible(request, pk)
        if not self.has_retry_permission(request):
            raise PermissionDenied
        try:
            pk = services.retry(job, created_by=request.user, request_id=request.id).pk
            self.message_user(request, _("The job's data was submitted as a new job."), messages.SUCCESS)
        except (InvalidTransition, services.InactiveWorkflow, engine.TriggerDataRefused) as refused:
            self.message_user(request, f"{job}: {refused}", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:jobs_job_change", args=[pk]))

    def _visible(self, request, pk) -> Job:
        if not self.has_view_permission(request):
            raise PermissionDenied
        related = ("workflow__current_revision", "revision", "created_by", "retry_of", "batch")
        heavy = ("retry_of__trigger_data", "retry_of__result", "revision__pipeline_yaml")
        jobs = Job.objects.in_workspace(Workspace.DEFAULT_ID).select_related(*related).defer(*heavy)
        job = jobs.filter(pk=pk).first() if pk else None
        if job is None:
            raise Http404
        return job


def _waits(job: Job) -> str:
    """What a pending job of the list waits for, unless it is a worker."""
    match job.waits_for:
        case Job.WaitsFor.TIME:
            return format_html("{}<br>{}", _("not before"), moment(job.available_at))
        case Job.WaitsFor.ROOM:
            return _("held") if job.workflow.concurrency_limit == 0 else _("waits for room")
    return ""


def _batch_link(job: Job) -> str:
    url = reverse("admin:jobs_job_changelist") + f"?{BatchFilter.parameter_name}={job.batch_id}"
    return format_html('<a href="{}">{}</a>', url, _("batch %(name)s") % {"name": job.batch})


def _bare(jobs):
    """The list's QuerySet without what only its columns need."""
    return jobs.select_related(None).defer(None).order_by()


def _story(job: Job) -> dict:
    """What is told of a job, and told anew while it runs."""
    steps = list(job.steps.order_by("-attempt", "-position")[: STEPS_AT_MOST + 1])
    cut = len(steps) > STEPS_AT_MOST
    attempts = {}
    for step in reversed(steps[:STEPS_AT_MOST]):
        attempts.setdefault(step.attempt, []).append(step)
    return {
        "job": job,
        "lost": _lost_attempts(job),
        "wait": why(job),
        "attempts": [_attempt(number, attempts[number]) for number in sorted(attempts, reverse=True)],
        "steps_cut": cut,
        "parts": rendering.parts(job.result) if job.result is not None else [],
        "result": rendering.pretty(job.result) if job.result is not None else None,
        "streams": [] if job.is_over else _streamed(job),
        "waited_seconds": (job.started_at - job.created_at).total_seconds() if job.started_at else None,
        "running_seconds": (timezone.now() - job.started_at).total_seconds() if job.started_at else None,
        "now": timezone.now(),
    }


def _lost_attempts(job: Job) -> dict[int, str]:
    """Why attempts ended without an answer, by attempt."""
    if job.attempt <= (job.status != Job.Status.PENDING):  # there was none before this one
        return {}
    states = job.events.filter(kind=JobEvent.Kind.STATE).order_by("-seq").values_list("data", flat=True)
    told = {data["attempt_int"]: data for data in states[:STATES_AT_MOST] if data["status_str"] == Job.Status.PENDING}
    return {
        number: LOST.get(data.get("reason_code_str"), data.get("reason_text", ""))
        for number, data in sorted(told.items())
        if number
    }


def _attempt(number: int, steps: list) -> dict:
    """An attempt's steps, each with the place of its bar on a scale of 0 to 100."""
    now = timezone.now()
    start = min(step.started_at for step in steps)
    ends = {step.pk: step.completed_at or (now if step.status == "running" else step.started_at) for step in steps}
    span = max((max(ends.values()) - start).total_seconds(), 0.001)
    rows = []
    for step in steps:
        offset = 100 * (step.started_at - start).total_seconds() / span
        width = 100 * (ends[step.pk] - step.started_at).total_seconds() / span
        rows.append(
            {
                "step": step,
                "x": round(min(offset, 99), 2),
                "width": round(min(max(width, 1), 100 - min(offset, 99)), 2),
                "input": rendering.pretty(step.input_preview) if step.input_preview is not None else None,
                "output": rendering.pretty(step.output_preview) if step.output_preview is not None else None,
            }
        )
    return {"number": number, "rows": rows}


def _streamed(job: Job) -> list[dict]:
    """What the components of this attempt have said so far, by component."""
    newest_state = job.events.filter(kind=JobEvent.Kind.STATE).order_by("-seq").values_list("seq", flat=True).first()
    said = {}
    tokens = job.events.filter(kind=JobEvent.Kind.TOKEN, seq__gt=newest_state or 0, seq__lte=job.event_seq).order_by(
        "-seq"
    )
    for data in reversed(list(tokens.values_list("data", flat=True)[:TOKENS_AT_MOST])):
        said.setdefault(data["component_name_str"], []).append(data["text"])
    return [{"component": component, "text": "".join(texts)} for component, texts in said.items()]


def _curl(request, job: Job) -> str:
    """The same submission over the API, to paste into a shell."""
    body = {"ai_workflow_def_id": str(job.workflow_id), "trigger_data_json": job.trigger_data}
    if job.name:
        body["job_name_str"] = job.name
    body |= {ASKED_ON_THE_WIRE[name]: value for name, value in services.as_before(job)["control"].items()}
    url = request.build_absolute_uri("/api/v1/ai_workflow_job")
    return " \\\n  ".join(
        [
            f"curl -X POST {shlex.quote(url)}",
            '-H "Authorization: Bearer $AIWORKFLOW_API_KEY"',
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
        ]
    )


def _uuid(text) -> uuid.UUID | None:
    try:
        return text if isinstance(text, uuid.UUID) else uuid.UUID(str(text))
    except ValueError:
        return None
