"""What a comparison of two revisions shows."""

from workflows.diff import compare


def shown(lines):
    return [
        (line.kind, line.old_number, line.new_number, "".join(piece.text for piece in line.pieces)) for line in lines
    ]


def test_equal_texts_have_nothing_to_show():
    assert compare("a\nb\n", "a\nb\n") == []


def test_a_changed_line_is_shown_twice_with_its_numbers_and_the_rest_is_folded():
    old = "\n".join(f"line {number}" for number in range(1, 21))
    new = old.replace("line 10", "第十行")

    lines = compare(old, new)

    assert lines[0].kind == "gap"
    assert lines[0].hidden == 6
    assert ("removed", 10, None, "line 10") in shown(lines)
    assert ("added", None, 10, "第十行") in shown(lines)
    assert lines[-1].hidden == 7
    assert sum(line.kind == "same" for line in lines) == 6


def test_only_the_changed_words_are_marked_and_a_chinese_letter_is_a_word():
    removed, added = (line for line in compare("问：你好吗\n", "问：您好吗\n") if line.kind != "same")

    assert [piece.text for piece in removed.pieces if piece.changed] == ["你"]
    assert [piece.text for piece in added.pieces if piece.changed] == ["您"]


def test_lines_that_were_only_added_have_no_old_number():
    lines = compare("a\n", "a\nb\nc\n")

    assert shown(lines) == [("same", 1, 1, "a"), ("added", None, 2, "b"), ("added", None, 3, "c")]


def test_texts_that_differ_in_line_ends_only_have_no_lines_to_show():
    assert compare("a\r\nb\r\n", "a\nb\n") == []
