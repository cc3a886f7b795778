"""The API's own documentation: the OpenAPI document, and two readers of it served from here."""

from functools import cache
from pathlib import Path

import drf_spectacular_sidecar
from csp.constants import NONCE, NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp_replace
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

from aiworkflow_project.api.renderers import dump

# The readers put styles on the page as they go; scripts still come from here alone. ReDoc searches in a worker.
policy = csp_replace(
    {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF, "data:"],
        "connect-src": [SELF],
        "worker-src": [SELF, "blob:"],
    }
)

REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
NO_PICTURE = b"data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


@cache
def _document() -> bytes:
    return dump(SchemaGenerator().get_schema(request=None, public=True))


@require_safe
def openapi(request):
    return HttpResponse(_document(), content_type="application/json")


@policy
@require_safe
def swagger(request):
    return render(request, "docs/swagger.html")


@policy
@require_safe
def redoc(request):
    return render(request, "docs/redoc.html")


@cache
def _redoc_bundle() -> bytes:
    """ReDoc, without the one picture that it would fetch from its maker's host."""
    folder = Path(drf_spectacular_sidecar.__file__).parent / "static/drf_spectacular_sidecar/redoc/bundles"
    return (folder / "redoc.standalone.js").read_bytes().replace(REDOC_LOGO, NO_PICTURE)


@cache_control(max_age=3600)
@require_safe
def redoc_bundle(request):
    return HttpResponse(_redoc_bundle(), content_type="text/javascript; charset=utf-8")
