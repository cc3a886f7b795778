"""The WSGI application: everything but the event streams (see asgi.py)."""

import os

from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiworkflow_project.settings")


class Request(WSGIRequest):
    """Everything is UTF-8. Django would read even the query string in the charset that a client claims for the body,
    and fails before any of its handlers where that is no charset of text ("hex")."""

    def _set_content_type_params(self, meta):
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))


application = get_wsgi_application()
application.request_class = Request
