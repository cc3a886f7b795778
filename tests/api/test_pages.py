"""Pages of the API's lists: by cursor and by offset they tell the same rows, and counts say what they are."""

import random
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from aiworkflow_project.api import lists, pagination
from aiworkflow_project.db import counts, steering
from jobs.api.views import JobViewSet
from jobs.models import Job, JobStep
from workflows.api.views import WorkflowViewSet

pytestmark = pytest.mark.django_db

JOBS, WORKFLOWS = "/api/v1/ai_workflow_job", "/api/v1/ai_workflow_def"


def page(api, address, **params) -> dict:
    answer = api.get(address, params)
    assert answer.status_code == 200, answer.content
    return answer.json()


def ids(body) -> list:
    return [row["id"] for row in body["results"]]


def walk(api, body, link) -> list:
    """The ids of all pages that come after `body` by `link`, in the order in which they were read."""
    found = []
    while body[link]:
        body = page(api, body[link])
        found.append(ids(body))
    return found


@pytest.fixture
def jobs(make_job, make_workflow):
    """Jobs with ties and with empty values in every order."""
    workflow, now, chance = make_workflow(), timezone.now(), random.Random(1)
    for number in range(23):
        at = [now - timedelta(seconds=chance.randrange(4)) for _ in range(4)]
        status = chance.choice(["pending", "completed", "failed", "cancelled"])
        over = {"completed_at": at[3], "execution_seconds": chance.choice([None, 0.1, 0.3])}
        make_job(
            workflow=workflow, status=status, name=f"问答 {number % 5}", created_at=at[0], updated_at=at[1],
            started_at=chance.choice([None, at[2]]), **(over if status != "pending" else {}),
        )  # fmt: skip


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("order_by", JobViewSet.ordering_choices)
def test_pages_by_cursor_are_the_list_in_its_order_there_and_back(api, jobs, order_by, order):
    whole = ids(page(api, JOBS, order_by=order_by, order=order))

    first = page(api, JOBS, order_by=order_by, order=order, limit=4, cursor="")
    there = [ids(first), *walk(api, first, "next")]
    last = first
    while last["next"]:
        last = page(api, last["next"])
    back = [ids(last), *walk(api, last, "previous")]

    assert len(whole) == 23
    assert [one for part in there for one in part] == whole
    assert [one for part in reversed(back) for one in part] == whole
    assert first["previous"] is None
    assert {len(part) for part in there[:-1]} == {4}


@pytest.mark.parametrize("order_by", WorkflowViewSet.ordering_choices)
def test_definitions_have_pages_by_cursor_in_every_order(api, make_workflow, order_by):
    now = timezone.now()
    for number in range(7):
        make_workflow(name=f"n{number % 2}", version=str(number), is_active=number % 3 == 0, updated_at=now)
    whole = ids(page(api, WORKFLOWS, order_by=order_by))

    first = page(api, WORKFLOWS, order_by=order_by, limit=2, cursor="")

    assert [one for part in [ids(first), *walk(api, first, "next")] for one in part] == whole


def test_steps_revisions_and_keys_have_pages_by_cursor(api, admin, make_job, make_workspace):
    from accounts.models import ApiKey

    job = make_job(status="completed")
    for number in range(1, 6):
        JobStep.objects.create(
            job=job, attempt=1 + number // 4, position=number, component="c", component_type="t",
            started_at=timezone.now(),
        )  # fmt: skip
        ApiKey(workspace=make_workspace(), user=admin, name=str(number)).issue()
        if number > 1:
            revision = job.revision
            revision.pk, revision.number, revision.content_hash = None, number, str(number)
            revision.save(force_insert=True)

    for address in (f"{JOBS}/{job.pk}/steps", f"{WORKFLOWS}/{job.workflow_id}/revisions", "/api/v1/auth/api_keys"):
        first = page(api, address, limit=2, cursor="")
        assert [len(part) for part in walk(api, first, "next")] == [2, 1], address
        assert [one for part in [ids(first), *walk(api, first, "next")] for one in part] == ids(page(api, address))


def test_a_cursor_holds_its_place_when_rows_come_and_go(api, make_job, make_workflow):
    workflow, now = make_workflow(), timezone.now()
    made = [make_job(workflow=workflow, created_at=now - timedelta(seconds=n)) for n in range(6)]
    first = page(api, JOBS, limit=2, cursor="")

    made[1].delete()  # the row at which the first page ended
    make_job(workflow=workflow, created_at=now + timedelta(seconds=1))
    second = page(api, first["next"])

    assert ids(second) == [str(made[2].pk), str(made[3].pk)]
    assert ids(page(api, second["previous"])) == [str(Job.objects.latest("created_at").pk), str(made[0].pk)]


def test_a_cursor_keeps_the_filters_and_the_limit_of_its_list(api, jobs):
    first = page(api, JOBS, status="completed", limit=2, cursor="")

    params = parse_qs(urlsplit(first["next"]).query)

    assert (params["status"], params["limit"]) == (["completed"], ["2"])
    assert {row["status_str"] for row in page(api, first["next"])["results"]} == {"completed"}


@pytest.mark.parametrize("cursor", ["x", "WyJhIl0:abc", "\0", "人", "WyJhIl0"])
def test_a_cursor_that_is_none_of_ours_is_named(api, cursor):
    answer = api.get(JOBS, {"cursor": cursor})

    assert answer.status_code == 400
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [("cursor", "invalid")]


def test_a_cursor_of_another_order_is_named(api, jobs):
    link = page(api, JOBS, order_by="updated_at_time", limit=2, cursor="")["next"]
    cursor = parse_qs(urlsplit(link).query)["cursor"][0]

    for params in ({}, {"order_by": "updated_at_time", "order": "asc"}):
        [error] = api.get(JOBS, {"cursor": cursor, **params}).json()["errors"]
        assert (error["field"], error["code"]) == ("cursor", "other_order")


def test_a_cursor_and_an_offset_are_not_taken_together(api):
    [error] = api.get(JOBS, {"cursor": "", "offset": 1}).json()["errors"]

    assert error["field"] == "cursor"


def test_next_is_a_cursor_where_offsets_get_slow(api, jobs, monkeypatch):
    monkeypatch.setattr(pagination, "CURSORS_FROM", 10)
    whole = ids(page(api, JOBS))

    before = page(api, JOBS, limit=5, offset=5)
    at = page(api, JOBS, limit=5, offset=10)

    assert "offset=10" in before["next"]
    assert "cursor=" in at["next"]
    assert "offset" not in at["next"]
    assert "offset=5" in at["previous"]
    assert ids(page(api, at["next"])) == whole[15:20]
    assert ids(page(api, page(api, at["next"])["previous"])) == whole[10:15]


def test_a_count_is_exact_up_to_its_limit_and_says_when_it_is_not(api, jobs, monkeypatch):
    assert page(api, JOBS, limit=2)["count"] == 23
    assert not page(api, JOBS, limit=2)["count_is_estimated_flag"]

    monkeypatch.setattr(counts, "COUNT_AT_MOST", 10)
    body, exact = page(api, JOBS, limit=2), page(api, JOBS, limit=2, count="exact")

    assert body["count_is_estimated_flag"]
    assert body["count"] >= 10
    assert body["next"]
    assert (exact["count"], exact["count_is_estimated_flag"]) == (23, False)


def test_counting_is_exact_or_not_at_all_told(api):
    [error] = api.get(JOBS, {"count": "about"}).json()["errors"]

    assert (error["field"], error["code"]) == ("count", "invalid_choice")


TIMES = ["created", "updated", "started", "completed"]


@pytest.fixture
def lives(make_job, make_workflow):
    """Jobs over half a day, some of which took hours, some of which were told of by a clock that is late."""
    workflow, now, chance = make_workflow(), timezone.now().replace(microsecond=0), random.Random(2)
    for number in range(60):
        at = [now - timedelta(minutes=12 * number)] * 4
        for later in range(1, 4):
            at[later] = at[later - 1] + timedelta(minutes=chance.choice([0, 0, 1, 1, 30, 300]))
        if number % 12 == 0:
            at.sort(reverse=number % 24 == 0)
            at[1] -= timedelta(hours=3)
        ended = {"status": "completed", "completed_at": at[2]} if number % 5 else {}
        make_job(
            workflow=workflow, created_at=at[0], started_at=at[1] if number % 7 else None, updated_at=at[3], **ended
        )


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("order_by", TIMES)
@pytest.mark.parametrize("by", TIMES)
def test_half_of_a_list_by_one_time_is_the_same_in_the_order_of_another(
    api, lives, monkeypatch, by, order_by, order, django_assert_max_num_queries
):
    monkeypatch.setattr(counts, "COUNT_AT_MOST", 5)
    lists._kept.forget()
    sort = {"order_by": f"{order_by}_at_time", "order": order}
    every = page(api, JOBS, **sort)["results"]
    middle = sorted(row["created_at_time"] for row in every)[30]
    first, last = sorted(row["created_at_time"] for row in every)[10::40]
    for bounds in ({"before": middle}, {"after": middle}, {"after": first, "before": last}):
        filters = {f"{by}_{side}": at for side, at in bounds.items()} | sort
        at_of = {row["id"]: row[f"{by}_at_time"] for row in every}
        expected = [pk for pk, at in at_of.items() if at and bounds.get("after", "") <= at < bounds.get("before", "9")]

        begun = page(api, JOBS, **filters, limit=7, cursor="")
        there = [ids(begun), *walk(api, begun, "next")]
        end = begun
        while end["next"]:
            end = page(api, end["next"])

        assert len(expected) > 10
        assert ids(page(api, JOBS, **filters)) == expected
        assert ids(page(api, JOBS, **filters, offset=5, limit=7)) == expected[5:12]
        assert [one for part in there for one in part] == expected
        assert [one for part in reversed([ids(end), *walk(api, end, "previous")]) for one in part] == expected
        with django_assert_max_num_queries(6):
            page(api, JOBS, **filters)
    lists._kept.forget()


@pytest.mark.parametrize("size", [1000, 5, 0])
@pytest.mark.parametrize("most", [10_000, 5])
@pytest.mark.parametrize("order_by", ["job_name_str", "completed_at_time", "created_at_time"])
def test_whichever_index_a_list_is_read_by_it_is_the_same(api, jobs, monkeypatch, size, most, order_by):
    monkeypatch.setattr(steering, "PAGE", size)
    monkeypatch.setattr(counts, "COUNT_AT_MOST", most)
    lists._kept.forget()
    params = {"status": "completed,failed", "created_after": "2020-01-01T00:00:00Z", "order_by": order_by}
    every = page(api, JOBS, order_by=order_by)["results"]
    expected = [row["id"] for row in every if row["status_str"] in ("completed", "failed")]

    first = page(api, JOBS, **params, limit=3, cursor="")

    assert ids(page(api, JOBS, **params)) == expected
    assert [one for part in [ids(first), *walk(api, first, "next")] for one in part] == expected
    lists._kept.forget()
