"""The pages of people and keys: nobody becomes more than they are."""

import re

import pytest
from django.contrib.auth.models import Group, Permission

from accounts.models import ApiKey, User

KEYS = "/admin/accounts/apikey/"
STAFF = [
    "accounts.view_user",
    "accounts.change_user",
    "accounts.add_apikey",
    "accounts.view_apikey",
    "accounts.change_apikey",
]


@pytest.fixture
def clerk(client, make_user, make_workspace):
    """Somebody who looks after people, but is no superuser."""
    make_workspace()
    user = make_user("clerk", permissions=STAFF, is_staff=True)
    client.force_login(user)
    client.user = user
    return client


@pytest.fixture
def as_admin(client, admin, make_workspace):
    make_workspace()
    client.force_login(admin)
    return client


def test_a_secret_is_shown_once_and_only_its_hash_is_kept(as_admin, admin):
    answer = as_admin.post(KEYS + "add/", {"name": "夜间任务", "user": admin.pk})

    secret = re.search(r"aiwf_[\w-]+", answer.content.decode()).group()
    key = ApiKey.objects.get()
    assert ApiKey.objects.matching(secret) == key
    assert "no-store" in answer["Cache-Control"]
    assert secret not in as_admin.get(f"{KEYS}{key.pk}/change/").content.decode()
    assert secret not in as_admin.get(KEYS).content.decode()


def test_a_key_made_by_somebody_else_than_a_superuser_is_their_own(clerk, admin):
    clerk.post(KEYS + "add/", {"name": "mine", "user": admin.pk})

    assert ApiKey.objects.get().user == clerk.user


def test_one_sees_and_revokes_one_s_own_keys_only(clerk, admin, make_workspace):
    theirs = ApiKey(workspace=make_workspace(), user=admin, name="theirs")
    theirs.issue()

    assert "theirs" not in clerk.get(KEYS).content.decode()
    clerk.post(KEYS, {"action": "revoke_selected", "_selected_action": [str(theirs.pk)]})

    theirs.refresh_from_db()
    assert theirs.revoked_at is None


def test_a_revoked_key_opens_no_door(as_admin, admin, make_workspace):
    key = ApiKey(workspace=make_workspace(), user=admin, name="old")
    secret = key.issue()

    as_admin.post(KEYS, {"action": "revoke_selected", "_selected_action": [str(key.pk)]})

    assert ApiKey.objects.matching(secret) is None
    assert as_admin.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"}).status_code == 403


def test_who_is_no_superuser_can_make_nobody_one(clerk, make_user):
    other = make_user("other")

    clerk.post(
        f"/admin/accounts/user/{other.pk}/change/",
        {"username": "other", "is_active": "on", "is_staff": "on", "is_superuser": "on"},
    )
    clerk.post(
        f"/admin/accounts/user/{clerk.user.pk}/change/", {"username": "clerk", "is_active": "on", "is_superuser": "on"}
    )

    assert not User.objects.filter(is_superuser=True).exists()
    assert not User.objects.get(username="other").is_staff


def test_who_is_no_superuser_can_neither_change_one_nor_set_their_password(clerk, admin):
    page = f"/admin/accounts/user/{admin.pk}/"
    passwords = {"password1": "another-long-one", "password2": "another-long-one", "usable_password": "true"}

    assert clerk.post(f"{page}password/", passwords).status_code == 403
    assert clerk.post(f"{page}change/", {"username": "taken"}).status_code == 403
    admin.refresh_from_db()
    assert (admin.username, admin.check_password("correct horse")) == ("admin", True)


def test_the_queue_s_and_the_tokens_own_tables_are_not_in_the_console(as_admin):
    content = as_admin.get("/admin/").content.decode()

    assert "django_q" not in content
    assert "token_blacklist" not in content
    assert as_admin.get("/admin/django_q/ormq/").status_code == 404


def test_the_navigation_holds_what_one_may_open(clerk):
    content = clerk.get("/admin/").content.decode()

    assert "/admin/accounts/user/" in content
    assert "/admin/workflows/workflow/" not in content
    assert "/admin/jobs/job/" not in content


def test_permissions_are_offered_in_the_reader_s_language_and_for_this_site_s_own_models_only(as_admin, admin):
    session = Permission.objects.get(codename="add_session")
    group = Group.objects.create(name="运维")
    address = f"/admin/auth/group/{group.pk}/change/"
    as_admin.cookies["django_language"] = "zh-hans"

    page = as_admin.get(address).content.decode()
    assert "API 密钥: 新增" in page
    assert "Can add" not in page
    assert f'value="{session.pk}"' not in page

    group.permissions.add(session)
    assert f'value="{session.pk}"' in as_admin.get(address).content.decode(), "what is granted can be seen"


def test_the_page_after_signing_out_says_so_and_leads_back(as_admin):
    page = as_admin.post("/admin/logout/").content.decode()

    assert "You are logged out" in page
    assert 'id="nav-sidebar"' not in page
    assert 'href="/admin/"' in page
