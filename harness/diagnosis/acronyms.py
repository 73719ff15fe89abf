"""Acronyms: the long forms that texts define in brackets (Schwartz & Hearst 2003)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.collection.texts import normalise
from harness.diagnosis.text import ACRONYMS, COMPOUNDS, DEFINED_ACRONYMS

_REACH = 120  # characters before a bracket that are looked at
_LONGEST = 8  # words of a long form in a query


class Form(NamedTuple):
    """An acronym and its long form, in lower case."""

    short: str
    long: str


class Acronyms(NamedTuple):
    """What the texts of a collection define.

    Attributes:
        by_short: the long form that is defined most often for each acronym.
        by_long: the acronym that is defined most often for each long form.
    """

    by_short: Mapping[str, str]
    by_long: Mapping[str, str]

    def abbreviated(self, text: str) -> Form | None:
        """Return the first known acronym of a text."""
        found = (short for short in ACRONYMS.findall(text) if short in self.by_short)
        return next((Form(short, self.by_short[short]) for short in found), None)

    def written_out(self, text: str) -> Form | None:
        """Return the longest known long form in a text."""
        words = COMPOUNDS.findall(normalise(text))
        for length in range(min(_LONGEST, len(words)), 1, -1):
            for start in range(len(words) - length + 1):
                long = " ".join(words[start : start + length])
                if long in self.by_long:
                    return Form(self.by_long[long], long)
        return None


def read_acronyms(texts: Sequence[str]) -> Acronyms:
    """Return the acronyms that texts define.

    >>> read_acronyms(["Low density lipoprotein (LDL) is bad.", "See (NASA)."]).by_short
    {'LDL': 'low density lipoprotein'}
    """
    found: Counter[Form] = Counter()
    for text in texts:
        for match in DEFINED_ACRONYMS.finditer(text):
            long = _long_form(match[1], text[max(0, match.start() - _REACH) : match.start()])
            if long:
                found[Form(match[1], normalise(long))] += 1
    by_short: dict[str, str] = {}
    by_long: dict[str, str] = {}
    for form, _ in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        by_short.setdefault(form.short, form.long)
        by_long.setdefault(form.long, form.short)
    return Acronyms(by_short, by_long)


def _long_form(short: str, before: str) -> str | None:
    """Return the words just before a bracket that spell an acronym, or None.

    The letters are matched from the right; the first must begin a word. The long form has at most
    min(n + 5, 2 n) words for n letters, and more than one.
    """
    words = list(COMPOUNDS.finditer(before))[-min(len(short) + 5, 2 * len(short)) :]
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
    long = text[place:]
    return long if " " in long else None
