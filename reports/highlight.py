"""Highlight: the words of a query in a document, as markup in which every text is escaped."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from markupsafe import Markup, escape

_WORD = re.compile(r"\w+", re.UNICODE)
_SNIPPET = 320
_CUT = "\u2026"
# Words that are in every question; a mark on them would hide the others.
_COMMON = frozenset(
    _WORD.findall(
        "a about an and are as at be by can do does for from has have how i in is it its of on or "
        "that the their there they this to was were what when where which who why will with you "
        "your"
    )
)


def words(text: str) -> list[str]:
    """Return the words of a text without those that are in every question.

    >>> words("What is the Dose?")
    ['dose']
    """
    return [word for word in _WORD.findall(text.casefold()) if word not in _COMMON]


@lru_cache(maxsize=512)
def terms(query: str) -> frozenset[str]:
    """Return the stems of a query's words, without those that are in every question.

    >>> sorted(terms("What are the symptoms of Glaucoma?"))
    ['glaucoma', 'symptom']
    """
    return frozenset(_stems(words(query) or _WORD.findall(query.casefold())))


def marked(text: str, stems: frozenset[str]) -> Markup:
    """Return text with every word marked whose stem is among some.

    >>> str(marked("<b> Symptoms", frozenset({"symptom"})))
    '&lt;b&gt; <mark>Symptoms</mark>'
    """
    if not stems:
        return escape(text)
    found = list(_WORD.finditer(text))
    parts, place = [], 0
    for match, stem in zip(found, _stems([m.group().casefold() for m in found]), strict=True):
        if stem in stems:
            parts.append(escape(text[place : match.start()]))
            parts.append(Markup("<mark>{}</mark>").format(match.group()))
            place = match.end()
    parts.append(escape(text[place:]))
    return Markup("").join(parts)


def snippet(text: str, stems: frozenset[str], *, length: int = _SNIPPET) -> str:
    r"""Return the part of a text that has most of the words, with signs where it was cut.

    >>> snippet("one two three four five six seven", frozenset({"five"}), length=16)
    '\u2026five six seven'
    """
    if len(text) <= length:
        return text
    found = list(_WORD.finditer(text))
    stemmed = _stems([match.group().casefold() for match in found])
    places = [match.start() for match, stem in zip(found, stemmed, strict=True) if stem in stems]
    start = max(
        places, key=lambda at: sum(at <= other < at + length for other in places), default=0
    )
    start = max(0, min(start - length // 4, len(text) - length))
    if start:
        start = text.find(" ", start, start + length // 4) + 1 or start
    end = start + length
    if end < len(text):
        cut = text.rfind(" ", start + length // 2, end)
        end = cut if cut > 0 else end
    before, after = _CUT if start else "", _CUT if end < len(text) else ""
    return f"{before}{text[start:end].strip()}{after}"


def _stems(found: list[str]) -> list[str]:
    stems: list[str] = _stemmer().stemWords(found)
    return stems


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")
