"""What people do in the console, in a real browser against a whole running site."""

import re

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from tests.model_server import asking

GREETING = """\
# 问候
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters:
      template: "你好，{{ name }}！"
      required_variables: [name]
connections: []
inputs:
  name: [prompt.name]
outputs:
  greeting: prompt.prompt
"""
SLEEPER = """\
components:
  sleeper:
    type: tests.components.Sleeper
    init_parameters: {}
connections: []
"""
expect.set_options(timeout=60_000)


def write(page, text: str) -> None:
    """Replace what the editor holds, as a person would: select everything and paste."""
    page.click(".cm-content")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.insert_text(text)


def workflow_page(definition: dict) -> str:
    return f"/admin/workflows/workflow/{definition['id']}/change/"


def text_of(site, definition: dict) -> str:
    return site.api.get(f"/ai_workflow_def/{definition['id']}").json()["hs_yaml_content"]


@pytest.fixture
def greeting(site, request):
    return site.define(f"问候 {request.node.name}"[:250], GREETING)


def test_signing_in_leads_to_an_overview_with_its_charts_in_words(open_page):
    page = open_page("/admin/")

    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    charts = page.get_by_role("img")
    expect(charts).to_have_count(2)
    assert "Jobs of the last 24 hours" in page.locator("#jobs-chart-title").text_content()
    page.get_by_text("The figures of both charts as a table").click()
    assert page.locator(".table-alternative tbody tr").count() == 24
    expect(page.get_by_text("Haystack 3.")).to_be_visible()


def test_a_mistake_is_marked_at_its_line_and_can_be_mended(open_page, site):
    page = open_page("/admin/workflows/workflow/add/")
    page.fill("#id_name", "写错了再改")
    write(page, GREETING.replace("prompt_builder.PromptBuilder", "prompt_builder.Nothing"))

    page.get_by_role("button", name="Check", exact=True).click()
    problem = page.locator("#yaml-problem-list li").first
    expect(problem.locator(".place")).to_have_text(re.compile(r"Line 4:\d+"))
    expect(page.locator(".cm-lint-marker-error")).to_be_visible()
    problem.locator(".place").click()
    expect(page.locator(".cm-activeLineGutter.cm-gutterElement").first).to_have_text("4")

    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator(".errornote")).to_be_visible()
    expect(page.locator("#yaml-problem-list .place").first).to_have_text(re.compile(r"Line 4:\d+"))

    write(page, GREETING)
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator("#check-verdict")).to_have_text("Valid: a pipeline of 1 component.")
    expect(page.locator("#picture svg.graph .node-name", has_text="prompt")).to_be_visible()
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator(".messagelist .success")).to_be_visible()
    found = site.api.get("/ai_workflow_def", params={"name": "写错了再改"}).json()["results"]
    assert [each["hs_yaml_content"] for each in found] == [GREETING]


def test_saving_other_fields_keeps_the_text_byte_for_byte(open_page, site):
    text = "\r\n" + GREETING.replace("\n", "\r\n") + "\r\n  \r\n# 末尾的空白   \r\n"
    definition = site.define("逐字节", text)
    page = open_page(workflow_page(definition))

    page.fill("#id_description", "只改描述")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator(".messagelist .success")).to_be_visible()

    assert text_of(site, definition) == text
    expect(page.locator(".page-head")).to_contain_text("revision 1")


def test_a_revision_shows_what_changed_and_can_be_restored(open_page, site, greeting):
    page = open_page(workflow_page(greeting))
    write(page, GREETING.replace("你好", "早上好"))
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator(".page-head")).to_contain_text("revision 2")

    page.get_by_role("link", name="Revision 2").click()
    expect(page.locator(".diff .removed mark")).to_have_text("你")
    expect(page.locator(".diff .added mark")).to_have_text("早上")

    page.get_by_role("link", name="Revisions").last.click()
    page.get_by_role("link", name="Revision 1").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Restore this revision").click()
    expect(page.locator(".messagelist .success")).to_contain_text("Revision 1 is the current one again.")
    assert text_of(site, greeting) == GREETING


def test_a_run_streams_its_answer_onto_the_page_without_a_reload(open_page, site, models):
    definition = site.define("流式问答", asking(models.host))
    page = open_page(workflow_page(definition))
    page.get_by_role("link", name="Run", exact=True).click()
    page.get_by_label("question").fill("今天天气怎么样？请慢慢说，我们不着急。[[pause=0.4]]")
    page.get_by_label("Name of the job").fill("慢慢说")
    loads = []
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/admin/jobs/job/*/change/")
    page.on("load", lambda: loads.append(page.url))

    expect(page.locator(".stream .said")).to_contain_text("今天", timeout=60_000)
    expect(page.locator("#job-head .badge-running")).to_be_visible()
    expect(page.locator("#job-head .badge-completed")).to_be_visible()
    expect(page.locator("#job-outcome .message-assistant")).to_contain_text("今天天气怎么样")
    expect(page.locator(".step-name", has_text="llm")).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert loads == []

    page.locator(".step", has_text="llm").locator("summary").click()
    expect(page.locator(".step[open] .step-body")).to_contain_text("今天天气怎么样")


def test_the_page_follows_by_asking_where_no_stream_comes_through(open_page, site, models):
    definition = site.define("无流问答", asking(models.host))
    page = open_page(workflow_page(definition), forgiven=["ERR_FAILED", "503"])
    page.route("**/events", lambda route: route.fulfill(status=503))
    page.get_by_role("link", name="Run", exact=True).click()
    page.get_by_label("question").fill("没有事件流也要看到结果。[[delay=3]]")
    page.get_by_role("button", name="Run", exact=True).click()

    expect(page.locator("#live-note")).to_contain_text("refreshed every 2 seconds")
    expect(page.locator("#job-head .badge-completed")).to_be_visible()
    expect(page.locator("#job-outcome")).to_contain_text("没有事件流也要看到结果")


def test_input_that_does_not_fit_is_said_at_its_field_and_json_is_another_way(open_page, greeting):
    page = open_page(f"/admin/jobs/job/add/?workflow={greeting['id']}")

    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#tab-form .errorlist")).to_be_visible()

    page.get_by_role("tab", name="JSON").click()
    page.locator("#id_whole").fill('{"nobody": 1}')
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#tab-json .errorlist")).to_contain_text("nobody")
    page.locator("#id_whole").fill('{"name": "<b>世界</b>"}')
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#job-outcome .said")).to_have_text("你好，<b>世界</b>！")


def test_options_unfold_for_who_needs_them_and_the_job_waits_for_its_time(open_page, greeting):
    page = open_page(f"/admin/jobs/job/add/?workflow={greeting['id']}")
    page.locator("#tab-form textarea").fill("世界")
    expect(page.get_by_label("Priority")).to_be_hidden()
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Priority").fill("10")
    page.get_by_label("Not before").fill("2100-01-01T08:00")
    page.get_by_label("a crash of its process").check()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#options .errorlist")).to_be_visible()

    page.get_by_label("Priority").fill("9")
    page.get_by_role("button", name="Run", exact=True).click()

    expect(page.locator("#job-outcome")).to_contain_text("It was submitted to start later.")
    facts = page.get_by_role("region", name="About this job")
    expect(facts).to_contain_text("a crash of its process")
    expect(facts).to_contain_text("Jan 1, 2100")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job-head .badge-cancelled")).to_be_visible()


def test_all_jobs_of_a_filter_are_cancelled_and_retried_after_a_look(open_page, site, greeting):
    later = {"trigger_data_json": {"name": "世界"}, "not_before_time": "2100-01-01T08:00:00Z"}
    batch = {"ai_workflow_def_id": greeting["id"], "batch_name_str": "夜间", "items": [later] * 60}
    batch = site.api.post("/ai_workflow_job/batch", json=batch).json()
    page = open_page(f"/admin/jobs/job/?batch__id__exact={batch['id']}")

    def choose(action: str) -> None:
        page.locator("#action-toggle").check()
        page.get_by_role("button", name="Select all 60 jobs").click()
        page.locator("select[name=action]").select_option(label=action)
        page.get_by_role("button", name="Go").click()
        expect(page.locator("#content")).to_contain_text("60 jobs, all that the list holds")

    choose("Cancel…")
    expect(page.get_by_role("region", name="What would be done")).to_contain_text("60")
    page.get_by_role("button", name="Cancel these jobs").click()
    expect(page.locator(".messagelist")).to_contain_text("60 jobs were cancelled.")
    choose("Retry…")
    page.get_by_role("button", name="Retry these jobs").click()
    expect(page.locator(".messagelist")).to_contain_text("60 jobs were submitted again.")


def test_a_running_job_can_be_cancelled_and_retried(open_page, site):
    definition = site.define("睡觉", SLEEPER)
    job = site.submit(definition, {"seconds": 120}, "要取消的作业")
    site.until(job, "running")
    page = open_page(f"/admin/jobs/job/{job['id']}/change/")
    page.on("dialog", lambda dialog: dialog.accept())

    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job-head .badge-cancelled")).to_be_visible()

    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("region", name="About this job")).to_contain_text("Retry of")
    expect(page.locator("h1")).to_contain_text("要取消的作业")
    assert job["id"] not in page.url
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job-head .badge-cancelled")).to_be_visible()


def test_the_console_speaks_chinese_when_asked(open_page, greeting):
    page = open_page("/admin/")

    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    expect(page.get_by_role("heading", name="概览", level=1)).to_be_visible()
    page.goto(page.url.partition("/admin/")[0] + workflow_page(greeting))
    expect(page.get_by_role("button", name="检查")).to_be_visible()
    page.get_by_role("button", name="检查").click()
    expect(page.locator("#check-verdict")).to_contain_text("有效")

    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("button", name="Check", exact=True)).to_be_visible()


def test_the_theme_can_be_chosen_and_follows_the_system_otherwise(open_page):
    page = open_page("/admin/", color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(15, 18, 26)"

    page.locator("button.theme-toggle").click()
    page.wait_for_function(f"{background} === 'rgb(245, 246, 250)'")
    assert page.locator("html").get_attribute("data-theme") == "light"


def test_the_editor_can_be_left_by_keyboard_and_completes_component_types(open_page, greeting):
    page = open_page(workflow_page(greeting))
    write(page, "components:\n  prompt:\n    type: PromptBui")

    page.keyboard.press("Control+Space")
    expect(page.locator(".cm-tooltip-autocomplete [aria-selected=true]")).to_contain_text("PromptBuilder")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('.cm-content').contains(document.activeElement)") is False


def test_a_workflow_can_be_written_without_scripts(open_page, site):
    page = open_page("/admin/workflows/workflow/add/", java_script_enabled=False)
    page.fill("#id_name", "没有脚本")
    page.fill("#id_pipeline_yaml", GREETING.replace("PromptBuilder\n", "Nothing\n"))

    page.click("[name=_continue]")
    expect(page.locator("#yaml-problem-list")).to_contain_text(re.compile(r"4:\d+: "))

    page.fill("#id_pipeline_yaml", GREETING)
    page.click("[name=_continue]")
    expect(page.locator(".messagelist .success")).to_be_visible()
    found = site.api.get("/ai_workflow_def", params={"name": "没有脚本"}).json()["results"]
    assert found[0]["hs_yaml_content"] == GREETING


def test_a_key_s_secret_is_shown_once_and_opens_the_api(open_page, site):
    import httpx

    page = open_page("/admin/accounts/apikey/add/")
    page.fill("#id_name", "夜间任务")
    page.get_by_role("button", name="Save").click()
    secret = page.locator("#secret").text_content()

    answer = httpx.get(f"{site.address}/api/v1/ai_workflow_def", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200
    page.get_by_role("link", name="Done").click()
    expect(page.locator("#result_list")).to_contain_text("夜间任务")
    assert secret not in page.content()


PAGES = {
    "overview": "/admin/",
    "workflows": "/admin/workflows/workflow/",
    "new workflow": "/admin/workflows/workflow/add/",
    "workflow": "{workflow}change/",
    "revisions": "{workflow}revisions/",
    "revision": "{workflow}revisions/1/",
    "hide a workflow": "{workflow}delete/",
    "jobs": "/admin/jobs/job/",
    "choose": "/admin/jobs/job/add/",
    "run": "/admin/jobs/job/add/?workflow={id}",
    "job": "/admin/jobs/job/{job}/change/",
    "storage": "/admin/jobs/job/storage/",
    "people": "/admin/accounts/user/",
    "new key": "/admin/accounts/apikey/add/",
    "password": "/admin/password_change/",
}


@pytest.fixture
def addresses(site, greeting):
    job = site.finished(site.submit(greeting, {"name": "世界"}, "无障碍"))
    values = {"workflow": f"/admin/workflows/workflow/{greeting['id']}/", "id": greeting["id"], "job": job["id"]}
    return {name: path.format(**values) for name, path in PAGES.items()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_keeps_people_out(open_page, site, addresses, axe_source, scheme):
    # axe measures with inline styles of its own, which the policy rightly blocks: the other tests keep the policy on.
    page = open_page("/admin/", color_scheme=scheme, bypass_csp=True)
    barriers = []

    for name, path in addresses.items():
        page.goto(site.address + path)
        if "change/" in path and "workflow" in path:
            expect(page.locator(".cm-content")).to_be_visible()
        page.evaluate(axe_source)
        # Without `preload`: it would look for the imports of Django's style sheets beside the page.
        found = page.evaluate("axe.run(document, {preload: false, resultTypes: ['violations']})")["violations"]
        barriers += [
            f"{name}: {each['id']} ({each['impact']}) {each['nodes'][0]['target']} {each['nodes'][0]['failureSummary']}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]

    assert not barriers, "\n".join(barriers)


def test_no_page_scrolls_sideways_on_a_phone(open_page, site, addresses):
    page = open_page("/admin/", width=390, height=844)
    too_wide = []

    for name, path in addresses.items():
        page.goto(site.address + path)
        width = page.evaluate("document.scrollingElement.scrollWidth")
        if width > 390:
            too_wide.append(f"{name}: {width}")

    assert not too_wide
    page.goto(site.address + "/admin/")
    page.get_by_text("Menu", exact=True).click()
    page.get_by_role("navigation", name="Menu").get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    expect(page.locator("#result_list tbody tr").first).to_contain_text("无障碍")


@pytest.mark.parametrize(("path", "shown"), [("/docs", ".opblock"), ("/redoc", "[role=menuitem]")])
def test_the_api_s_reference_is_drawn_without_another_host(open_page, path, shown):
    page = open_page(path, signed_in=False)

    expect(page.locator(shown).first).to_be_visible()
