"""The pages of workflows, without a browser and without a runner."""

import json

import pytest
from django.urls import reverse

from tests import descriptions
from workflows import engine
from workflows.models import Workflow

LIST = "/admin/workflows/workflow/"


@pytest.fixture
def as_admin(client, admin):
    client.force_login(admin)
    return client


@pytest.fixture
def signed_in(client, make_user):
    def sign_in(*permissions):
        client.force_login(make_user(permissions=permissions, is_staff=True))
        return client

    return sign_in


def fields(workflow, **changes) -> dict:
    return {
        "name": workflow.name,
        "version": workflow.version,
        "description": workflow.description or "",
        "tags": workflow.tags,
        "is_active": "on",
        "pipeline_yaml": workflow.current_revision.pipeline_yaml,
        "based_on": str(workflow.current_revision_id),
        "_continue": "1",
        **changes,
    }


def page(workflow, name="change", *more) -> str:
    return reverse(f"admin:workflows_workflow_{name}", args=[workflow.pk, *more])


def test_the_list_takes_as_many_queries_for_fifty_workflows_as_for_one(
    as_admin, make_workflow, make_job, django_assert_num_queries
):
    make_job(workflow=make_workflow(tags="RAG,中文"))
    with django_assert_num_queries(8) as first:
        as_admin.get(LIST)

    for _ in range(49):
        make_job(workflow=make_workflow(tags="RAG"), status="failed")
    with django_assert_num_queries(len(first)):
        content = as_admin.get(LIST).content.decode()

    assert content.count("badge-failed") == 49


@pytest.mark.parametrize(("limit", "said"), [(None, None), (0, "held"), (1, "1 job at once"), (3, "3 jobs at once")])
def test_the_list_says_how_many_jobs_run_at_once(as_admin, make_workflow, limit, said):
    workflow = make_workflow(concurrency_limit=limit)

    state = as_admin.get(LIST).content.decode().partition('class="field-state')[2].partition("</td>")[0]
    form = as_admin.get(page(workflow)).content.decode()

    assert (f'<span class="cell-sub">{said}</span>' in state) if said else "cell-sub" not in state
    assert ("badge-pending" in form.partition('class="page-head"')[2].partition("</p>")[0]) == (limit == 0)
    assert "Further jobs wait. 0 holds them all; empty is no limit." in form


def test_the_tag_filter_finds_whole_tags(as_admin, make_workflow):
    make_workflow(name="wanted", tags="RAG,中文")
    make_workflow(name="other", tags="RAGGED")

    content = as_admin.get(LIST, {"tag": "RAG"}).content.decode()

    assert "wanted" in content
    assert ">other<" not in content


def test_a_deleted_workflow_is_hidden_and_its_jobs_stay(as_admin, make_workflow, make_job):
    workflow = make_workflow(name="知识库")
    job = make_job(workflow=workflow, status="completed")

    asked = as_admin.get(page(workflow, "delete")).content.decode()
    as_admin.post(page(workflow, "delete"), {"post": "yes"})

    assert "hides it" in asked
    assert page(workflow) not in as_admin.get(LIST).content.decode()
    assert as_admin.get(page(workflow)).status_code == 302
    assert as_admin.get(reverse("admin:jobs_job_change", args=[job.pk])).status_code == 200
    assert Workflow.objects.filter(pk=workflow.pk, deleted_at__isnull=False).exists()


def test_several_workflows_can_be_hidden_at_once_although_they_have_jobs(as_admin, make_workflow, make_job):
    workflows = [make_job().workflow, make_job().workflow]
    chosen = {"action": "delete_selected", "_selected_action": [str(workflow.pk) for workflow in workflows]}

    assert "hides it" in as_admin.post(LIST, chosen).content.decode()
    as_admin.post(LIST, {**chosen, "post": "yes"})

    assert not Workflow.objects.kept().exists()
    assert Workflow.objects.count() == 2


def test_who_may_only_look_gets_no_action_no_form_and_no_restoring(signed_in, make_workflow):
    client, workflow = signed_in("workflows.view_workflow"), make_workflow()

    content = client.get(page(workflow)).content.decode()

    assert workflow.current_revision.pipeline_yaml.splitlines()[0] in content
    assert 'name="pipeline_yaml"' not in content
    assert 'value="deactivate"' not in client.get(LIST).content.decode()
    client.post(LIST, {"action": "deactivate", "_selected_action": [str(workflow.pk)]})
    assert Workflow.objects.get(pk=workflow.pk).is_active
    assert client.post(page(workflow, "restore", 1)).status_code == 403
    assert client.post(LIST + "check/", {"pipeline_yaml": "a: 1"}).status_code == 403


def test_a_stranger_is_sent_to_sign_in(client, make_workflow):
    for address in (LIST, page(make_workflow()), LIST + "check/", LIST + "components/"):
        assert client.get(address).status_code == 302


def test_saving_without_a_change_of_the_text_needs_no_runner_and_makes_no_revision(as_admin, make_workflow):
    workflow = make_workflow(pipeline_yaml=descriptions.PROMPT_YAML.replace("\n", "\r\n"))

    answer = as_admin.post(page(workflow), fields(workflow, description="新的描述"))

    assert answer.status_code == 302
    workflow.refresh_from_db()
    assert workflow.description == "新的描述"
    assert workflow.revisions.count() == 1


def test_without_a_runner_a_new_text_is_refused_kindly_and_nothing_is_lost(as_admin, make_workflow):
    workflow = make_workflow()
    changed = descriptions.PROMPT_YAML + "# 新的一行\n"

    answer = as_admin.post(page(workflow), fields(workflow, pipeline_yaml=changed))

    assert answer.status_code == 200
    content = answer.content.decode()
    assert "the runner does not answer" in content
    assert "# 新的一行" in content
    assert workflow.revisions.count() == 1


def test_a_name_that_is_taken_is_said_at_the_name(as_admin, make_workflow):
    make_workflow(name="问答", version="2.0")
    workflow = make_workflow(name="问答", version="1.0")

    content = as_admin.post(page(workflow), fields(workflow, version="2.0")).content.decode()

    assert "There is already a workflow of this name and version." in content
    workflow.refresh_from_db()
    assert workflow.version == "1.0"


def test_who_edits_an_old_page_does_not_undo_what_was_saved_meanwhile(as_admin, make_workflow):
    workflow = make_workflow()
    old = fields(workflow)
    workflow.current_revision = workflow.revisions.create(
        number=2, pipeline_yaml="# 别人改的", content_hash="x", description=descriptions.PROMPT
    )
    workflow.save()

    content = as_admin.post(page(workflow), old).content.decode()

    assert "Somebody saved revision 2" in content
    workflow.refresh_from_db()
    assert workflow.current_revision.number == 2


def test_a_refused_text_lists_every_problem_with_its_place(as_admin, make_workflow):
    workflow = make_workflow()
    bad = "components:\n  a:\n    type: os.system\n  b:\n    type: no.such.Thing\n"

    content = as_admin.post(page(workflow), fields(workflow, pipeline_yaml=bad)).content.decode()

    problems = json.loads(content.partition('id="yaml-problems" type="application/json">')[2].partition("</script>")[0])
    assert [problem["line"] for problem in problems if problem["severity"] == "error"][:2] == [3, 5]
    assert "3:" in content.partition('id="yaml-problem-list"')[2]


def test_the_check_answers_with_problems_and_saves_nothing(as_admin, make_workspace):
    make_workspace()

    answer = as_admin.post(LIST + "check/", {"pipeline_yaml": "components:\n  a:\n    type: os.system\n"})

    assert answer.json()["valid"] is False
    assert answer.json()["problems"][0]["line"] == 3
    assert not Workflow.objects.exists()


def test_a_workflow_s_page_draws_its_pipeline_as_an_image_with_words(as_admin, make_workflow):
    workflow = make_workflow()
    graph = engine.draw(workflow.current_revision.description)

    content = as_admin.get(page(workflow)).content.decode()

    assert 'role="img"' in content
    assert all(f">{node.name_text}</text>" in content for node in graph.nodes)
    assert graph.edges[0].path in content


def test_what_authors_write_is_never_markup(as_admin, make_workflow):
    evil = "<script>alert(1)</script>"
    workflow = make_workflow(name=evil, description=evil, tags=evil, pipeline_yaml=f"# </textarea>{evil}\n")
    workflow.revisions.create(number=2, pipeline_yaml=f"# {evil}\n", content_hash="y", description=descriptions.PROMPT)

    for address in (LIST, page(workflow), page(workflow, "revisions"), page(workflow, "revision", 2)):
        assert evil not in as_admin.get(address).content.decode()


def test_no_page_has_inline_styles_scripts_or_handlers(as_admin, make_workflow, make_job):
    import re

    workflow, job = make_workflow(), make_job(status="completed")
    addresses = [
        "/admin/",
        LIST,
        LIST + "add/",
        page(workflow),
        page(workflow, "revision", 1),
        "/admin/jobs/job/",
        reverse("admin:jobs_job_change", args=[job.pk]),
        f"/admin/jobs/job/add/?workflow={workflow.pk}",
        "/admin/accounts/user/",
        "/admin/accounts/apikey/add/",
    ]

    for address in addresses:
        answer = as_admin.get(address)
        assert "'none'" in answer["Content-Security-Policy"]
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert not re.findall(
            r'\sstyle="|\son[a-z]+="|<style|<script(?![^>]*(src=|application/json))', answer.content.decode()
        )


def test_how_long_jobs_are_kept_is_chosen_beside_what_the_site_does(as_admin, make_workflow, settings):
    settings.RETENTION_JOBS_DAYS, settings.RETENTION_STEPS_DAYS = 30, 0
    workflow = make_workflow()
    address = f"/admin/workflows/workflow/{workflow.pk}/change/"

    page = as_admin.get(address)
    content = page.content.decode()
    assert "as the site does, 30 days" in content
    assert "as the site does, for ever" in content

    form = page.context["adminform"].form
    given = {name: form[name].value() or "" for name in form.fields}
    answer = as_admin.post(address, {**given, "is_active": "on", "keep_jobs_days": "90", "keep_steps_days": ""})

    assert answer.status_code == 302
    workflow.refresh_from_db()
    assert (workflow.keep_jobs_days, workflow.keep_steps_days) == (90, None)
