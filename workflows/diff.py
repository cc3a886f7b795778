"""What changed between two texts, as lines to show: numbered, folded where nothing changed, words marked."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

CONTEXT = 3


@dataclass(frozen=True)
class Piece:
    text: str
    changed: bool = False


@dataclass(frozen=True)
class Line:
    """One line of the comparison. `kind` is same, removed, added, or gap (then `hidden` lines are left out)."""

    kind: str
    old_number: int | None = None
    new_number: int | None = None
    pieces: tuple[Piece, ...] = ()
    hidden: int = 0

    @property
    def sign(self) -> str:
        return {"removed": "−", "added": "+"}.get(self.kind, "")


def compare(old: str, new: str) -> list[Line]:
    """The lines of both texts, in order; empty when the texts are the same."""
    if old == new:
        return []
    old_lines, new_lines = old.splitlines(), new.splitlines()
    matcher = SequenceMatcher(None, old_lines, new_lines, autojunk=False)
    shown = []
    for group in matcher.get_grouped_opcodes(CONTEXT):
        _gap(shown, group[0][3])
        for operation, i1, i2, j1, j2 in group:
            if operation == "equal":
                shown += [_line("same", old_lines[i], i, j) for i, j in zip(range(i1, i2), range(j1, j2), strict=True)]
            else:
                shown += _changed(old_lines, new_lines, range(i1, i2), range(j1, j2))
    if shown:
        _gap(shown, len(new_lines))
    return shown


def _gap(shown: list[Line], upto: int) -> None:
    """Say how many unchanged lines lie between what is shown and the new text's line `upto`."""
    last = next((line.new_number for line in reversed(shown) if line.new_number), 0)
    if upto > last:
        shown.append(Line("gap", hidden=upto - last))


def _line(kind: str, text: str, i: int | None, j: int | None) -> Line:
    return Line(kind, None if i is None else i + 1, None if j is None else j + 1, (Piece(text),))


def _changed(old_lines, new_lines, old_range, new_range) -> list[Line]:
    if len(old_range) == len(new_range):  # line for line: say which words
        pairs = [_words(old_lines[i], new_lines[j]) for i, j in zip(old_range, new_range, strict=True)]
        return [Line("removed", i + 1, None, left) for i, (left, _) in zip(old_range, pairs, strict=True)] + [
            Line("added", None, j + 1, right) for j, (_, right) in zip(new_range, pairs, strict=True)
        ]
    return [_line("removed", old_lines[i], i, None) for i in old_range] + [
        _line("added", new_lines[j], None, j) for j in new_range
    ]


def _words(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    # Chinese has no spaces: each of its characters counts as a word.
    left, right = (re.findall(r"[A-Za-z0-9_.]+|\s+|.", text) for text in (old, new))
    before, after = [], []
    for operation, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        changed = operation != "equal"
        if i1 < i2:
            before.append(Piece("".join(left[i1:i2]), changed))
        if j1 < j2:
            after.append(Piece("".join(right[j1:j2]), changed))
    return tuple(before), tuple(after)
