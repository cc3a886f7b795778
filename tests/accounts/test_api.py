"""Tokens and API keys: who gets in, for how long, and who does not."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import ApiKey

pytestmark = pytest.mark.django_db

TOKEN, REFRESH, KEYS = "/api/v1/auth/token", "/api/v1/auth/token/refresh", "/api/v1/auth/api_keys"
SECURED = "/api/v1/ai_workflow_def"
PASSWORD = "correct horse"


def bearer(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


@pytest.fixture(autouse=True)
def no_failures_of_other_tests():
    cache.clear()


@pytest.fixture
def tokens(admin, anonymous):
    return anonymous.post(TOKEN, {"username": "admin", "password": PASSWORD}, format="json").json()


@pytest.fixture
def make_key(make_workspace, admin):
    def make(**fields):
        key = ApiKey(**{"workspace": make_workspace(), "user": admin, "name": "CI", **fields})
        return key, key.issue()

    return make


def test_a_password_buys_an_access_and_a_refresh_token(tokens):
    assert tokens.keys() == {"access", "refresh"}
    assert bearer(tokens["access"]).get(SECURED).status_code == 200
    assert bearer(tokens["refresh"]).get(SECURED).status_code == 401


@pytest.mark.parametrize("body", [{"username": "admin", "password": "wrong"}, {"username": "nobody", "password": "x"}])
def test_wrong_credentials_are_refused_in_the_same_words(admin, anonymous, body):
    answer = anonymous.post(TOKEN, body, format="json")

    assert answer.status_code == 401
    assert answer.json()["code"] == "no_active_account"
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_guessing_a_password_is_slowed_down_for_that_name_and_address_alone(admin, make_user, anonymous):
    make_user("other")

    def sign_in(username="admin", password=PASSWORD, address="10.0.0.1"):
        body = {"username": username, "password": password}
        return anonymous.post(TOKEN, body, format="json", REMOTE_ADDR=address)

    for _ in range(9):
        assert sign_in(password="wrong").status_code == 401
    assert sign_in().status_code == 200  # which forgives the failures before it

    for _ in range(10):
        assert sign_in(password="wrong").status_code == 401
    refusal = sign_in()
    assert (refusal.status_code, refusal.json()["code"]) == (429, "too_many_attempts")
    assert refusal["Content-Type"] == "application/problem+json"
    assert 0 < int(refusal["Retry-After"]) <= 300
    assert sign_in(address="10.0.0.2").status_code == 200
    assert sign_in(username="other").status_code == 200


def test_a_refresh_token_is_used_up_by_its_use(anonymous, tokens):
    second = anonymous.post(REFRESH, {"refresh": tokens["refresh"]}, format="json")
    again = anonymous.post(REFRESH, {"refresh": tokens["refresh"]}, format="json")

    assert second.status_code == 200
    assert bearer(second.json()["access"]).get(SECURED).status_code == 200
    assert (again.status_code, again.json()["code"]) == (401, "token_not_valid")


def test_tokens_end_with_their_owner_and_with_the_password(admin, anonymous, tokens):
    admin.set_password("another one")
    admin.save()
    assert bearer(tokens["access"]).get(SECURED).status_code == 401

    admin.delete()
    for answer in (
        bearer(tokens["access"]).get(SECURED),
        anonymous.post(REFRESH, {"refresh": tokens["refresh"]}, format="json"),
    ):
        assert answer.status_code == 401
        assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "secret", ["x", "a.b.c", "aiwf_", "aiwf_" + "x" * 51, "aiwf_你好", "eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoxfQ.", ""]
)
def test_what_is_no_token_opens_nothing(admin, secret):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}".encode().decode("latin-1"))

    answer = client.get(SECURED)

    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"


def test_the_secret_of_a_new_key_is_shown_once_and_opens_the_door(api, make_workspace):
    make_workspace()

    made = api.post(KEYS, {"name_str": "CI"}, format="json")

    assert made.status_code == 201
    secret = made.json()["secret_str"]
    assert secret.startswith("aiwf_")
    assert made["Cache-Control"] == "no-store"
    assert bearer(secret).get(SECURED).status_code == 200
    assert secret not in api.get(KEYS).content.decode()
    [row] = api.get(KEYS).json()["results"]
    assert row["last_used_at_time"] is not None
    assert made["Location"].endswith(row["id"])
    assert not ApiKey.objects.filter(secret_hash__contains=secret).exists()


def test_a_revoked_an_expired_and_an_orphaned_key_are_closed(api, admin, make_key):
    key, secret = make_key()
    _, expired = make_key(expires_at=timezone.now() - timedelta(seconds=1))

    assert bearer(expired).get(SECURED).status_code == 401
    assert bearer(secret).get(SECURED).status_code == 200
    assert api.delete(f"{KEYS}/{key.pk}").status_code == 204
    assert bearer(secret).get(SECURED).status_code == 401
    assert api.get(f"{KEYS}/{key.pk}").json()["revoked_at_time"] is not None

    _, other = make_key(name="other")
    admin.is_active = False
    admin.save()
    assert bearer(other).get(SECURED).status_code == 401


def test_a_key_acts_in_its_own_workspace(make_key, make_workspace, make_workflow):
    elsewhere = make_workspace("other")
    here, there = make_workflow(), make_workflow(workspace=elsewhere)
    _, secret = make_key(workspace=elsewhere)

    rows = bearer(secret).get(SECURED).json()["results"]

    assert [row["id"] for row in rows] == [str(there.pk)]
    assert bearer(secret).get(f"{SECURED}/{here.pk}").status_code == 404


def test_a_key_cannot_make_keys_and_sees_no_other_persons(make_key, make_user, make_client):
    key, secret = make_key()

    assert bearer(secret).post(KEYS, {"name_str": "x"}, format="json").status_code == 403
    stranger = make_client(make_user("stranger"))
    assert stranger.get(KEYS).json()["results"] == []
    assert stranger.delete(f"{KEYS}/{key.pk}").status_code == 404


def test_a_key_that_ends_in_the_past_is_not_made(api):
    answer = api.post(KEYS, {"name_str": "", "expires_at_time": "2020-01-01T00:00:00Z"}, format="json")

    assert {error["field"]: error["code"] for error in answer.json()["errors"]} == {
        "name_str": "blank", "expires_at_time": "past",
    }  # fmt: skip


def test_a_session_needs_its_csrf_token_to_write(admin):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(admin)

    assert client.get(SECURED).status_code == 200
    refusal = client.post(KEYS, {"name_str": "x"}, format="json")
    assert refusal.status_code == 403
    assert refusal["Content-Type"] == "application/problem+json"
