"""Text: what a diagnosis takes for words, numbers, negations and acronyms of a text.

Several of a kind differ on purpose, each with its reason. What training takes for the same question
(`training.wording`, `training.leaks`) is stricter about spelling and scripts, and has its own.
"""

from __future__ import annotations

import re

# As bm25s splits texts: what shares a word here shares one there.
INDEXED_WORDS = re.compile(r"(?u)\b\w\w+\b")
# Of labels and predicates, which people read: one letter is a word too, "_" is none, and "don't"
# stays whole.
READ_WORDS = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
# Of a long form, which an acronym abbreviates with its hyphens: "low-density lipoprotein".
COMPOUNDS = re.compile(r"\w[\w'-]*")

DIGITS = re.compile(r"\d")
# Anything with a digit: a number, a date, a version, a part number.
NUMBERS = re.compile(r"(?<![\w.])\w*\d[\w.,:/-]*(?<![.,:/-])")

NEGATIONS = re.compile(
    r"\b(?:not|no|without|except|excluding|never|non-|other than)\b(?!\s+(?:only|longer|matter))"
    r"|\b\w+n['\u2019]t\b",
    re.IGNORECASE,
)

_SHORT = r"[A-Z][A-Z0-9]{1,6}"
ACRONYMS = re.compile(rf"\b{_SHORT}\b")
DEFINED_ACRONYMS = re.compile(rf"\(({_SHORT})s?\)")
