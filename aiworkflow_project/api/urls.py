"""Everything under /api/v1."""

from accounts.api.urls import urlpatterns as accounts
from aiworkflow_project.api.debug import urlpatterns as debug
from jobs.api.urls import urlpatterns as jobs
from workflows.api.urls import urlpatterns as workflows

urlpatterns = [*jobs, *workflows, *accounts, *debug]  # in the order of how much each is asked for
