"""The JSON gate: what it refuses, where it says so, and what it makes of results."""

import json

import pytest

from tests.effort import calls_of
from workflows.engine import strict_json
from workflows.engine.strict_json import StrictJSONError


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 2}', "twice"),
        ('{"外": {"键": 1, "键": 2}}', "twice"),
        ("NaN", "NaN"),
        ("[Infinity]", "Infinity"),
        ("[-Infinity]", "Infinity"),
        ("[1e999]", "infinities"),
        ("[1" + "0" * 400 + ".5]", "infinities"),
        ('["a\\u0000b"]', "U+0000"),
        ('{"a\\u0000": 1}', "U+0000"),
        ('["\\ud800"]', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ('["\ud800"]', "surrogate"),
        ("9223372036854775808", "64 bits"),
        ("-9223372036854775809", "64 bits"),
        ("1" * 5000, "64 bits"),
        ("[" * 65 + "]" * 65, "64 levels"),
        ('{"a":' * 65 + "1" + "}" * 65, "64 levels"),
        ("[" * 100_000 + "]" * 100_000, "64 levels"),
        ("", "not JSON"),
        ('{"a": ', "not JSON"),
        ("{} {}", "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b'["\xed\xa0\x80"]', "UTF-8"),
        (b'{"a": "\xc3"}', "UTF-8"),
    ],
)
def test_what_would_break_a_database_or_a_client_is_refused(text, says):
    with pytest.raises(StrictJSONError, match=says.replace("+", r"\+")):
        strict_json.loads(text)


@pytest.mark.parametrize(
    "value",
    [
        {"问题": "数据库连接超时怎么办？", "top_k": 5, "z": [1.5, None, True, {"深": []}]},
        "😀",
        "\\u0000 as text",
        9223372036854775807,
        -9223372036854775808,
        1e300,
        json.loads("[" * 64 + "]" * 64),
        {"": ""},
    ],
)
def test_good_json_comes_out_as_it_went_in(value):
    assert strict_json.loads(json.dumps(value)) == value
    assert strict_json.loads(json.dumps(value, ensure_ascii=False).encode()) == value
    strict_json.check(value)


def test_a_refusal_says_where():
    with pytest.raises(StrictJSONError) as caught:
        strict_json.check({"documents": [{"meta": {"n": 2**64}}]})

    assert caught.value.path == "documents[0].meta.n"


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, {"a": b"x"}, ["\0"], {"k\ud800": 1}, (1,), {1, 2}])
def test_a_python_value_that_is_not_json_is_refused(value):
    with pytest.raises(StrictJSONError):
        strict_json.check(value)


def test_a_refusal_can_itself_be_stored():
    with pytest.raises(StrictJSONError) as caught:
        strict_json.check({"\ud800": {"a": "\ud800"}})

    str(caught.value).encode()


def test_a_result_is_made_safe_and_not_refused():
    odd = {
        "分数": float("nan"),
        "i": [float("inf"), -float("inf")],
        1: "一",
        None: (1, 2),
        "s": "a\ud800b",
        "big": 2**70,
    }

    assert strict_json.clean(odd) == {
        "分数": None, "i": [None, None], "1": "一", "null": [1, 2], "s": "a\ufffdb", "big": str(2**70),
    }  # fmt: skip


def test_a_cleaned_result_keeps_nul_and_joins_true_pairs():
    assert strict_json.clean(["a\0b", "\ud83d\ude00"]) == ["a\0b", "😀"]


def test_cleaning_what_is_clean_changes_nothing():
    value = {"回答": ["你好", 1, 2.5, None, False], "空": {}}

    assert strict_json.clean(value) == value
    assert strict_json.clean(value) is not value


@pytest.mark.parametrize("value", [{"a": object()}, b"bytes", {(1, 2): 3}])
def test_cleaning_refuses_what_is_no_json_at_all(value):
    with pytest.raises(StrictJSONError):
        strict_json.clean(value)


def test_cleaning_refuses_a_cycle_and_a_tower():
    cycle = []
    cycle.append(cycle)
    tower = []
    for _ in range(100_000):
        tower = [tower]

    for value in (cycle, tower):
        with pytest.raises(StrictJSONError, match="64 levels"):
            strict_json.clean(value)


def test_ten_megabytes_take_few_calls_for_each_row():
    row = {"content": "数据库连接超时" * 20, "score": 0.25, "meta": {"页": 3}}
    text = json.dumps([row] * 20_000, ensure_ascii=False).encode()
    assert len(text) > 9_000_000

    assert calls_of(lambda: strict_json.clean(strict_json.loads(text))) < 20_000 * 50
