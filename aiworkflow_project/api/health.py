"""Is it alive, is it ready, and how is it doing: /ping, /health and /metrics."""

import hmac
import logging

from django.conf import settings
from django.db import connection
from django.db.models import Count, Min, Sum
from django.http import HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_q.brokers import get_broker
from rest_framework.exceptions import AuthenticationFailed

from aiworkflow_project import tables
from aiworkflow_project.api.authentication import BearerAuthentication
from aiworkflow_project.api.errors import problem_response
from jobs.models import Job, Worker
from workflows import engine

logger = logging.getLogger(__name__)


@require_safe
def ping(request):
    """Alive: touches nothing."""
    return JsonResponse({"status": "ok"})


def _database():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _migrations():
    if waiting := tables.pending_migrations():
        return f"{len(waiting)} to apply"


def _broker():
    if not get_broker().ping():
        return "no answer"


def _workers():
    if not Worker.objects.alive().exists():
        return "none reported lately"


def _runner():
    if not engine.runner_status():
        return "no answer"


# Each answers None when it is well, or says what is wrong.
PARTS = {"database": _database, "migrations": _migrations, "broker": _broker, "workers": _workers, "runner": _runner}
# Without a runner beside the web server only new YAML can't be checked; the workers keep their own.
NOT_NEEDED = {"runner"}


@never_cache
@require_safe
def health(request):
    """Ready: 200, or 503 when a part that is needed is not well. Names the parts and nothing of their insides."""
    parts, ready = {}, True
    for name, look in PARTS.items():
        try:
            wrong = look()
        except Exception:  # whatever is wrong with it, the other parts are to be told of as well
            logger.warning("The %s can't be reached.", name, exc_info=True)
            wrong = "no answer"
        parts[name] = {"status": "error", "detail": wrong} if wrong else {"status": "ok"}
        ready &= not wrong or name in NOT_NEEDED
    return JsonResponse({"status": "ok" if ready else "error", "parts": parts}, status=200 if ready else 503)


@never_cache
@require_safe
def metrics(request):
    """Prometheus text. With DEBUG off, only for METRICS_TOKEN or a superuser."""
    if not settings.DEBUG and not _may_see_metrics(request):
        answer = problem_response(401, code="not_authenticated", detail="Metrics need a token.")
        answer["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return answer
    return HttpResponse(_exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _may_see_metrics(request) -> bool:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    if settings.METRICS_TOKEN and hmac.compare_digest(given, settings.METRICS_TOKEN.encode()):
        return True
    if request.user.is_authenticated:
        return request.user.is_active and request.user.is_superuser
    try:
        found = BearerAuthentication().authenticate(request)
    except AuthenticationFailed:
        return False
    return bool(found and found[0].is_superuser)


def _exposition() -> str:
    by_status = dict.fromkeys(Job.Status.values, 0)
    by_status |= dict(Job.objects.values_list("status").annotate(Count("pk")))
    oldest = Job.objects.pending().aggregate(oldest=Min("created_at"))["oldest"]
    age = (timezone.now() - oldest).total_seconds() if oldest else 0
    workers = Worker.objects.alive().aggregate(number=Count("pk"), places=Sum("places"))
    lines = _metric("aiworkflow_jobs", "Jobs by status.", {f'{{status="{name}"}}': n for name, n in by_status.items()})
    lines += _metric("aiworkflow_oldest_pending_job_seconds", "Age of the oldest pending job.", {"": max(age, 0)})
    lines += _metric("aiworkflow_workers", "Workers that reported lately.", {"": workers["number"]})
    lines += _metric("aiworkflow_worker_places", "Jobs that they can run at once.", {"": workers["places"] or 0})
    return "\n".join(lines) + "\n"


def _metric(name: str, help_text: str, values: dict) -> list[str]:
    return [
        f"# HELP {name} {help_text}",
        f"# TYPE {name} gauge",
        *(f"{name}{labels} {n}" for labels, n in values.items()),
    ]
