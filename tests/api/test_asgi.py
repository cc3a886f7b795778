"""An exchange by itself: what Django can't answer for."""

import threading

import pytest

from aiworkflow_project import asgi


@pytest.fixture
def ask(settings, monkeypatch):
    """Asks a server whose Django is `application`, and returns what is sent once all is said."""
    settings.WEB_THREADS = 1  # more, for those of the test before stay
    asgi.open_threads()

    def ask(application, send=None) -> list[dict]:
        monkeypatch.setattr("aiworkflow_project.wsgi.application", application)
        sent, over = [], threading.Event()
        scope = {"method": "GET", "path": "/", "query_string": b"", "http_version": "1.1", "headers": []}
        asgi.Exchange(scope, None, send or sent.append, None, over.set).begin()
        assert over.wait(10)
        return sent

    return ask


def web_threads() -> list:
    return [thread for thread in threading.enumerate() if thread.name.startswith("web-")]


class Answer(list):
    def close(self):
        pass


def answers(environ, start_response):
    start_response("200 OK", [("X-Name", "值".encode().decode("latin-1"))])
    return Answer([b"all", b" well"])


def fails(error):
    def application(environ, start_response):
        raise error

    return application


def test_what_django_cannot_answer_for_is_a_server_error_without_its_reason(ask):
    start, body = ask(fails(RuntimeError("secret")))

    assert start["status"] == 500
    assert b"server_error" in body["body"]
    assert b"secret" not in body["body"]


def test_a_request_costs_no_thread_whatever_it_raises(ask):
    def gone(message):
        raise OSError("The client is gone.")

    before = web_threads()
    ask(fails(SystemExit()))
    ask(answers, send=gone)
    ask(fails(RuntimeError()), send=gone)
    start, body = ask(answers)

    assert web_threads() == before
    assert (start["status"], start["headers"]) == (200, [(b"x-name", "值".encode())])
    assert (body["body"], body["more_body"]) == (b"all well", False)
