"""The three brokers keep the same promises, on real servers."""

import multiprocessing
import os
import pickle
import time
import uuid
from datetime import timedelta

import amqp
import pytest
import redis
from django.conf import settings
from django.core import signing
from django.db import connection as database
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from jobs import claims, services
from jobs.queue import rabbitmq, redis_streams, remote
from jobs.queue.orm import WakeUps
from jobs.queue.rabbitmq import RabbitMQ
from jobs.queue.redis_streams import RedisStreams
from tests.faults.wire import Wire

REDIS = "127.0.0.1", 6379
RABBITMQ = "127.0.0.1", 5672
PORTS = {RedisStreams: REDIS, RabbitMQ: RABBITMQ}
URLS = {RedisStreams: "redis://127.0.0.1:{port}/15", RabbitMQ: "amqp://guest:guest@127.0.0.1:{port}//"}

DATA = {"query": "问", "top_k": 5}


def message(what) -> str:
    return SignedPackage.dumps({"what": what})


def taken(broker, *, at_most: float = 5, acknowledge: bool = True) -> list:
    """What the next message of ours says, waiting for one."""
    deadline = time.monotonic() + at_most
    while time.monotonic() < deadline:
        for receipt, payload in broker.dequeue():
            if acknowledge and receipt is not None:
                broker.acknowledge(receipt)
            said = SignedPackage.loads(payload)
            if "what" in said:  # else the broker made it itself, while its server was away
                return [said["what"]]
    return []


@pytest.fixture
def connect(settings, monkeypatch):
    """Makes brokers of a kind, all of one queue of the test's own; `port` instead of the server's own, if given."""
    name = f"test-{uuid.uuid4().hex}"
    made = []

    def make(kind, port=None):
        if kind is not WakeUps:
            settings.QUEUE_URL = URLS[kind].format(port=port or PORTS[kind][1])
        redis_streams.client.cache_clear()
        monkeypatch.setattr(rabbitmq._senders, "by_process", {}, raising=False)
        broker = kind(name)
        if not made and not port:
            try:
                broker.ping()
            except (redis.RedisError, OSError, amqp.AMQPError) as error:
                pytest.skip(f"no such server on this machine: {error}")
        made.append(broker)
        return broker

    yield make
    for kind in {type(broker) for broker in made} - {WakeUps}:
        broker = make(kind)
        broker.delete_queue()
        dead = kind(broker.dead_key)
        dead.delete_queue()
    redis_streams.client.cache_clear()


@pytest.fixture(params=[WakeUps, RedisStreams, RabbitMQ], ids=["orm", "redis", "rabbitmq"])
def any_kind(request, transactional_db, monkeypatch):
    monkeypatch.setattr(Conf, "POLL", 0.01)
    return request.param


@pytest.fixture(
    params=[
        pytest.param(RedisStreams, id="redis"),
        pytest.param(RabbitMQ, id="rabbitmq"),
        *([] if "sqlite" in settings.DATABASES["default"]["ENGINE"] else [pytest.param(WakeUps, id="orm")]),
    ]
)
def shared_kind(request, transactional_db):
    """Those that processes can share: the tests' SQLite is in memory."""
    return request.param


@pytest.fixture(params=[RedisStreams, RabbitMQ], ids=["redis", "rabbitmq"])
def kind(request):
    return request.param


def test_what_goes_in_comes_out_once_and_in_order(any_kind, connect):
    sender, reader, other = connect(any_kind), connect(any_kind), connect(any_kind)

    for text in ("一", "二🙂", "三"):
        sender.enqueue(message(text))

    assert sender.queue_size() == 3
    assert [taken(reader), taken(other), taken(reader)] == [["一"], ["二🙂"], ["三"]]
    assert (sender.queue_size(), sender.lock_size() or 0) == (0, 0)
    assert taken(reader, at_most=0.2) == []


def start(function, *arguments) -> multiprocessing.Process:
    """A forked child, as django-q2 makes them: database connections are closed before."""
    database.close()
    child = multiprocessing.get_context("fork").Process(target=function, args=arguments, daemon=True)
    child.start()
    return child


def _take_all(broker, found):
    while got := taken(broker, at_most=2):
        found.put(got[0])
    found.put(None)


def test_readers_in_many_processes_never_get_the_same_message(shared_kind, connect):
    broker = connect(shared_kind)
    for number in range(60):
        broker.enqueue(message(number))
    found = multiprocessing.get_context("fork").Queue()
    readers = [start(_take_all, broker, found) for _ in range(3)]

    told, ended = [], 0
    while ended < len(readers):
        got = found.get(timeout=30)
        ended, told = (ended + 1, told) if got is None else (ended, [*told, got])

    for reader in readers:
        reader.join()
    assert sorted(told) == list(range(60))


def _send(broker, what):
    broker.enqueue(message(what))


def test_a_fork_leaves_the_parents_connection_alone(shared_kind, connect):
    broker = connect(shared_kind)
    broker.enqueue(message("parent"))
    child = start(_send, broker, "child")
    child.join()
    broker.enqueue(message("parent again"))

    assert child.exitcode == 0
    assert [taken(broker), taken(broker), taken(broker)] == [["parent"], ["child"], ["parent again"]]


def test_a_purged_queue_goes_on(any_kind, connect):
    broker = connect(any_kind)
    broker.enqueue(message("gone"))

    broker.purge_queue()
    assert broker.queue_size() == 0
    broker.enqueue(message("new"))

    assert taken(broker) == ["new"]


def test_a_deleted_queue_is_made_again(kind, connect):
    broker = connect(kind)
    broker.enqueue(message("gone"))
    assert taken(broker) == ["gone"]

    broker.delete_queue()
    for _ in range(2):  # learns that it is gone, and makes it
        broker.dequeue()
    broker.enqueue(message("new"))

    assert taken(broker) == ["new"]


class FromAnotherRelease:
    def __reduce__(self):
        return os.path.join, ()  # a call that fails while it is unpickled


class Pickled:
    def dumps(self, value):
        return pickle.dumps(value)


UNREADABLE = {
    "words": "no message at all",
    "empty": "",
    "another key": signing.dumps({"what": 1}, key="another", salt=Conf.PREFIX),
    "another release": signing.dumps(FromAnotherRelease(), key=Conf.SECRET_KEY, salt=Conf.PREFIX, serializer=Pickled),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_laid_aside_and_holds_nothing_up(kind, connect, what, caplog):
    broker = connect(kind)
    broker.enqueue(UNREADABLE[what])
    broker.enqueue(message("next"))

    assert taken(broker) == ["next"]
    assert (broker.queue_size(), broker.lock_size() or 0) == (0, 0)
    assert kind(broker.dead_key).queue_size() == 1
    assert broker.dead_key in caplog.text


def test_bytes_that_are_no_text_are_laid_aside(connect):
    broker = connect(RedisStreams)
    broker.connection.xadd(broker.list_key, {"task": b"\xff\xfe"})
    broker.connection.xadd(broker.list_key, {"other": b"field"})
    broker.enqueue(message("next"))

    assert taken(broker) == ["next"]
    assert RedisStreams(broker.dead_key).queue_size() == 2


def test_a_queue_that_nobody_reads_keeps_the_newest_only(kind, connect, monkeypatch):
    monkeypatch.setattr(redis_streams, "KEPT", 100)
    monkeypatch.setattr(rabbitmq, "KEPT", 100)
    broker = connect(kind)

    for number in range(400):
        broker.enqueue(message(number))

    assert 100 <= broker.queue_size() <= 200  # Redis lets go of a hundred at once
    assert taken(broker)[0] >= 200


def test_while_the_server_is_away_the_pool_looks_for_jobs_itself(kind, connect, monkeypatch, caplog):
    monkeypatch.setattr(remote, "AWAY_PAUSE", 0.05)
    with Wire(*PORTS[kind]) as wire:
        broker = connect(kind, wire.port)
        broker.enqueue(message("before"))
        assert taken(broker) == ["before"]

        wire.cut()
        [(receipt, payload)] = broker.dequeue()
        again = broker.dequeue()

        assert receipt is None
        assert SignedPackage.loads(payload)["func"] == "jobs.tasks.work"
        assert len(again) == 1
        assert caplog.text.count("is away") == 1

        wire.mend()
        broker.enqueue(message("after"))
        # An acknowledgement is not answered: one that was on its way when the wire was cut went with it.
        assert "after" in taken(broker) + taken(broker, at_most=1)
        assert "answers again" in caplog.text


def test_after_a_silence_the_pool_looks_for_jobs_itself(kind, connect, monkeypatch):
    monkeypatch.setattr(remote, "SILENCE", 1.5)
    broker = connect(kind)
    broker.enqueue(message(1))
    assert taken(broker) == [1]

    looks = [SignedPackage.loads(payload)["func"] for _ in range(4) for _receipt, payload in broker.dequeue()]

    assert looks == ["jobs.tasks.work"] * 2  # in about four seconds


def test_sending_to_a_server_that_is_away_fails_soon_and_works_again_later(kind, connect):
    with Wire(*PORTS[kind]) as wire:
        broker = connect(kind, wire.port)
        broker.enqueue(message("before"))
        wire.cut()

        asked = time.monotonic()
        with pytest.raises(broker.ERRORS):
            broker.enqueue(message("lost"))
        assert time.monotonic() - asked < 10

        wire.mend()
        broker.enqueue(message("after"))
        assert [taken(broker), taken(broker)] == [["before"], ["after"]]


def test_a_connection_that_the_server_has_closed_is_made_anew(kind, connect):
    with Wire(*PORTS[kind]) as wire:
        broker = connect(kind, wire.port)
        broker.enqueue(message(1))
        assert taken(broker) == [1]

        wire.mend()  # ends what is open

        broker.enqueue(message(2))
        while (got := taken(broker)) == [1]:
            pass  # its acknowledgement may have been cut off
        assert got == [2]


def test_a_server_that_does_not_answer_is_not_waited_for_long(kind, connect):
    with Wire(*PORTS[kind]) as wire:
        broker = connect(kind, wire.port)
        broker.enqueue(message("before"))
        wire.swallow()

        asked = time.monotonic()
        with pytest.raises(broker.ERRORS):
            broker.enqueue(message("lost"))

        assert time.monotonic() - asked < 15


# Redis: receipts


def _acknowledge(broker, receipt):
    broker.acknowledge(receipt)


def test_a_receipt_is_good_in_any_process(connect):
    broker = connect(RedisStreams)
    broker.enqueue(message(1))
    broker.dequeue()  # makes the group
    [(receipt, _payload)] = broker.dequeue() or broker.dequeue()
    assert broker.lock_size() == 1

    start(_acknowledge, broker, receipt).join()

    assert (broker.lock_size(), broker.queue_size()) == (0, 0)


def test_what_a_lost_reader_took_is_given_to_another(connect, monkeypatch):
    monkeypatch.setattr(redis_streams, "FORSAKEN_MS", 100)
    monkeypatch.setattr(redis_streams, "FORSAKEN_LOOK", 0)
    lost, heir = connect(RedisStreams), connect(RedisStreams)
    lost.enqueue(message("precious"))
    assert taken(lost, acknowledge=False) == ["precious"]
    time.sleep(0.15)

    assert taken(heir) == ["precious"]
    assert taken(heir, at_most=0.3) == []


def test_an_acknowledgement_that_fails_does_no_harm(connect):
    with Wire(*REDIS) as wire:
        broker = connect(RedisStreams, wire.port)
        wire.cut()

        broker.acknowledge(b"1-1")


# RabbitMQ: one connection that listens


def test_a_busy_pool_keeps_its_connection_alive_and_holds_nothing_back(connect, monkeypatch):
    monkeypatch.setattr(rabbitmq, "HEARTBEAT", 2)
    with Wire(*RABBITMQ) as wire:
        busy = connect(RabbitMQ, wire.port)
        idle = connect(RabbitMQ)
        for number in range(3):
            busy.enqueue(message(number))
        assert taken(busy) == [0]
        intake = busy._intake

        time.sleep(8)  # the server would give up after about four

        assert [taken(idle), taken(idle)] == [[1], [2]]
        busy.enqueue(message(3))
        assert taken(busy) == [3]
        assert busy._intake is intake


def test_the_queue_and_its_messages_outlive_a_restart(connect):
    broker = connect(RabbitMQ)
    broker.enqueue(message(1))

    with amqp.Connection("127.0.0.1:5672") as connection:
        channel = connection.channel()
        channel.queue_declare(broker.list_key, passive=True)
        found = channel.basic_get(broker.list_key)
        assert found.properties["delivery_mode"] == 2
        channel.basic_reject(found.delivery_tag, requeue=True)
        with pytest.raises(amqp.PreconditionFailed):
            connection.channel().queue_declare(broker.list_key, durable=False, auto_delete=False)


@pytest.fixture
def broker(transactional_db):
    broker = WakeUps("aiworkflow")
    yield broker
    broker._hang_up()


def test_in_the_projects_own_database_a_pending_job_is_its_own_message(broker, make_workflow):
    assert broker.dequeue() == []

    services.submit(make_workflow(), DATA)

    assert not OrmQ.objects.exists()
    [(receipt, payload)] = broker.dequeue()
    assert (receipt, SignedPackage.loads(payload)["func"]) == (None, "jobs.tasks.work")
    claims.claim(1, timedelta(minutes=1), "ours")
    assert broker.dequeue() == []


def test_a_job_that_must_wait_is_no_message(broker, make_workflow):
    services.submit(make_workflow(), DATA, control={"available_at": timezone.now() + timedelta(hours=1)})

    assert broker.dequeue() == []
