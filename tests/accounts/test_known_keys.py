"""A key that was found a moment ago is not looked up again, and is closed as soon as any other."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from accounts import known_keys
from accounts.models import ApiKey, User, Workspace
from aiworkflow_project import kept

pytestmark = pytest.mark.django_db


@pytest.fixture
def issue(make_user, make_workspace):
    def make(user=None, **values):
        key = ApiKey(workspace=make_workspace(), user=user or make_user("wei"), name="k", **values)
        return key, key.issue()

    return make


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(kept.time, "monotonic", lambda: Clock.now)
    return Clock


def test_it_is_looked_up_once_a_second(issue, clock, django_assert_num_queries):
    key, secret = issue()

    with django_assert_num_queries(1):
        assert known_keys.find(secret) == known_keys.find(secret) == key
        assert known_keys.find(secret).user.username == "wei"
    clock.now += known_keys.known.seconds + 0.001
    with django_assert_num_queries(1):
        assert known_keys.find(secret) == key


def test_what_another_process_closed_is_closed_after_a_second(issue, clock):
    key, secret = issue()
    assert known_keys.find(secret) == key

    ApiKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())  # tells nobody here

    assert known_keys.find(secret) == key
    clock.now += known_keys.known.seconds + 0.001
    assert known_keys.find(secret) is None


@pytest.mark.parametrize("how", ["revoked", "deleted", "owner deactivated", "owner deleted"])
def test_what_this_process_closed_is_closed_at_once(issue, how):
    key, secret = issue()
    assert known_keys.find(secret) == key

    match how:
        case "revoked":
            key.revoke()
        case "deleted":
            key.delete()
        case "owner deactivated":
            key.user.is_active = False
            key.user.save()
        case _:
            User.objects.get(pk=key.user_id).delete()

    assert known_keys.find(secret) is None


def test_permissions_are_those_of_now(issue):
    key, secret = issue()
    group = Group.objects.create(name="readers")
    assert not known_keys.find(secret).user.has_perm("jobs.view_job")

    key.user.groups.add(group)
    group.permissions.add(Permission.objects.get(codename="view_job"))
    assert known_keys.find(secret).user.has_perm("jobs.view_job")

    group.permissions.clear()
    assert not known_keys.find(secret).user.has_perm("jobs.view_job")


def test_a_key_expires_while_it_is_known(issue, monkeypatch):
    key, secret = issue(expires_at=timezone.now() + timedelta(seconds=60))
    assert known_keys.find(secret) == key

    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr(known_keys.timezone, "now", lambda: later)

    assert known_keys.find(secret) is None


def test_a_wrong_secret_is_never_known(issue, django_assert_num_queries):
    _, secret = issue()
    known_keys.find(secret)

    with django_assert_num_queries(2):
        assert known_keys.find(secret + "x") is None
        assert known_keys.find(secret + "x") is None


def test_no_more_keys_are_known_than_there_is_room_for(issue, make_user, monkeypatch):
    monkeypatch.setattr(known_keys.known, "at_most", 2)
    user = make_user("wei")
    secrets = [issue(user)[1] for _ in range(4)]
    known_keys.known.forget()

    for secret in secrets:
        assert known_keys.find(secret) is not None

    assert len(known_keys.known.values) == 2
    assert ApiKey.hash_of(secrets[-1]) in known_keys.known.values


def test_a_last_use_is_written_once_a_minute(issue, django_assert_num_queries):
    _, secret = issue()
    known_keys.find(secret).note_use()

    with django_assert_num_queries(0):
        known_keys.find(secret).note_use()
    assert ApiKey.objects.get().workspace_id == Workspace.DEFAULT_ID
    assert ApiKey.objects.get().last_used_at is not None


def test_a_key_that_was_closed_while_it_was_looked_up_is_not_known(issue, monkeypatch):
    key, secret = issue()
    look_up = type(ApiKey.objects).matching

    def found_and_then_closed(objects, text):
        found = look_up(objects, text)
        key.revoke()
        return found

    monkeypatch.setattr(type(ApiKey.objects), "matching", found_and_then_closed)
    known_keys.find(secret)
    monkeypatch.undo()

    assert known_keys.find(secret) is None
