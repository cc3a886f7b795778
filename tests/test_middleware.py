"""What pages need, the API does without, unless its caller has a session."""

import pytest
from django.test import Client

from accounts.models import ApiKey

pytestmark = pytest.mark.django_db

LIST, CANCEL = "/api/v1/ai_workflow_job", "/api/v1/ai_workflow_job/{}/cancel"


@pytest.fixture
def bearer(admin, make_workspace) -> dict:
    key = ApiKey(workspace=make_workspace(), user=admin, name="CI").issue()
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def web() -> Client:
    """As a browser: its forms are refused without the token of their page."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def signed_in(web, admin) -> Client:
    page = web.get("/admin/login/")
    web.post(
        "/admin/login/",
        {
            "username": "admin",
            "password": "correct horse",
            "csrfmiddlewaretoken": page.context["csrf_token"],
            "next": "/admin/",
        },
    )
    return web


@pytest.mark.parametrize(
    ("path", "status"), [(LIST, 200), (LIST + "/", 200), (LIST + "?limit=x", 400), ("/api/v1/nowhere", 404)]
)
def test_a_caller_without_a_session_gets_none_and_no_policy_but_the_other_headers(web, bearer, path, status):
    answer = web.get(path, headers=bearer)

    assert answer.status_code == status
    assert not hasattr(answer.wsgi_request, "session")
    assert not answer.cookies
    assert "Content-Security-Policy" not in answer
    assert (answer["X-Content-Type-Options"], answer["X-Frame-Options"]) == ("nosniff", "DENY")
    assert (answer["Referrer-Policy"], answer["Cross-Origin-Opener-Policy"]) == ("same-origin", "same-origin")
    assert answer["X-Request-ID"]


def test_a_caller_with_neither_is_refused(web):
    answer = web.get(LIST)

    assert answer.status_code == 401
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_session_signs_the_api_s_caller_in(signed_in):
    answer = signed_in.get(LIST)

    assert answer.status_code == 200
    assert "script-src 'self'" in answer["Content-Security-Policy"]


def test_a_session_of_nobody_signs_nobody_in(web):
    web.cookies["sessionid"] = "0" * 32

    assert web.get(LIST).status_code == 401


def test_a_session_changes_nothing_without_the_token_of_its_page(signed_in, make_job):
    job = make_job()

    refused = signed_in.post(CANCEL.format(job.pk), content_type="application/json")
    job.refresh_from_db()
    assert (refused.status_code, job.status) == (403, "pending")

    token = signed_in.cookies["csrftoken"].value
    allowed = signed_in.post(CANCEL.format(job.pk), content_type="application/json", headers={"X-CSRFToken": token})
    assert allowed.status_code == 200


def test_a_key_needs_no_token_of_a_page_whatever_cookies_come_with_it(signed_in, bearer, make_job):
    answer = signed_in.post(CANCEL.format(make_job().pk), content_type="application/json", headers=bearer)

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc/", "/admin/login/", "/apis", "/admin/api/"])
def test_pages_have_the_policy_and_a_session_whoever_asks(web, path):
    answer = web.get(path)

    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert answer.wsgi_request.session.is_empty()
    assert answer.wsgi_request.user.is_anonymous


def test_the_console_signs_in_and_says_so_on_the_next_page(signed_in, make_job):
    answer = signed_in.get("/admin/")
    assert (answer.status_code, answer.wsgi_request.user.username) == (200, "admin")

    job = make_job()
    told = signed_in.post(
        f"/admin/jobs/job/{job.pk}/cancel/", {"csrfmiddlewaretoken": answer.context["csrf_token"]}, follow=True
    )

    assert [str(message) for message in told.context["messages"]] == ["The job was cancelled."]
