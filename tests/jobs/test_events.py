"""Event streams: every event once and in order, resumed where a client left off, ended when the job is."""

import asyncio
import json
import uuid

import pytest

from jobs.api import events
from jobs.models import JobEvent

ALL = "/api/v1/ai_workflow_job"


@pytest.fixture
def finished(make_job):
    """A job that is over after five events."""
    job = make_job(status="completed", event_seq=5)
    JobEvent.objects.filter(job=job).delete()
    for seq, kind, data in (
        (1, "state", {"status_str": "pending"}),
        (2, "state", {"status_str": "running"}),
        (3, "token", {"component": "llm", "text": "你好\n世界\r\u2028"}),
        (4, "step", {"position": 1}),
        (5, "state", {"status_str": "completed"}),
    ):
        JobEvent.objects.create(job=job, seq=seq, kind=kind, data=data)
    return job


def follow(client, job, query="", **headers):
    answer = client.get(f"{ALL}/{job.pk}/events{query}", headers={"Accept": "text/event-stream", **headers})
    assert answer.status_code == 200, answer.content
    return b"".join(answer).decode()


def parsed(text: str) -> list[tuple[int, str, dict]]:
    """As a browser's EventSource reads it: lines end with CR, LF or both, and events with an empty line."""
    found = []
    for block in text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.django_db
def test_every_event_comes_once_and_in_order_and_the_stream_ends(api, finished):
    told = parsed(follow(api, finished))

    assert [(seq, kind) for seq, kind, _ in told] == [
        (1, "state"),
        (2, "state"),
        (3, "token"),
        (4, "step"),
        (5, "state"),
    ]
    assert told[2][2] == {"component": "llm", "text": "你好\n世界\r\u2028"}
    assert told[-1][2] == {"status_str": "completed"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "headers"), [("", {"Last-Event-ID": "3"}), ("?after=3", {}), ("?after=0", {"Last-Event-ID": "3"})]
)
def test_a_stream_resumes_after_the_event_that_was_last_seen(api, finished, query, headers):
    assert [seq for seq, _, _ in parsed(follow(api, finished, query, **headers))] == [4, 5]


@pytest.mark.django_db
@pytest.mark.parametrize(("gone", "seen"), [(5, 0), (5, 3), (4, 0), (2, 1), (1, 0)])
def test_of_a_job_whose_events_are_gone_the_end_alone_is_told_as_it_was(api, make_job, gone, seen):
    job = make_job(status="failed", event_seq=5)
    end = parsed(follow(api, job, "?after=4"))
    for seq in range(1, 5):
        JobEvent.objects.create(job=job, seq=seq, kind="token", data={"text": str(seq)})
    JobEvent.objects.filter(job=job, seq__lte=gone).delete()

    assert [seq for seq, _kind, _data in end] == [5]
    assert parsed(follow(api, job, f"?after={seen}")) == end


@pytest.mark.django_db
def test_a_stream_ends_when_its_job_is_deleted_under_it(finished):
    follower = events._follow_alone(finished.pk, 0)
    next(follower)
    finished.delete()

    assert list(follower) == []


@pytest.mark.django_db
@pytest.mark.parametrize("seen", [5, 99])
def test_a_client_that_has_seen_all_is_told_not_to_come_back(api, finished, seen):
    assert api.get(f"{ALL}/{finished.pk}/events?after={seen}").status_code == 204


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "٣", "99999999999", "2147483648", "0x1", " 1 2"])
def test_a_last_event_id_that_is_no_number_is_refused(api, finished, value):
    for answer, field in (
        (api.get(f"{ALL}/{finished.pk}/events", headers={"Last-Event-ID": value}), "Last-Event-ID"),
        (api.get(f"{ALL}/{finished.pk}/events", {"after": value}), "after"),
    ):
        assert answer.status_code == 400
        assert answer["Content-Type"] == "application/problem+json"
        assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.django_db
def test_a_stream_is_neither_kept_nor_held_back_on_its_way(api, finished):
    answer = api.get(f"{ALL}/{finished.pk}/events")

    assert answer["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Accel-Buffering"] == "no"
    assert api.head(f"{ALL}/{finished.pk}/events")["Content-Type"] == "text/event-stream; charset=utf-8"


@pytest.mark.django_db
def test_errors_of_a_stream_are_problem_documents(api, anonymous, finished):
    headers = {"Accept": "text/event-stream"}

    for answer, status in (
        (api.get(f"{ALL}/{uuid.uuid4()}/events", headers=headers), 404),
        (anonymous.get(f"{ALL}/{finished.pk}/events", headers=headers), 401),
    ):
        assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")


@pytest.mark.django_db
def test_jobs_to_which_nothing_happened_cost_one_query_together(make_job, make_workflow, django_assert_num_queries):
    workflow = make_workflow()
    wanted = {make_job(workflow=workflow).pk: 1 for _ in range(20)}
    busy = make_job(workflow=workflow).pk

    with django_assert_num_queries(1):
        assert all(news == ([], False) for news in events.read(wanted).values())
    with django_assert_num_queries(2):
        assert [seq for seq, _ in events.read({**wanted, busy: 0})[busy][0]] == [1]


@pytest.mark.django_db
def test_more_events_than_are_read_at_once_all_come(api, make_job, monkeypatch):
    monkeypatch.setattr(events, "AT_ONCE", 3)
    monkeypatch.setattr(events, "POLL_SECONDS", 0)
    job = make_job(status="completed", event_seq=7)
    JobEvent.objects.filter(job=job).delete()
    for seq in range(1, 8):
        JobEvent.objects.create(job=job, seq=seq, kind="token", data={"text": str(seq)})

    assert [seq for seq, _, _ in parsed(follow(api, job))] == [1, 2, 3, 4, 5, 6, 7]


class Script:
    """Stands in for the database: what `events.read` finds, look by look."""

    def __init__(self, *looks):
        self.looks, self.asked = list(looks), []

    def __call__(self, wanted):
        self.asked.append(dict(wanted))
        look = self.looks.pop(0) if self.looks else {}
        if isinstance(look, Exception):
            raise look
        return {job_id: look.get(job_id, ([], False)) for job_id in wanted}


@pytest.fixture
def tail(monkeypatch):
    """Runs followers of a fresh tailer against a script, and returns what each was told."""

    def run(script, *followers):
        monkeypatch.setattr(events, "read", script)
        monkeypatch.setattr(events, "POLL_SECONDS", 0.001)

        async def all_of_them():
            tailer = events.Tailer()

            async def one(job_id, after):
                return b"".join([piece async for piece in tailer.follow(job_id, after)])

            told = await asyncio.wait_for(asyncio.gather(*(one(*each) for each in followers)), 5)
            assert not tailer._followers
            return told

        return asyncio.run(all_of_them())

    return run


def test_two_clients_of_a_job_share_a_look_and_each_gets_what_it_lacks(tail):
    job = uuid.uuid4()
    script = Script({job: ([(1, b"a"), (2, b"b"), (3, b"c")], True)})

    told = tail(script, (job, 0), (job, 2))

    assert told == [events.GREETING + b"abc", events.GREETING + b"c"]
    assert script.asked == [{job: 0}]


def test_a_stream_goes_on_over_many_looks_and_past_a_failing_one(tail, monkeypatch, caplog):
    job, other = uuid.uuid4(), uuid.uuid4()
    pause = asyncio.sleep
    monkeypatch.setattr(events.asyncio, "sleep", lambda seconds: pause(0))
    script = Script({job: ([(1, b"a")], False)}, ConnectionError("away"), {job: ([(2, b"b")], True), other: ([], True)})

    told = tail(script, (job, 0), (other, 0))

    assert told == [events.GREETING + b"ab", events.GREETING]
    assert "can't be read right now" in caplog.text


def test_a_silent_stream_is_kept_alive(tail, monkeypatch):
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.02)
    job = uuid.uuid4()

    [told] = tail(Script(*[{}] * 100, {job: ([(1, b"a")], True)}), (job, 0))

    assert told.startswith(events.GREETING + events.KEEP_ALIVE)
    assert told.endswith(b"a")


def test_what_happens_while_a_client_takes_a_keep_alive_is_not_lost(monkeypatch):
    job = uuid.uuid4()
    monkeypatch.setattr(events, "read", Script({}, {}, {}, {job: ([(1, b"last")], True)}))
    monkeypatch.setattr(events, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.001)

    async def read_slowly():
        tailer = events.Tailer()
        stream = tailer.follow(job, 0)
        pieces = [await anext(stream), await anext(stream)]
        [follower] = tailer._followers
        await asyncio.wait_for(follower.woken.wait(), 5)  # the job ends before the client comes back
        return [*pieces, *[piece async for piece in stream]]

    assert asyncio.run(read_slowly()) == [events.GREETING, events.KEEP_ALIVE, b"last"]


def test_a_slow_client_is_not_read_for_until_it_has_taken_what_it_has(monkeypatch):
    job = uuid.uuid4()
    script = Script(*[{job: ([(n, b"x")], False)} for n in range(1, 50)])
    monkeypatch.setattr(events, "read", script)
    monkeypatch.setattr(events, "POLL_SECONDS", 0.001)

    async def read_slowly():
        stream = events.Tailer().follow(job, 0)
        await anext(stream)
        first = await anext(stream)
        before = len(script.asked)
        await asyncio.sleep(0.1)  # the client does not come back for more
        return first, len(script.asked) - before

    first, looks = asyncio.run(read_slowly())

    assert first == b"x"
    assert looks <= 1


def test_closing_ends_every_stream():
    async def run():
        tailer = events.Tailer()
        stream = tailer.follow(uuid.uuid4(), 0)
        await anext(stream)
        tailer.close()
        return [piece async for piece in stream]

    assert asyncio.run(run()) == []
