"""Where the secret key comes from, that it is made once, and that nobody else may read it."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ImproperlyConfigured

from aiworkflow_project import secret_key


@pytest.mark.parametrize("debug", [True, False])
def test_the_configured_key_is_used_and_nothing_is_written(tmp_path, debug):
    assert secret_key.find("given", tmp_path / "var", debug=debug) == "given"
    assert not (tmp_path / "var").exists()


def test_production_without_a_key_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ImproperlyConfigured, match=r"SECRET_KEY .*must be set when DEBUG is off"):
        secret_key.find("", tmp_path / "var", debug=False)

    assert not (tmp_path / "var").exists()


def test_a_development_site_makes_its_key_once_for_its_user_alone(tmp_path):
    made = secret_key.find("", tmp_path / "var", debug=True)

    assert len(made) >= 50
    assert secret_key.find("", tmp_path / "var", debug=True) == made
    path = tmp_path / "var" / "secret_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret_key"]
    assert secret_key.find("", tmp_path / "another", debug=True) != made


def test_many_that_start_at_once_get_one_key(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        found = set(threads.map(lambda _: secret_key.find("", tmp_path / "var", debug=True), range(64)))

    assert len(found) == 1
    assert found == {(tmp_path / "var" / "secret_key").read_text()}


def test_an_empty_key_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "secret_key").write_text("\n")

    with pytest.raises(ImproperlyConfigured, match=r"secret_key is empty: delete the file"):
        secret_key.find("", tmp_path, debug=True)


def test_a_folder_that_can_not_be_made_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ImproperlyConfigured, match="set DATA_DIR to a folder"):
        secret_key.find("", tmp_path / "file" / "var", debug=True)
