"""Everything under /api/v1."""

from accounts.api.urls import urlpatterns as accounts
from aiworkflow_project.api.debug import urlpatterns as debug
from jobs.api.urls import urlpatterns as jobs
from workflows.api.urls import urlpatterns as workflows

urlpatterns = [*accounts, *workflows, *jobs, *debug]
