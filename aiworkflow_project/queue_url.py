"""Reads QUEUE_URL: which broker carries the wake-ups. No message contains the URL, which may hold a password."""

from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

BROKERS = {
    "redis": "jobs.queue.redis_streams.RedisStreams",
    "rediss": "jobs.queue.redis_streams.RedisStreams",
    "amqp": "jobs.queue.rabbitmq.RabbitMQ",
    "amqps": "jobs.queue.rabbitmq.RabbitMQ",
}
IN_THE_DATABASE = "jobs.queue.orm.WakeUps"


def broker_class(url: str) -> str:
    """The path of the broker that speaks with `url`; without a URL, of the one in the project's own database.

    Raises ImproperlyConfigured, which says what to write instead, for whatever can't be meant.
    """
    if not url:
        return IN_THE_DATABASE
    try:
        parts = urlsplit(url)
        known = BROKERS.get(parts.scheme) and parts.hostname
        _ = parts.port
    except ValueError:
        known = None
    if not known:
        raise ImproperlyConfigured(
            "QUEUE_URL must be empty, or redis://host:port/number, or amqp://user:password@host:port/vhost "
            "(rediss:// and amqps:// with TLS). Characters like @ : / in a password are written %40 %3A %2F."
        )
    return BROKERS[parts.scheme]
