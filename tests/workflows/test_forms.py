"""That a browser's line ends don't get into the stored text."""

import pytest

from workflows.forms import with_newlines_of


def as_submitted(text: str) -> str:
    """What a browser makes of a text in a textarea."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


@pytest.mark.parametrize(
    "stored",
    [
        "a\nb\n",
        "a\r\nb\r\n",
        "a\rb",
        "一行",
        "\n\n  \n",
        "a\r\nb\nc\rd\n",
        "末尾没有换行\n再一行",
        "\r\n",
        "a\u2028b\x0bc\n",
    ],
)
def test_a_text_that_was_not_changed_comes_back_byte_for_byte(stored):
    assert with_newlines_of(stored, as_submitted(stored)) == stored


def test_a_new_text_has_line_feeds():
    assert with_newlines_of("", "a\r\nb\r\n") == "a\nb\n"


def test_a_changed_text_keeps_the_line_ends_of_the_stored_one():
    assert with_newlines_of("a\r\nb\r\n", "a\r\n新\r\nb\r\n") == "a\r\n新\r\nb\r\n"
    assert with_newlines_of("a\nb\n", "a\r\n新\r\nb\r\n") == "a\n新\nb\n"


def test_in_a_text_of_mixed_line_ends_each_kept_line_keeps_its_own():
    assert with_newlines_of("a\r\nb\nc\r\n", "a\r\nb\r\nnew\r\nc\r\n") == "a\r\nb\nnew\r\nc\r\n"
