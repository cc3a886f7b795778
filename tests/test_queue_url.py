"""QUEUE_URL chooses the broker, and a wrong one is refused without being shown."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from aiworkflow_project import queue_url


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", "WakeUps"),
        ("redis://localhost", "RedisStreams"),
        ("rediss://:secret@redis.example.com:6380/3", "RedisStreams"),
        ("redis://[::1]:6379/0", "RedisStreams"),
        ("amqp://guest:guest@localhost:5672//", "RabbitMQ"),
        ("amqps://user:p%40ss@mq.example.com/site", "RabbitMQ"),
    ],
)
def test_the_scheme_chooses_the_broker(url, name):
    assert import_string(queue_url.broker_class(url)).__name__ == name


@pytest.mark.parametrize(
    "url",
    [
        "localhost",
        "sqs://x",
        "redis:",
        "redis:///0",
        "amqp://:geheim@",
        "redis://h:99999",
        "redis://u:gehe[im@h",
        "http://h",
    ],
)
def test_what_is_no_queue_is_refused_without_being_shown(url):
    with pytest.raises(ImproperlyConfigured, match="QUEUE_URL must be empty, or redis://") as refused:
        queue_url.broker_class(url)

    assert "geheim" not in str(refused.value)
    assert refused.value.__context__ is None or "gehe" not in str(refused.value.__context__)
