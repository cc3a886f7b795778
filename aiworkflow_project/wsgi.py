"""The WSGI application: everything but the event streams (see asgi.py)."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiworkflow_project.settings")

application = get_wsgi_application()
