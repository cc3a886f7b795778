"""Wake-ups through RabbitMQ: a durable queue, confirmed when sent and acknowledged when taken."""

import contextlib
import os
import threading
from dataclasses import dataclass

from amqp.exceptions import NotFound
from django.conf import settings
from kombu import Connection, Consumer, Message, Producer, Queue
from kombu.exceptions import KombuError, OperationalError

from jobs.queue.remote import KEPT, KEPT_DEAD, RemoteBroker

WAIT = 1.0
HEARTBEAT = 20  # seconds; the server gives up a connection after about two of them in silence
CONFIRM_SECONDS = 3

# A connection for sending, of each thread, and by process: after a fork the parent's is left alone. Never dropped, as
# dropping it in a child would shut the parent's socket.
_senders = threading.local()


@dataclass
class Intake:
    """The connection on which this process listens. Used under the broker's lock."""

    connection: Connection
    consumer: Consumer
    message: Message | None = None  # delivered, and not given out yet

    def note(self, message: Message) -> None:
        self.message = message

    def listen(self, seconds: float) -> None:
        """Read what the server sends, for so long at most, and keep the connection alive."""
        with contextlib.suppress(TimeoutError):
            self.connection.drain_events(timeout=seconds)
        self.connection.heartbeat_check()


class RabbitMQ(RemoteBroker):
    """Acknowledged early: the job's row is the truth, and a wake-up may last longer than any server would wait.

    A pool that is busy listens for nothing, so that others get what arrives; a thread keeps its connection alive.
    """

    def __init__(self, list_key: str | None = None):
        super().__init__(list_key)
        self._intake: Intake | None = None
        self._lock = threading.Lock()

    @property
    def ERRORS(self):  # noqa: N802 - as the base class names it
        connection = self.connection
        return (OSError, KombuError, OperationalError, *connection.connection_errors, *connection.channel_errors)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Connection:
        """Not open yet: the client connects at first use."""
        return Connection(
            settings.QUEUE_URL,
            connect_timeout=2,
            transport_options={"confirm_publish": True, "read_timeout": 10, "write_timeout": 10},
        )

    def _queue(self, name: str, kept: int) -> Queue:
        return Queue(name, durable=True, max_length=kept)

    def enqueue(self, task: str) -> None:
        """Returns once the server has said that it keeps the message."""
        self._send(task, self._queue(self.list_key, KEPT))

    def _send(self, body: str, queue: Queue, **headers: str) -> None:
        if not hasattr(_senders, "by_process"):
            _senders.by_process = {}
        connection = _senders.by_process.setdefault(os.getpid(), self.connection)
        Producer(connection).publish(
            body,
            routing_key=queue.name,
            declare=[queue],
            headers=headers,
            content_type="text/plain",
            content_encoding="utf-8",
            confirm_timeout=CONFIRM_SECONDS,
            retry=True,  # once more, for a connection that the server has closed meanwhile
            retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0},
        )

    def _take(self):
        with self._lock:
            try:
                intake = self._intake or self._connect()
                intake.consumer.consume()
                if intake.message is None:
                    intake.listen(WAIT)
                message, intake.message = intake.message, None
                if message is None:
                    return []
                intake.consumer.cancel()  # before the acknowledgement, which would bring us the next one
                message.ack()
            except self.ERRORS:
                self._hang_up()
                raise
        return [(None, message.body.encode() if isinstance(message.body, str) else bytes(message.body))]

    def _connect(self) -> Intake:
        connection = self.connection.clone(heartbeat=HEARTBEAT)
        connection.connect()
        channel = connection.channel()
        channel.basic_qos(0, 1, False)
        consumer = Consumer(channel, [self._queue(self.list_key, KEPT)], auto_declare=True)
        self._intake = Intake(connection, consumer)
        consumer.on_message = self._intake.note
        threading.Thread(target=self._stay_alive, args=(self._intake,), name="heartbeat", daemon=True).start()
        return self._intake

    def _stay_alive(self, intake: Intake) -> None:
        """Speaks with the server while this process waits for a free worker."""
        pause = threading.Event()
        while self._intake is intake:
            pause.wait(HEARTBEAT / 4)
            with self._lock:
                if self._intake is not intake:
                    return
                try:
                    intake.listen(0.001)
                except self.ERRORS:
                    self._hang_up()

    def _hang_up(self) -> None:
        intake, self._intake = self._intake, None
        if intake:
            intake.connection.collect()

    def _bury(self, receipt, payload: str, reason: str) -> None:
        self._send(payload, self._queue(self.dead_key, KEPT_DEAD), reason=reason)

    def queue_size(self) -> int:
        with self.connection.clone() as connection:
            try:
                return connection.default_channel.queue_declare(self.list_key, passive=True).message_count
            except NotFound:  # nothing has been sent yet
                return 0

    def purge_queue(self) -> None:
        with self.connection.clone() as connection:
            connection.default_channel.queue_purge(self.list_key)

    def delete_queue(self) -> None:
        with self.connection.clone() as connection:
            connection.default_channel.queue_delete(self.list_key)

    def ping(self) -> bool:
        with self.connection.clone() as connection:
            connection.connect()
        return True

    def info(self) -> str:
        with self.connection.clone() as connection:
            connection.connect()
            return f"RabbitMQ {connection.connection.server_properties['version']}"
