"""Typed environment variables and the files of NAME_FILE, and errors that name the variable."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from aiworkflow_project import environment


@pytest.fixture
def setenv(monkeypatch):
    for name in ("THING", "THING_FILE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_a_text_is_the_variable_or_the_default(setenv):
    assert environment.text("THING", "那个") == "那个"
    setenv("THING", "")
    assert environment.text("THING", "那个") == "那个"
    setenv("THING", "这个")
    assert environment.text("THING", "那个") == "这个"


def test_a_text_may_lie_in_a_file_whose_last_line_end_does_not_count(setenv, tmp_path):
    (tmp_path / "secret").write_text("密码 with blanks\n", encoding="utf-8")
    setenv("THING_FILE", str(tmp_path / "secret"))

    assert environment.text("THING") == "密码 with blanks"


@pytest.mark.parametrize(
    ("content", "hint"),
    [(None, "No such file or directory"), (b"\n", "empty file"), (b"\xff\xfegeheim", "UTF-8")],
)
def test_an_unusable_file_is_refused_by_the_variables_name(setenv, tmp_path, content, hint):
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    setenv("THING_FILE", str(tmp_path / "secret"))

    with pytest.raises(ImproperlyConfigured, match="THING_FILE") as refused:
        environment.text("THING", "default")

    assert hint in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_a_variable_and_its_file_are_too_much(setenv, tmp_path):
    setenv("THING", "geheim")
    setenv("THING_FILE", str(tmp_path))

    with pytest.raises(ImproperlyConfigured, match="THING or THING_FILE, not both") as refused:
        environment.text("THING")
    assert "geheim" not in str(refused.value)


def test_a_number_is_read_and_has_a_least(setenv):
    assert environment.integer("THING", 7) == 7
    setenv("THING", " 12 ")
    assert environment.integer("THING", 7) == 12
    with pytest.raises(ImproperlyConfigured, match="THING must be at least 13, not 12"):
        environment.integer("THING", 20, least=13)


@pytest.mark.parametrize("value", ["many", "1.5", "十二个", "1e3"])
def test_what_is_no_whole_number_is_refused(setenv, value):
    setenv("THING", value)

    with pytest.raises(ImproperlyConfigured, match="THING must be a whole number"):
        environment.integer("THING", 7)


@pytest.mark.parametrize(
    ("value", "meant"), [("1", True), ("True", True), (" yes ", True), ("0", False), ("FALSE", False), ("off", False)]
)
def test_a_flag_is_read_in_any_case(setenv, value, meant):
    setenv("THING", value)

    assert environment.flag("THING", not meant) is meant


@pytest.mark.parametrize("default", [True, False])
def test_a_flag_has_a_default(setenv, default):
    assert environment.flag("THING", default) is default


def test_what_is_neither_true_nor_false_is_refused(setenv):
    setenv("THING", "maybe")

    with pytest.raises(ImproperlyConfigured, match="THING must be true or false, not 'maybe'"):
        environment.flag("THING", False)


def test_a_choice_is_read_in_any_case_and_refused_with_the_choices(setenv):
    assert environment.choice("THING", "INFO", ("INFO", "ERROR")) == "INFO"
    setenv("THING", "error")
    assert environment.choice("THING", "INFO", ("INFO", "ERROR")) == "ERROR"
    setenv("THING", "verbose")
    with pytest.raises(ImproperlyConfigured, match="THING must be one of INFO, ERROR, not 'VERBOSE'"):
        environment.choice("THING", "INFO", ("INFO", "ERROR"))


@pytest.mark.parametrize("value", ["Beijing", "../etc/passwd", "/etc/localtime", "Asia", "北京"])
def test_an_unknown_time_zone_is_refused(setenv, value):
    setenv("THING", value)

    with pytest.raises(ImproperlyConfigured, match="THING must be a name like Asia/Shanghai"):
        environment.time_zone("THING", "UTC")


def test_a_time_zone_is_read(setenv):
    setenv("THING", "Asia/Shanghai")

    assert environment.time_zone("THING", "UTC") == "Asia/Shanghai"


def test_words_are_comma_separated_without_blanks(setenv):
    assert environment.words("THING") == []
    setenv("THING", " a.example.com, ,b.example.com,例子.中国 ,")
    assert environment.words("THING") == ["a.example.com", "b.example.com", "例子.中国"]


def test_a_number_above_the_most_is_refused(setenv):
    setenv("THING", "11")

    with pytest.raises(ImproperlyConfigured, match="THING must be at most 10, not 11"):
        environment.integer("THING", 1, most=10)
