"""Whatever a client sends, the answer is a problem document, never a 5xx and never a piece of our insides."""

import json

import pytest
from django.db import IntegrityError, OperationalError
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workflows.models import Workflow

pytestmark = pytest.mark.django_db

DEFS, JOBS = "/api/v1/ai_workflow_def", "/api/v1/ai_workflow_job"
WRITES = [
    ("post", DEFS), ("post", f"{DEFS}/validate"), ("post", JOBS), ("post", "/api/v1/auth/token"),
    ("post", "/api/v1/auth/token/refresh"), ("post", "/api/v1/auth/api_keys"),
]  # fmt: skip
LISTS = [DEFS, f"{DEFS}/list", JOBS, f"{JOBS}/list", "/api/v1/auth/api_keys"]


def problem(answer, status, code=None) -> dict:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body = json.loads(answer.content)
    assert {"type", "title", "status", "detail", "code", "request_id"} <= body.keys()
    assert body["status"] == status
    assert body["request_id"] == answer["X-Request-ID"]
    if code:
        assert body["code"] == code
    return body


@pytest.mark.parametrize("path", ["/api/v1/nowhere", "/api/v1/ai_workflow_def/not-a-uuid", "/api/", "/api/v1/%ff%00"])
@pytest.mark.parametrize("debug", [True, False])
def test_an_unknown_path_is_a_problem_document(anonymous, settings, path, debug):
    settings.DEBUG = debug

    problem(anonymous.get(path), 404, "not_found")


def test_elsewhere_a_person_gets_a_page(anonymous):
    answer = anonymous.get("/nowhere")

    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")


def test_a_method_that_is_not_taken_is_answered_405_with_those_that_are(api):
    for method, path, allowed in (
        ("delete", f"{DEFS}/list", "GET"), ("put", JOBS, "GET, POST"), ("get", f"{DEFS}/validate", "POST"),
    ):  # fmt: skip
        answer = getattr(api, method)(path)

        problem(answer, 405, "method_not_allowed")
        assert set(allowed.split(", ")) <= set(answer["Allow"].split(", "))


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_another_content_type_is_refused(api, method, path):
    answer = getattr(api, method)(path, data="a=b", content_type="application/x-www-form-urlencoded")

    problem(answer, 415, "unsupported_media_type")


BODIES = {
    "cut off": b'{"name_str": ',
    "nothing": b" ",
    "no UTF-8": b'{"name_str": "\xff\xfe"}',
    "UTF-16": '{"name_str": "x"}'.encode("utf-16"),
    "NaN": b'{"name_str": NaN}',
    "twice": b'{"name_str": "a", "name_str": "b"}',
    "NUL": b'{"name_str": "a\\u0000b"}',
    "NUL key": b'{"a\\u0000": 1}',
    "half a pair": b'{"name_str": "\\ud800"}',
    "huge integer": b'{"name_str": ' + b"9" * 5000 + b"}",
    "huge exponent": b'{"name_str": 1e999}',
    "deep": b'{"name_str": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not quite as deep": b'{"trigger_data_json": ' + b"[" * 400 + b"]" * 400 + b"}",
    "a list": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "a number": b"1",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_body_that_is_no_decent_json_is_refused(api, method, path, body):
    problem(getattr(api, method)(path, data=body, content_type="application/json"), 400)


def test_a_body_over_the_limit_is_answered_413(api, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    problem(api.post(DEFS, {"name_str": "x" * 200}, format="json"), 413, "payload_too_large")


ODD = [
    "", " ", "\0", "a\0b", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "10" + "0" * 22, "-1", "1.5",
    "٣", "१", "true ", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31", "0000-00-00",
    "2024-02-30T00:00:00Z", "2024-W01-1", "1e400", "nan", "%", "%%%", "'; DROP TABLE x --", "(" * 200, "x" * 5000,
    "," * 500, "\U0001f600", "00000000-0000-0000-0000-00000000000g", "{}", "[]", "null", "[0-9", "\\",
]  # fmt: skip
PARAMETERS = [
    "limit", "offset", "order_by", "order", "name", "version", "tags", "is_active", "created_after", "created_before",
    "updated_after", "updated_before", "started_after", "started_before", "completed_after", "completed_before",
    "job_name", "status", "ai_workflow_def_id", "nonsense", "", "format", "page", "\0", "name[]", "name__regex",
]  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_no_value_of_any_parameter_breaks_a_list(api, make_job, path, parameter):
    make_job()
    for value in ODD:
        answer = api.get(path, {parameter: value})
        if answer.status_code != 200:
            body = problem(answer, 400, "validation_failed")
            assert [error["field"] for error in body["errors"]] == [parameter]


@pytest.mark.parametrize(
    ("name", "value"), [("limit", "1" + "0" * 23), ("offset", "1" + "0" * 23), ("limit", "9" * 9999)]
)
def test_a_number_that_no_database_can_take_is_out_of_range(api, name, value):
    [error] = problem(api.get(DEFS, {name: value}), 400)["errors"]

    assert (error["field"], error["code"]) == (name, "out_of_range")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    field=st.sampled_from(
        ["name_str", "description_text", "hs_yaml_content", "version_str", "is_active_flag", "tags_str",
         "ai_workflow_def_id", "job_name_str", "trigger_data_json", "status_str", "expires_at_time", "username"]
    ),
    write=st.sampled_from(WRITES),
)  # fmt: skip
def test_no_value_of_any_field_breaks_a_write(api, monkeypatch, body, field, write):
    from workflows import engine

    monkeypatch.setattr(engine, "check", lambda text: engine.Checked([engine.Problem("no", "no")], None))
    method, path = write
    data = json.dumps({"name_str": "x", "hs_yaml_content": "x", "username": "x", "password": "x", field: body})

    answer = getattr(api, method)(path, data=data, content_type="application/json")

    assert answer.status_code < 500, answer.content
    assert answer.status_code < 400 or answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("charset", ["hex", "base64", "utf-7", "rot13", "nonsense", "utf-16", "idna", '"'])
def test_an_odd_charset_breaks_nothing(charset):
    from aiworkflow_project.wsgi import application

    environ = RequestFactory()._base_environ(
        PATH_INFO=DEFS, QUERY_STRING="name=%ff%e4%bd%a0", CONTENT_TYPE=f"application/json; charset={charset}"
    )
    said = []

    b"".join(application(environ, lambda status, headers: said.append(status)))

    assert said == ["401 Unauthorized"]


def test_what_nobody_foresaw_is_a_500_that_tells_nothing(api, monkeypatch, settings):
    settings.DEBUG = True

    def broken(self):
        raise RuntimeError("SELECT password FROM accounts_user -- /srv/secret/path")

    monkeypatch.setattr("workflows.api.views.WorkflowViewSet.get_queryset", broken)

    answer = api.get(DEFS)

    problem(answer, 500, "server_error")
    for inside in (b"SELECT", b"secret", b"Traceback", b"RuntimeError"):
        assert inside not in answer.content


def test_what_breaks_before_the_view_is_a_problem_document_as_well(monkeypatch, settings):
    for debug in (True, False):
        settings.DEBUG = debug
        answer = Client(raise_request_exception=False, headers={"host": "evil.example"}).get(DEFS)
        problem(answer, 400, "bad_request")
        assert b"ALLOWED_HOSTS" not in answer.content
        assert answer["X-Content-Type-Options"] == "nosniff"

    monkeypatch.setattr("django.middleware.common.CommonMiddleware.process_request", lambda self, request: 1 / 0)
    for debug in (True, False):
        settings.DEBUG = debug
        problem(Client(raise_request_exception=False).get(DEFS), 500, "server_error")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(OperationalError("database is locked"), 503, "unavailable"), (IntegrityError("UNIQUE"), 409, "conflict")],
)
def test_a_database_that_says_no_is_told_apart(api, monkeypatch, error, status, code):
    def fails(self):
        raise error

    monkeypatch.setattr("workflows.api.views.WorkflowViewSet.get_queryset", fails)

    answer = api.get(DEFS)

    problem(answer, status, code)
    assert ("Retry-After" in answer) == (status == 503)
    assert str(error).encode() not in answer.content


def test_a_sane_request_id_comes_back_and_another_is_made(anonymous):
    def sent(value):
        return problem(anonymous.get("/api/v1/nowhere", headers={"X-Request-ID": value}), 404)["request_id"]

    assert sent("abc-123") == "abc-123"
    for insane in ("", "a b", "x" * 65, "<script>", "你好"):
        assert sent(insane) not in ("", insane)


@pytest.mark.parametrize("path", [*LISTS, f"{DEFS}/validate", f"{JOBS}/00000000-0000-4000-8000-000000000009/cancel"])
def test_nobody_is_let_in_unknown(anonymous, path):
    answer = anonymous.post(path) if path.endswith(("validate", "cancel")) else anonymous.get(path)

    problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_only_json_and_event_streams_are_spoken(api):
    problem(api.get(DEFS, headers={"Accept": "application/xml"}), 406)
    assert api.get(DEFS, headers={"Accept": "text/html,*/*;q=0.8"}).status_code == 200


def test_options_and_head_are_answered(api, make_workflow):
    path = f"{DEFS}/{make_workflow().pk}"

    for address in (DEFS, path, JOBS):
        assert api.options(address).status_code == 200
        assert api.head(address).status_code == 200
    assert Workflow.objects.count() == 1
