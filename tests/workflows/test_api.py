"""Definitions over HTTP: what goes in comes out, lists keep their promises, and every wrong field is named."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.descriptions import PROMPT, PROMPT_YAML
from workflows import engine, services
from workflows.models import Workflow, WorkflowRevision

pytestmark = pytest.mark.django_db

ALL = "/api/v1/ai_workflow_def"
LIST = f"{ALL}/list"


@pytest.fixture
def checked(monkeypatch):
    """The engine's word on every YAML: valid, and described by hand. Returns the texts it was asked about."""
    asked = []

    def check(text):
        asked.append(text)
        return engine.Checked([], PROMPT)

    monkeypatch.setattr(engine, "check", check)
    return asked


@pytest.fixture
def refused(monkeypatch):
    problem = engine.Problem("unknown_socket", "prompt 没有 nope", "connections[0].sender", 7, 13)
    hint = engine.Problem("unused", "…", severity="warning")
    monkeypatch.setattr(engine, "check", lambda text: engine.Checked([problem, hint], None))


def named(answer) -> dict:
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    return {error["field"]: error["code"] for error in answer.json()["errors"]}


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


def test_what_was_created_is_read_back(api, admin, make_workspace, checked):
    make_workspace()
    body = {
        "name_str": "智能问答", "description_text": "基于RAG", "hs_yaml_content": PROMPT_YAML, "version_str": "1.2.0",
        "tags_str": "RAG, 问答,AI,RAG", "is_active_flag": False,
    }  # fmt: skip

    made = api.post(ALL, body, format="json")

    assert made.status_code == 201
    row = made.json()
    assert row == {
        "id": row["id"], "name_str": "智能问答", "description_text": "基于RAG", "hs_yaml_content": PROMPT_YAML,
        "version_str": "1.2.0", "is_active_flag": False, "tags_str": "RAG,问答,AI", "keep_jobs_days_int": None,
        "keep_steps_days_int": None,
        "ai_workflow_revision_int": 1,
        "concurrency_limit_int": None,
        "user_id": admin.pk, "created_at_time": row["created_at_time"], "updated_at_time": row["updated_at_time"],
    }  # fmt: skip
    assert made["Location"] == f"http://testserver{ALL}/{row['id']}"
    assert api.get(f"{ALL}/{row['id']}").json() == row
    assert api.get(f"{ALL}/{row['id']}/").json() == row
    assert api.get(LIST).json()["results"] == [row]


def test_yaml_is_kept_byte_for_byte(api, make_workspace, checked):
    make_workspace()
    text = "  \n# 注释\r\n" + PROMPT_YAML + "\n\n \t"

    row = api.post(ALL, {"name_str": "x", "hs_yaml_content": text}, format="json").json()

    assert row["hs_yaml_content"] == text
    assert checked == [text]


def test_defaults_are_those_of_the_contract(api, make_workspace, checked):
    make_workspace()

    row = api.post(ALL, {"name_str": "x", "hs_yaml_content": PROMPT_YAML}, format="json").json()

    assert (row["version_str"], row["is_active_flag"], row["tags_str"]) == ("1.0.0", True, "")
    assert row["description_text"] is None


def test_every_wrong_field_is_named_the_yaml_included(api, make_workspace, refused):
    body = {
        "name_str": "x" * 256, "description_text": "x" * 1001, "version_str": "x" * 51, "tags_str": 5,
        "is_active_flag": "perhaps", "hs_yaml_content": "a: b", "descripton_text": "a slip",
    }  # fmt: skip

    answer = api.post(ALL, body, format="json")

    assert named(answer) == {
        "name_str": "max_length", "description_text": "max_length", "version_str": "max_length", "tags_str": "invalid",
        "is_active_flag": "invalid", "hs_yaml_content": "unknown_socket", "descripton_text": "unknown",
    }  # fmt: skip


def test_problems_of_the_yaml_come_with_their_place(api, make_workspace, refused):
    make_workspace()

    answer = api.post(ALL, {"name_str": "x", "hs_yaml_content": "a: b"}, format="json")

    assert answer.json()["errors"] == [
        {"field": "hs_yaml_content", "code": "unknown_socket", "detail": "prompt 没有 nope",
         "path": "connections[0].sender", "line": 7, "column": 13},
    ]  # fmt: skip
    assert not Workflow.objects.exists()


def test_without_a_runner_new_yaml_is_put_off_and_not_refused(api, make_workflow, monkeypatch):
    def check(text):
        raise engine.RunnerUnavailable("No runner answers on /secret/path/runner.sock.")

    monkeypatch.setattr(engine, "check", check)

    answer = api.post(ALL, {"name_str": "x", "hs_yaml_content": PROMPT_YAML}, format="json")

    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert answer["Content-Type"] == "application/problem+json"
    assert b"/secret/path" not in answer.content
    # What changes no YAML needs no runner.
    workflow = make_workflow()
    assert api.patch(f"{ALL}/{workflow.pk}", {"is_active_flag": False}, format="json").status_code == 200


def test_a_name_and_version_are_taken_once_and_free_after_a_delete(api, make_workspace, checked):
    make_workspace()
    body = {"name_str": "问答", "hs_yaml_content": PROMPT_YAML}
    first = api.post(ALL, body, format="json").json()

    assert named(api.post(ALL, body, format="json")) == {"name_str": "unique"}
    assert api.post(ALL, {**body, "version_str": "2"}, format="json").status_code == 201
    assert api.delete(f"{ALL}/{first['id']}").status_code == 204
    assert api.post(ALL, body, format="json").status_code == 201


def test_put_replaces_and_patch_changes_what_is_given(api, make_workflow, checked):
    workflow = make_workflow(description="说明", tags="a,b", version="3", is_active=False)
    path = f"{ALL}/{workflow.pk}"

    patched = api.patch(path, {"version_str": "4"}, format="json").json()
    assert (patched["version_str"], patched["description_text"], patched["tags_str"]) == ("4", "说明", "a,b")
    assert patched["updated_at_time"] > patched["created_at_time"]

    replaced = api.put(path, {"name_str": "新", "hs_yaml_content": PROMPT_YAML}, format="json").json()
    assert (replaced["name_str"], replaced["version_str"], replaced["description_text"]) == ("新", "1.0.0", None)
    assert (replaced["tags_str"], replaced["is_active_flag"]) == ("", True)


def test_what_was_read_can_be_put_back(api, make_workflow, checked):
    path = f"{ALL}/{make_workflow(tags='a').pk}"
    row = api.get(path).json()

    answer = api.put(path, row, format="json")

    assert answer.status_code == 200
    assert {**answer.json(), "updated_at_time": 0} == {**row, "updated_at_time": 0}


def test_a_new_text_is_a_new_revision_and_an_old_one_is_found_again(api, make_workflow, checked):
    path = f"{ALL}/{make_workflow().pk}"

    assert (
        api.patch(path, {"hs_yaml_content": PROMPT_YAML + "# 2"}, format="json").json()["ai_workflow_revision_int"] == 2
    )
    assert api.patch(path, {"hs_yaml_content": PROMPT_YAML}, format="json").json()["ai_workflow_revision_int"] == 1

    rows = api.get(f"{path}/revisions").json()["results"]
    assert [(row["revision_int"], row["hs_yaml_content"]) for row in rows] == [
        (2, PROMPT_YAML + "# 2"),
        (1, PROMPT_YAML),
    ]


def test_a_deleted_definition_is_gone_but_its_jobs_keep_it(api, make_job):
    job = make_job(status="completed")
    path = f"{ALL}/{job.workflow_id}"

    assert api.delete(path).status_code == 204

    for method in (api.get, api.delete):
        assert method(path).status_code == 404
    assert api.get(f"{path}/schema").status_code == 404
    assert api.get(f"{path}/revisions").status_code == 404
    assert ids(api.get(LIST)) == []
    assert api.get(f"/api/v1/ai_workflow_job/{job.pk}").json()["ai_workflow_def_id"] == str(job.workflow_id)


def test_validate_saves_nothing_and_says_what_a_pipeline_takes(api, checked):
    answer = api.post(f"{ALL}/validate", {"hs_yaml_content": PROMPT_YAML}, format="json")

    assert answer.status_code == 200
    assert answer.json() == {
        "valid": True, "errors": [], "warnings": [], "inputs": PROMPT["trigger_schema"], "outputs": PROMPT["outputs"],
    }  # fmt: skip
    assert not Workflow.objects.exists()


def test_validate_answers_200_for_yaml_that_is_not_valid(api, refused):
    body = api.post(f"{ALL}/validate", {"hs_yaml_content": "a: b"}, format="json").json()

    assert body["valid"] is False
    assert [(error["code"], error["line"], error["column"]) for error in body["errors"]] == [("unknown_socket", 7, 13)]
    assert [warning["code"] for warning in body["warnings"]] == ["unused"]
    assert body["inputs"] is None


def test_the_schema_of_a_definition(api, make_workflow):
    workflow = make_workflow()

    body = api.get(f"{ALL}/{workflow.pk}/schema").json()

    assert body == {"inputs": PROMPT["trigger_schema"], "outputs": PROMPT["outputs"]}


def test_filters_narrow_a_list_and_combine(api, make_workflow):
    old = make_workflow(name="智能-A", tags="RAG,AI", version="1.0.0")
    new = make_workflow(name="智能-b", tags="RAGGED,问答", version="3.1.4", is_active=False)
    two = {str(old.pk), str(new.pk)}

    def listed(**params):
        return ids(api.get(LIST, params))

    assert set(listed(name="智能")) == two
    assert listed(name="智能-a") == [str(old.pk)]
    assert set(listed(name="")) == two
    assert listed(version="3.1.4") == [str(new.pk)]
    assert listed(tags="RAG") == listed(tags="AI, RAG") == [str(old.pk)]
    assert listed(tags="RAG,问答") == []
    assert listed(is_active="false") == listed(is_active="False") == [str(new.pk)]
    assert listed(is_active="true", tags="问答") == []
    assert listed(name="100%") == listed(name="_") == []


def test_after_includes_the_instant_and_before_excludes_it(api, make_workflow):
    workflow = make_workflow()
    instant = workflow.created_at.isoformat()

    assert ids(api.get(LIST, {"created_after": instant})) == [str(workflow.pk)]
    assert ids(api.get(LIST, {"created_before": instant})) == []
    # As a client that forgot to escape the plus sends it.
    assert ids(api.get(f"{LIST}?created_after={instant}")) == [str(workflow.pk)]


def test_a_time_without_an_offset_is_the_servers(api, make_workflow, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    timezone.get_default_timezone.cache_clear()
    try:
        workflow = make_workflow(
            created_at=timezone.datetime(2024, 1, 1, 0, 30, tzinfo=timezone.get_default_timezone())
        )
        assert ids(api.get(LIST, {"created_after": "2024-01-01T00:30:00", "created_before": "2024-01-01T00:31"})) == [
            str(workflow.pk)
        ]
        assert ids(api.get(LIST, {"created_after": "2024-01-01T00:30:00Z"})) == []
    finally:
        timezone.get_default_timezone.cache_clear()


@pytest.mark.parametrize(
    "order_by", ["name_str", "version_str", "is_active_flag", "created_at_time", "updated_at_time"]
)
def test_every_order_turns_round_and_pages_neither_repeat_nor_skip(api, make_workflow, order_by):
    now = timezone.now()
    for n in range(7):
        make_workflow(name=f"n{n % 2}", version=str(n), created_at=now, updated_at=now - timedelta(days=n % 3))

    down = ids(api.get(LIST, {"order_by": order_by}))
    up = ids(api.get(LIST, {"order_by": order_by, "order": "asc"}))
    pages = [api.get(LIST, {"order_by": order_by, "limit": 2, "offset": offset}) for offset in (0, 2, 4, 6)]

    assert up == down[::-1]
    assert [one for page in pages for one in ids(page)] == down
    assert {page.json()["count"] for page in pages} == {7}


def test_the_newest_change_comes_first_by_default(api, make_workflow):
    now = timezone.now()
    old, new = (make_workflow(updated_at=now - timedelta(hours=hours)) for hours in (2, 1))

    assert ids(api.get(LIST)) == ids(api.get(ALL)) == [str(new.pk), str(old.pk)]


def test_next_and_previous_lead_through_all_pages(api, make_workflow):
    for _ in range(5):
        make_workflow()

    seen, address = [], f"{LIST}?limit=2&order_by=created_at_time&name="
    while address:
        body = api.get(address).json()
        seen += [row["id"] for row in body["results"]]
        last, address = body, body["next"]

    assert len(seen) == len(set(seen)) == 5
    assert last["previous"] == "http://testserver" + f"{LIST}?limit=2&name=&offset=2&order_by=created_at_time"


def test_every_wrong_parameter_is_named_at_once(api):
    params = {
        "limit": "10", "offset": "-1", "order": "sideways", "order_by": "password", "created_after": "yesterday",
        "is_active": "maybe", "tags": " , ", "version": "", "nonsense": "1",
    }  # fmt: skip

    assert named(api.get(LIST, params)) == {
        "offset": "out_of_range", "order": "invalid_choice", "order_by": "invalid_choice", "created_after": "invalid",
        "is_active": "invalid", "tags": "required", "version": "required", "nonsense": "unknown",
    }  # fmt: skip


def test_a_list_costs_few_queries_however_long_it_is(api, make_workflow, django_assert_max_num_queries):
    for _ in range(12):
        path = f"{ALL}/{make_workflow().pk}"

    with django_assert_max_num_queries(2):  # rows and their number
        assert len(ids(api.get(LIST, {"limit": 10}))) == 10
    with django_assert_max_num_queries(1):  # the page itself tells
        assert len(ids(api.get(LIST))) == 12
    with django_assert_max_num_queries(1):
        api.get(path)
    with django_assert_max_num_queries(1):
        api.get(f"{path}/revisions")


def test_other_workspaces_are_not_to_be_seen(api, make_workspace, make_workflow):
    foreign = make_workflow(workspace=make_workspace("other"))
    path = f"{ALL}/{foreign.pk}"

    assert ids(api.get(LIST)) == []
    assert api.get(path).status_code == 404
    assert api.get(f"{path}/schema").status_code == 404
    assert api.get(f"{path}/revisions").status_code == 404
    assert api.patch(path, {"name_str": "mine"}, format="json").status_code == 404
    assert api.delete(path).status_code == 404


@pytest.mark.parametrize(
    ("permission", "method", "path"),
    [
        ("view", "get", ALL), ("view", "get", LIST), ("view", "get", "{one}"), ("view", "get", "{one}/schema"),
        ("view", "get", "{one}/revisions"), ("add", "post", ALL), ("add", "post", f"{ALL}/validate"),
        ("change", "patch", "{one}"), ("change", "put", "{one}"), ("delete", "delete", "{one}"),
    ],
)  # fmt: skip
def test_each_act_needs_its_permission(make_client, make_user, make_workflow, checked, permission, method, path):
    path = path.format(one=f"{ALL}/{make_workflow().pk}")
    body = {} if method in ("get", "delete") else {"name_str": "x", "hs_yaml_content": PROMPT_YAML}
    others = [f"workflows.{other}_workflow" for other in ("view", "add", "change", "delete") if other != permission]
    without = make_client(make_user("without", permissions=others))
    having = make_client(make_user("having", permissions=[f"workflows.{permission}_workflow"]))

    refusal = getattr(without, method)(path, body, format="json")
    answer = getattr(having, method)(path, body or None, format="json")

    assert (refusal.status_code, refusal.json()["code"]) == (403, "permission_denied")
    # Whoever may only write still sees the row that he wrote.
    assert answer.status_code in (200, 201, 204), answer.content


def test_a_race_for_the_next_revision_number_is_a_conflict_and_no_crash(api, make_workflow, checked, monkeypatch):
    workflow = make_workflow()
    WorkflowRevision.objects.create(
        workflow=workflow, number=2, pipeline_yaml="x", content_hash="other", description=PROMPT
    )
    original = services._next_revision

    def late(workflow, *args):
        monkeypatch.setattr(
            type(workflow.revisions), "order_by", lambda self, *names: self.get_queryset().filter(number=1)
        )
        return original(workflow, *args)

    monkeypatch.setattr(services, "_next_revision", late)

    answer = api.patch(f"{ALL}/{workflow.pk}", {"hs_yaml_content": PROMPT_YAML + "#"}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_the_catalogue_lists_and_finds_components(api, monkeypatch):
    entry = {"type": "haystack.x.Prompt", "name": "Prompt", "docs": "Renders 提示.\nMore.", "allowed": True}
    other = {"type": "haystack.x.Shell", "name": "Shell", "docs": "", "allowed": False, "init": []}
    monkeypatch.setattr(engine, "catalog", lambda: {"components": {entry["type"]: entry, other["type"]: other}})

    assert [row["type"] for row in api.get("/api/v1/components").json()["results"]] == [entry["type"], other["type"]]
    body = api.get("/api/v1/components", {"allowed": "true", "name": "PROMPT", "limit": 1}).json()
    assert body["results"] == [{"type": entry["type"], "name": "Prompt", "summary": "Renders 提示.", "allowed": True}]
    assert json.loads(api.get("/api/v1/components/haystack.x.Shell").content) == other
    assert api.get("/api/v1/components/haystack.x.Nope").status_code == 404
    assert named(api.get("/api/v1/components", {"allowed": "maybe", "limit": 0, "kind": "x"})) == {
        "allowed": "invalid", "limit": "out_of_range", "kind": "unknown",
    }  # fmt: skip


@pytest.mark.parametrize(("sent", "kept"), [(90, 90), (0, 0), (None, None), (36_500, 36_500)])
def test_how_long_jobs_are_kept_is_said_and_taken_back(api, make_workspace, checked, sent, kept):
    make_workspace()
    row = api.post(ALL, {"name_str": "保留", "hs_yaml_content": PROMPT_YAML, "keep_jobs_days_int": sent}, "json").json()
    assert (row["keep_jobs_days_int"], row["keep_steps_days_int"]) == (kept, None)

    changed = api.patch(f"{ALL}/{row['id']}", {"keep_steps_days_int": 3}, "json").json()
    assert (changed["keep_jobs_days_int"], changed["keep_steps_days_int"]) == (kept, 3)

    replaced = api.put(f"{ALL}/{row['id']}", {"name_str": "保留", "hs_yaml_content": PROMPT_YAML}, "json").json()
    assert (replaced["keep_jobs_days_int"], replaced["keep_steps_days_int"]) == (None, None)


@pytest.mark.parametrize("days", [-1, 36_501, 1.5, "a month", True])
def test_days_that_nobody_can_count_are_refused(api, make_workspace, checked, days):
    make_workspace()
    answer = api.post(ALL, {"name_str": "x", "hs_yaml_content": PROMPT_YAML, "keep_jobs_days_int": days}, "json")

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["keep_jobs_days_int"]
