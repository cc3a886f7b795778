"""How text becomes the terms that BM25 counts: words, and pairs of characters where a script has no spaces."""

import re
import unicodedata
from dataclasses import dataclass

# Scripts in which a run of letters is not one word. Korean has spaces, but its endings stick to the words.
_UNSPACED = (
    r"\u0e00-\u0eff"  # Thai, Lao
    r"\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    r"\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    r"\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # 々〆〇, kana
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
)
_RUNS = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|(?P<word>[^\W_{_UNSPACED}]+)")
_LONGEST = 64  # a longer "word" is a hash or base64: nobody types more of it than this


@dataclass(frozen=True)
class Term:
    """One thing to look for; with `begins`, any stored term that begins with it counts."""

    text: str
    begins: bool = False


def stored_terms(text: str) -> list[str]:
    """The terms under which a document is found: each word, each pair of neighbours, and the last of each run.

    So every character of an unspaced run begins exactly one term, and a single one can be looked for by prefix.
    """
    terms = []
    for run, unspaced in _runs(text):
        terms += [run[i : i + 2] for i in range(len(run))] if unspaced else [run]
    return terms


def query_terms(text: str) -> list[Term]:
    """What a query asks for, each term once: words, pairs of neighbours, and single characters that stand alone."""
    terms = []
    for run, unspaced in _runs(text):
        if not unspaced:
            terms.append(Term(run))
        elif len(run) == 1:
            terms.append(Term(run, begins=True))
        else:
            terms += [Term(run[i : i + 2]) for i in range(len(run) - 1)]
    return list(dict.fromkeys(terms))


def _runs(text: str):
    # Compatibility forms first: full-width Latin, half-width kana and ligatures are the letters that they look like.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    for match in _RUNS.finditer(folded):
        unspaced = match.lastgroup == "unspaced"
        yield (match[0] if unspaced else match[0][:_LONGEST]), unspaced
