"""Other origins' pages may call the API only where the operator listed them."""

import pytest

pytestmark = pytest.mark.django_db


def preflight(client, origin):
    return client.options("/api/v1/ai_workflow_job", HTTP_ORIGIN=origin, HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST")


def test_no_origin_is_let_in_by_default(client):
    answer = preflight(client, "https://elsewhere.example")

    assert "Access-Control-Allow-Origin" not in answer


def test_a_listed_origin_is_let_in_and_another_is_not(client, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]

    assert preflight(client, "https://app.example")["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Access-Control-Allow-Origin" not in preflight(client, "https://elsewhere.example")


def test_the_console_is_for_no_other_origin(client, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]

    answer = client.get("/admin/login/", HTTP_ORIGIN="https://app.example")

    assert "Access-Control-Allow-Origin" not in answer
