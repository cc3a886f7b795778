"""The pages of jobs, without a browser."""

import html
import re
import shlex
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from jobs import bulk, claims
from jobs.admin import JobAdmin
from jobs.models import Job, JobBatch, JobEvent, JobStep

LIST = "/admin/jobs/job/"


@pytest.fixture
def as_admin(client, admin):
    client.force_login(admin)
    return client


@pytest.fixture
def viewer(client, make_user):
    client.force_login(make_user(permissions=["jobs.view_job"], is_staff=True))
    return client


def page(job, name="change") -> str:
    return reverse(f"admin:jobs_job_{name}", args=[job.pk])


def act(client, name, *jobs, address=LIST, **also):
    """An action of the list on these jobs, as its form posts it."""
    ids = [str(job.pk) for job in jobs]
    return client.post(address, {"action": name, "index": "0", "_selected_action": ids, **also}, follow=True)


def confirm(client, asked):
    """Post the form of the page on which an action asks first, as it stands there."""
    form = asked.content.decode().partition('id="confirm-form">')[2].partition("</form>")[0]
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form)
    posted = {name: [value for each, value in fields if each == name] for name, _ in fields}
    return client.post(asked.wsgi_request.get_full_path(), posted, follow=True)


def figures(answer) -> dict[str, str]:
    """What a page that asks first says: words by number."""
    return {words: number for number, words in re.findall(r"<dt>([\d,+]+)</dt><dd>([^<]+)", answer.content.decode())}


def said(answer) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_the_list_takes_as_many_queries_for_fifty_jobs_as_for_one(as_admin, admin, make_job, django_assert_num_queries):
    workflow = make_job(status="failed", created_by=admin).workflow
    with django_assert_num_queries(8) as first:
        as_admin.get(LIST)

    for _ in range(49):
        make_job(workflow=workflow, status="failed", created_by=admin)
    with django_assert_num_queries(len(first)):
        content = as_admin.get(LIST).content.decode()

    assert content.count('class="badge badge-failed"') == 50


def test_the_list_never_reads_the_data_and_the_results(as_admin, make_job, django_assert_num_queries):
    make_job(status="completed")
    with django_assert_num_queries(8) as captured:
        as_admin.get(LIST)

    assert not [query for query in captured if '"result"' in query["sql"] or '"trigger_data"' in query["sql"]]


def test_the_pages_of_the_list_end_at_ten_thousand(as_admin, make_job, monkeypatch):
    from aiworkflow_project.db import counts

    monkeypatch.setattr(counts, "COUNT_AT_MOST", 2)
    for _ in range(3):
        make_job()

    assert as_admin.get(LIST).context["cl"].result_count == 2


@pytest.mark.parametrize("length", [8, 32, 36])
def test_a_job_is_found_by_its_id_or_how_it_begins(as_admin, make_job, length):
    wanted, other = make_job(name="wanted"), make_job(name="other")

    content = as_admin.get(LIST, {"q": str(wanted.pk)[:length]}).content.decode()

    assert page(wanted) in content
    assert page(other) not in content


def test_a_job_is_found_by_a_part_of_its_name(as_admin, make_job):
    wanted, other = make_job(name="夜间汇总"), make_job(name="晨间")

    content = as_admin.get(LIST, {"q": "夜间"}).content.decode()

    assert page(wanted) in content
    assert page(other) not in content


def test_filters_narrow_by_status_time_and_workflow(as_admin, make_job):
    wanted = make_job(status="failed")
    others = [make_job(status="failed", created_at=timezone.now() - timedelta(days=2)), make_job()]

    content = as_admin.get(
        LIST, {"status__exact": "failed", "when": "day", "workflow__id__exact": str(wanted.workflow_id)}
    ).content.decode()

    assert page(wanted) in content
    assert not [job for job in others if page(job) in content]


def cells(content: str, column: str) -> list[str]:
    """The texts of a column of the list."""
    found = re.findall(rf'<t[dh] class="field-{column}[^>]*>(.*?)</t[dh]>', content, re.DOTALL)
    return [re.sub(r"<[^>]+>", " ", cell).split() for cell in found]


def test_the_list_says_what_a_job_waits_for_and_how_urgent_it_is(as_admin, make_job, make_workflow):
    time, room = Job.WaitsFor.TIME, Job.WaitsFor.ROOM
    later = datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC)
    make_job(name="一", waits_for=time, available_at=later, priority=9)
    make_job(name="二", waits_for=room, workflow=make_workflow(concurrency_limit=1))
    make_job(name="三", waits_for=room, workflow=make_workflow(concurrency_limit=0))
    over = make_job(name="四", status="completed", priority=9, waits_for=time, available_at=later)

    content = as_admin.get(LIST).content.decode()

    assert cells(content, "state") == [
        ["completed"],
        ["pending", "held"],
        ["pending", "waits", "for", "room"],
        ["pending", "not", "before", "2100-01-02", "03:04:05"],
    ]
    names = cells(content, "title")
    assert names[0] == ["四", str(over.pk)[:8]]
    assert names[3][2:] == ["·", "priority", "9"]


def test_the_jobs_of_a_batch_are_a_link_away(as_admin, make_job, make_workflow):
    workflow = make_workflow()
    batch = JobBatch.objects.create(workspace=workflow.workspace, workflow=workflow, name="夜间<b>")
    inside, outside = make_job(workflow=workflow, batch=batch), make_job(workflow=workflow)

    shown = as_admin.get(page(inside)).content.decode()
    [link] = set(re.findall(r'href="([^"]*batch__id__exact=[^"]*)"', shown))
    content = as_admin.get(link).content.decode()

    assert "夜间&lt;b&gt;" in content
    assert page(inside) in content
    assert page(outside) not in content
    assert link in as_admin.get(LIST).content.decode()
    assert "batch__id__exact" not in as_admin.get(page(outside)).content.decode()


@pytest.mark.parametrize("chosen", [str(uuid.UUID(int=1)), "x"])
def test_a_batch_that_there_is_not_has_no_jobs(as_admin, make_job, chosen):
    job = make_job()

    assert page(job) not in as_admin.get(LIST, {"batch__id__exact": chosen}).content.decode()


def test_the_page_of_a_job_shows_how_it_is_run(as_admin, make_job):
    later = datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC)
    job = make_job(priority=8, retry_on="transient,crashed", available_at=later, waits_for=Job.WaitsFor.TIME)

    content = html.unescape(as_admin.get(page(job)).content.decode())

    facts = content.partition('id="facts-heading"')[2].partition("</section>")[0]
    assert "<dt>Priority</dt><dd>8</dd>" in facts
    assert "HTTP 408" in facts
    assert "a crash of its process" in facts
    assert "2100-01-02 03:04:05" in facts
    assert '"priority_int": 8' in content
    assert '"retry_on_str": "transient,crashed"' in content


def test_who_may_only_look_can_neither_cancel_nor_retry(viewer, make_job):
    waiting, over = make_job(), make_job(status="failed")

    assert viewer.post(page(waiting, "cancel")).status_code == 403
    assert viewer.post(page(over, "retry")).status_code == 403
    act(viewer, "cancel_selected", waiting, confirmed="yes")
    act(viewer, "retry_selected", over, confirmed="yes")

    waiting.refresh_from_db()
    assert waiting.status == Job.Status.PENDING
    assert Job.objects.count() == 2
    content = viewer.get(page(waiting)).content.decode()
    assert page(waiting, "cancel") not in content
    assert 'value="cancel_selected"' not in viewer.get(LIST).content.decode()


@pytest.mark.parametrize("name", ["cancel", "retry"])
def test_moves_are_made_by_post_only(as_admin, make_job, name):
    assert as_admin.get(page(make_job(), name)).status_code == 405


def test_cancelling_asks_first_then_ends_a_waiting_job_and_asks_a_running_one(as_admin, make_job):
    waiting, running, over = make_job(), make_job(status="running"), make_job(status="completed")
    other = make_job()

    asked = act(as_admin, "cancel_selected", waiting, running, over)

    assert "3 jobs selected" in asked.content.decode()
    assert figures(asked) == {
        "pending, to be cancelled at once": "1",
        "running, to be asked to stop": "1",
        "over already": "1",
    }
    waiting.refresh_from_db()
    assert waiting.status == Job.Status.PENDING

    done = confirm(as_admin, asked)

    for job in (waiting, running, over, other):
        job.refresh_from_db()
    assert waiting.status == Job.Status.CANCELLED
    assert (running.status, bool(running.cancel_requested_at)) == (Job.Status.RUNNING, True)
    assert (over.status, other.status) == (Job.Status.COMPLETED, Job.Status.PENDING)
    assert said(done) == ["1 job was cancelled. 1 job was asked to stop."]


def test_all_that_a_filter_finds_is_cancelled_beyond_the_page_and_nothing_else(as_admin, make_job, monkeypatch):
    monkeypatch.setattr(JobAdmin, "list_per_page", 2)
    wanted = [make_job(name="夜间汇总") for _ in range(5)]
    other = make_job(name="晨间")
    address = f"{LIST}?{urlencode({'q': '夜间'})}"

    asked = act(as_admin, "cancel_selected", wanted[0], address=address, select_across="1")
    done = confirm(as_admin, asked)

    assert "5 jobs, all that the list holds" in asked.content.decode()
    assert said(done) == ["5 jobs were cancelled."]
    assert done.redirect_chain[0][0] == address
    other.refresh_from_db()
    assert other.status == Job.Status.PENDING


def test_what_happened_meanwhile_is_told_truly(as_admin, make_job):
    jobs = [make_job(), make_job()]
    asked = act(as_admin, "cancel_selected", *jobs)
    jobs[0].cancel()

    assert said(confirm(as_admin, asked)) == ["1 job was cancelled."]
    assert said(confirm(as_admin, asked)) == ["No job was cancelled: all are over, or asked to stop already."]


def test_a_filter_retries_no_completed_jobs_unless_it_names_them(as_admin, make_job):
    completed, failed = make_job(status="completed"), make_job(status="failed")

    asked = act(as_admin, "retry_selected", failed, select_across="1")
    assert figures(asked) == {
        "to be submitted again, as new jobs": "1",
        "completed; to retry them too, narrow the list to completed jobs": "1",
    }
    assert said(confirm(as_admin, asked)) == ["1 job was submitted again."]
    assert Job.objects.get(retry_of__isnull=False).retry_of == failed

    named = f"{LIST}?status__exact=completed"
    confirm(as_admin, act(as_admin, "retry_selected", completed, address=named, select_across="1"))
    assert completed.retries.count() == 1


def test_retrying_many_keeps_what_each_had_and_says_what_could_not_be(as_admin, admin, make_job, make_workflow):
    good = make_job(status="failed", name="甲", priority=8, timeout_seconds=99, max_attempts=2, retry_on="crashed")
    misfits = [make_job(status="failed", trigger_data={"问": 1}) for _ in range(2)]
    inactive = make_job(status="failed", workflow=make_workflow(is_active=False))

    asked = act(as_admin, "retry_selected", good, inactive, *misfits)
    done = confirm(as_admin, asked)

    assert figures(asked)["of a workflow that is not active"] == "1"
    again = Job.objects.get(retry_of__isnull=False)
    kept = (again.retry_of, again.name, again.priority, again.timeout_seconds, again.max_attempts, again.retry_on)
    assert kept == (good, "甲", 8, 99, 2, "crashed")
    assert again.created_by == admin
    refused, submitted = said(done)
    assert refused.startswith("2 jobs were not submitted: ")
    assert submitted == "1 job was submitted again."


def test_more_than_one_go_takes_is_said_before_and_after(as_admin, make_job):
    first = make_job(status="failed")
    more = [Job.objects.get(pk=first.pk) for _ in range(bulk.BATCH_MOST)]
    for job in more:
        job.pk = uuid.uuid4()
    Job.objects.bulk_create(more)

    asked = act(as_admin, "retry_selected", first, select_across="1")
    done = confirm(as_admin, asked)

    assert "One go takes 1000 jobs." in asked.content.decode()
    assert said(done) == ["1000 jobs were submitted again.", "There are more. Do it again for the others."]
    assert Job.objects.filter(retry_of__isnull=False).count() == bulk.BATCH_MOST


@pytest.mark.parametrize("action", ["cancel_selected", "retry_selected"])
def test_asking_takes_as_many_queries_for_fifty_jobs_as_for_one(
    as_admin, make_job, django_assert_max_num_queries, action
):
    jobs = [make_job(status="failed")]
    with django_assert_max_num_queries(20) as first:
        act(as_admin, action, *jobs, select_across="1")

    jobs += [make_job(workflow=jobs[0].workflow, status=status) for status in ["failed", "pending"] * 25]
    with django_assert_max_num_queries(len(first)):
        assert "51 jobs" in act(as_admin, action, *jobs, select_across="1").content.decode()


def test_retrying_submits_the_same_data_and_names_the_first(as_admin, admin, make_job):
    first = make_job(status="failed")

    answer = as_admin.post(page(first, "retry"))

    again = Job.objects.exclude(pk=first.pk).get()
    assert answer["Location"] == page(again)
    assert (again.retry_of, again.trigger_data, again.created_by) == (first, first.trigger_data, admin)
    assert page(first) in as_admin.get(page(again)).content.decode()


def test_a_job_that_is_not_over_cannot_be_retried_or_deleted(as_admin, make_job):
    job = make_job(status="running")

    as_admin.post(page(job, "retry"))
    assert as_admin.post(page(job, "delete"), {"post": "yes"}).status_code == 403
    act(as_admin, "delete_selected", job)
    as_admin.post(LIST, {"action": "delete_selected", "_selected_action": [str(job.pk)], "post": "yes"})

    assert list(Job.objects.all()) == [job]


def test_a_job_that_is_over_can_be_deleted_with_its_steps(as_admin, make_job):
    job = make_job(status="completed")
    JobStep.objects.create(job=job, attempt=1, position=1, component="a", component_type="A", started_at=timezone.now())

    as_admin.post(page(job, "delete"), {"post": "yes"})

    assert not Job.objects.exists()
    assert not JobStep.objects.exists()


def test_what_ran_cannot_be_changed(as_admin, make_job):
    job = make_job(status="completed")

    as_admin.post(page(job), {"name": "geändert", "status": "pending"})

    job.refresh_from_db()
    assert (job.name, job.status) == ("", Job.Status.COMPLETED)


def test_what_a_pipeline_says_is_never_markup(as_admin, make_job):
    evil = "<img src=x onerror=alert(1)>"
    job = make_job(
        name=evil,
        status="completed",
        trigger_data={"query": evil},
        result={
            evil: evil,
            "d": [{"content": evil, "meta": {evil: evil}}],
            "m": [{"role": evil, "content": [{"text": evil}, {"x": evil}]}],
        },
    )
    JobStep.objects.create(
        job=job,
        attempt=1,
        position=1,
        component=evil,
        component_type=evil,
        started_at=timezone.now(),
        error_message=evil,
        input_preview={"a": evil},
    )

    assert evil not in as_admin.get(page(job)).content.decode()
    assert evil not in as_admin.get(LIST).content.decode()
    assert evil not in "".join(as_admin.get(page(job, "live")).json()["pieces"].values())


def test_a_failed_job_says_why(as_admin, make_job):
    content = as_admin.get(page(make_job(status="failed"))).content.decode()

    assert "component_failed" in content
    assert "没有回答" in content


def test_a_job_says_why_its_earlier_attempts_were_lost(as_admin, make_job):
    job = make_job(status="running")
    Job.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
    assert Job.objects.get(pk=job.pk).recover()
    assert "The worker that ran it was lost." in as_admin.get(page(job)).content.decode()
    [job] = claims.claim(1, timedelta(seconds=30), "other")
    job.hand_back()
    [job] = claims.claim(1, timedelta(seconds=30), "third")

    content = as_admin.get(page(job)).content.decode()

    assert "Attempt 1</dt><dd>The worker that ran it was lost." in content
    assert "Attempt 2</dt><dd>Its worker was stopped as planned" in content
    assert "Attempt 3" not in content


def test_the_live_parts_hold_the_tokens_of_this_attempt_only(as_admin, make_job):
    job = make_job(status="running")
    say = lambda seq, text: JobEvent.objects.create(  # noqa: E731
        job=job, seq=seq, kind="token", data={"component_name_str": "llm", "text": text}
    )
    say(2, "旧的")
    JobEvent.objects.create(job=job, seq=3, kind="state", data={})
    say(4, "新")
    say(5, "的")
    say(6, "还没到")
    Job.objects.filter(pk=job.pk).update(event_seq=5)

    answer = as_admin.get(page(job, "live")).json()

    assert (answer["seq"], answer["over"]) == (5, False)
    assert "新的" in answer["pieces"]["streams"]
    assert "旧的" not in answer["pieces"]["streams"]
    assert "还没到" not in answer["pieces"]["streams"]


def test_the_page_of_a_job_of_many_steps_takes_a_fixed_number_of_queries(as_admin, make_job, django_assert_num_queries):
    job = make_job(status="completed")
    with django_assert_num_queries(8) as first:
        as_admin.get(page(job))

    JobStep.objects.bulk_create(
        JobStep(
            job=job,
            attempt=1,
            position=number,
            component=f"步骤{number}",
            component_type="A",
            started_at=timezone.now(),
        )
        for number in range(1, 41)
    )
    with django_assert_num_queries(len(first)):
        assert "步骤40" in as_admin.get(page(job)).content.decode()


def test_running_a_workflow_leads_to_the_job(as_admin, admin, make_workflow):
    workflow = make_workflow()
    names = list(workflow.current_revision.description["inputs"])
    data = {f"input_{names.index('query')}": "什么是人工智能？", f"input_{names.index('top_k')}": "5"}
    data |= {"shape": "form", "job_name": "试一试"}

    answer = as_admin.post(f"{LIST}add/?workflow={workflow.pk}", data)

    job = Job.objects.get()
    assert answer["Location"] == page(job)
    assert (job.name, job.trigger_data["query"], job.created_by) == ("试一试", "什么是人工智能？", admin)


def test_a_job_is_run_as_its_options_say_and_its_retry_too(as_admin, make_workflow):
    options = {"priority": "9", "max_attempts": "1", "timeout_seconds": "77", "retry_on": ["timed_out", "crashed"]}
    data = {"shape": "json", "whole": '{"query": "问", "top_k": 5}', "not_before": "2100-01-01T08:00"}

    as_admin.post(f"{LIST}add/?workflow={make_workflow().pk}", data | options)

    first = Job.objects.get()
    asked = (9, 1, 77, "timed_out,crashed")
    assert (first.priority, first.max_attempts, first.timeout_seconds, first.retry_on) == asked
    assert (first.waits_for, f"{first.available_at:%Y-%m-%d %H:%M}") == (Job.WaitsFor.TIME, "2100-01-01 08:00")
    first.cancel()
    as_admin.post(page(first, "retry"))
    again = Job.objects.get(retry_of=first)
    assert (again.priority, again.max_attempts, again.timeout_seconds, again.retry_on) == asked
    assert again.waits_for == Job.WaitsFor.WORKER


def test_an_option_that_is_refused_is_said_at_its_field_and_nothing_is_run(as_admin, make_workflow):
    data = {"shape": "json", "whole": '{"query": "问", "top_k": 5}', "priority": "10"}
    address = f"{LIST}add/?workflow={make_workflow().pk}"

    content = as_admin.post(address, data).content.decode()

    assert not Job.objects.exists()
    assert '<details class="card fold" id="options" open>' in content
    assert "less than or equal to 9" in content
    assert '<details class="card fold" id="options">' in as_admin.get(address).content.decode()


def test_the_form_to_run_a_workflow_takes_few_queries(as_admin, make_workflow, django_assert_num_queries):
    address = f"{LIST}add/?workflow={make_workflow().pk}"
    with django_assert_num_queries(6):
        as_admin.get(address)


def test_an_inactive_workflow_is_not_run(as_admin, make_workflow):
    workflow = make_workflow(is_active=False)

    as_admin.post(f"{LIST}add/?workflow={workflow.pk}", {"shape": "json", "whole": '{"query": "问"}'})

    assert not Job.objects.exists()


def test_who_may_not_submit_sees_no_form(viewer, make_workflow):
    assert viewer.get(f"{LIST}add/?workflow={make_workflow().pk}").status_code == 403


def test_the_curl_line_is_safe_to_paste(as_admin, make_job):
    job = make_job(status="completed", trigger_data={"query": "it's; `rm` $(x) 你好"})

    content = html.unescape(as_admin.get(page(job)).content.decode())
    line = content.partition('id="curl" tabindex="0">')[2].partition("</pre>")[0].replace("\\\n", " ")

    assert "it's; `rm` $(x) 你好" in shlex.split(line)[-1]


def test_another_workspace_s_job_does_not_exist(as_admin, make_workspace, make_workflow, make_job):
    make_workspace()
    job = make_job(workflow=make_workflow(workspace=make_workspace("other")))

    assert as_admin.get(page(job)).status_code == 404
    assert as_admin.get(page(job, "live")).status_code == 404


def test_a_job_whose_steps_were_pruned_says_so_and_shows_its_result(as_admin, make_job):
    job = make_job(status="completed", result={"答": "答案"}, attempt=2, event_seq=9, steps_pruned=True)
    job.events.all().delete()

    content = as_admin.get(page(job)).content.decode()

    assert "steps and events of this job were deleted" in content
    assert "答案" in content
    other = make_job(status="completed")
    assert "were deleted" not in as_admin.get(page(other)).content.decode()


STORAGE = "/admin/jobs/job/storage/"


def test_the_page_on_storage_tells_each_workflow_s_size_and_days(viewer, make_job, make_workflow, make_workspace):
    workflow = make_workflow(name="归档", keep_jobs_days=0)
    for _ in range(3):
        make_job(workflow=workflow, status="completed", completed_at=timezone.now() - timedelta(days=8))
    make_job(workflow=make_workflow(name="theirs", workspace=make_workspace("other")), status="completed")

    content = viewer.get(STORAGE).content.decode()

    assert "归档 1.0.0" in content
    assert "kept: for ever; steps: 7 days" in content
    assert "3 jobs, " in content
    assert "theirs" not in content
    assert 'aria-current="page"' in content


def test_the_page_on_storage_is_for_those_who_may_see_jobs(client, make_user):
    client.force_login(make_user(permissions=["workflows.view_workflow"], is_staff=True))

    assert client.get(STORAGE).status_code == 403


def test_an_empty_site_has_a_page_on_storage(as_admin, make_workspace):
    make_workspace()

    assert "No job has been run yet." in as_admin.get(STORAGE).content.decode()


def test_a_job_can_be_seen_while_it_waits_for_the_room_of_a_limit_that_is_gone(as_admin, make_job):
    job = make_job(waits_for="room")

    assert "No worker is alive" in as_admin.get(page(job)).content.decode()
