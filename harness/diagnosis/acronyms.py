"""Acronyms: the long forms that texts define in brackets (Schwartz & Hearst 2003)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from harness.collection.texts import normalise

_DEFINED = re.compile(r"\(([A-Z][A-Z0-9]{1,6})s?\)")
_BEFORE = re.compile(r"\w[\w'-]*")
_REACH = 120  # characters before a bracket that are looked at


def read_acronyms(texts: Sequence[str]) -> dict[str, str]:
    """Return the long form that texts define most often for each acronym.

    >>> read_acronyms(["Low density lipoprotein (LDL) is bad.", "See (NASA)."])
    {'LDL': 'low density lipoprotein'}
    """
    found: dict[str, Counter[str]] = {}
    for text in texts:
        for match in _DEFINED.finditer(text):
            long = _long_form(match[1], text[max(0, match.start() - _REACH) : match.start()])
            if long:
                found.setdefault(match[1], Counter())[normalise(long)] += 1
    return {
        short: min(forms.items(), key=lambda form: (-form[1], form[0]))[0]
        for short, forms in found.items()
    }


def _long_form(short: str, before: str) -> str | None:
    """Return the words just before a bracket that spell an acronym, or None.

    Schwartz and Hearst match the letters from the right; the first must begin a word. The long
    form has at most min(n + 5, 2 n) words for n letters.
    """
    words = list(_BEFORE.finditer(before))[-min(len(short) + 5, 2 * len(short)) :]
    if not words:
        return None
    text = before[words[0].start() :].rstrip()
    place = len(text)
    for number, letter in reversed(list(enumerate(short.lower()))):
        place -= 1
        while place >= 0 and (
            text[place].lower() != letter
            or (number == 0 and place > 0 and text[place - 1].isalnum())
        ):
            place -= 1
        if place < 0:
            return None
    return text[place:]
