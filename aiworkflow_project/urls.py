"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from aiworkflow_project.api import docs, health
from aiworkflow_project.api.routes import route

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("aiworkflow_project.api.urls")),
    *route("docs", docs.swagger, "docs"),
    *route("redoc", docs.redoc, "redoc"),
    path("redoc/bundle.js", docs.redoc_bundle, name="redoc-bundle"),
    path("openapi.json", docs.openapi, name="openapi"),
    *route("ping", health.ping, "ping"),
    *route("health", health.health, "health"),
    *route("metrics", health.metrics, "metrics"),
]
