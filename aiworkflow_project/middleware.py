"""Middleware that pages need, and the API only for a caller with a session: a key or a token has no use for it."""

from csp.middleware import CSPMiddleware as Policy
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware as Authentication
from django.contrib.messages.middleware import MessageMiddleware as Message
from django.contrib.sessions.middleware import SessionMiddleware as Session


def for_pages(middleware):
    class ForPages(middleware):
        def __call__(self, request):
            if request.path_info.startswith("/api/") and settings.SESSION_COOKIE_NAME not in request.COOKIES:
                return self.get_response(request)
            return super().__call__(request)

    return ForPages


SessionMiddleware = for_pages(Session)
AuthenticationMiddleware = for_pages(Authentication)
MessageMiddleware = for_pages(Message)
CSPMiddleware = for_pages(Policy)
