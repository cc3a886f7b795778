"""Tables for a terminal, whose columns stay straight under Chinese names: those letters are two cells wide."""

import unicodedata


def lines(head: list[str], rows: list[list]) -> list[str]:
    """The table's lines: the first column to the left, numbers with their thousands apart to the right."""
    texts = [head, *([cell if isinstance(cell, str) else f"{cell:,}" for cell in row] for row in rows)]
    widths = [max(map(cells, column)) for column in zip(*texts, strict=True)]
    return ["  ".join(_padded(*each) for each in zip(row, widths, range(len(row)), strict=True)) for row in texts]


def cells(text: str) -> int:
    """How wide a terminal writes it."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )


def _padded(text: str, width: int, column: int) -> str:
    blanks = " " * (width - cells(text))
    return blanks + text if column else text + blanks
