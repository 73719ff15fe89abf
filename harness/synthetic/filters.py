"""Filters: which questions are no use for training, judged by their words alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.collection.texts import normalise
from harness.training.leaks import SAME_QUERY, similar

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_RUN = 4  # words
_SHORT = 5  # words; so few are what one types, also where they stand in the passage
_COPIED = 0.75  # share of a question's runs of words that the passage holds
_POINTS_AT_TEXT = re.compile(
    r"\b(?:this|the|above|given|provided)\s+(?:\w+\s+)?"
    r"(?:passage|text|excerpt|paragraph|article|document|snippet|abstract|author|authors)\b"
)

COPY = "copies the passage"
POINTS = "speaks of the passage itself"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near duplicate"


def reasons_to_drop(passages: Sequence[str], questions: Sequence[str]) -> list[str | None]:
    """Return for every question why it is dropped, or None if it is kept.

    A duplicate is the text of an earlier question apart from case and punctuation, a near duplicate
    nearly its words, whatever the passage: one question with two passages would teach each as the
    other's negative.

    Args:
        passages: of each question.
        questions: parallel.

    >>> passage = "Aspirin thins the blood and lowers a fever."
    >>> asked = ["Does aspirin help against fever?", "does aspirin help against fever"]
    >>> reasons_to_drop([passage] * 3, [*asked, "Aspirin thins the blood and lowers what?"])
    [None, 'duplicate', 'copies the passage']
    """
    found: list[str | None] = []
    texts: set[str] = set()
    alike = _alike(questions)
    for row, (passage, question) in enumerate(zip(passages, questions, strict=True)):
        plain = " ".join(_words(question))
        if plain in texts:
            found.append(DUPLICATE)
        elif any(found[other] is None for other in alike.get(row, ())):
            found.append(NEAR_DUPLICATE)
        elif _POINTS_AT_TEXT.search(normalise(question)):
            found.append(POINTS)
        elif _is_copy(question, passage):
            found.append(COPY)
        else:
            found.append(None)
            texts.add(plain)
    return found


def _alike(questions: Sequence[str]) -> dict[int, list[int]]:
    """Return the earlier questions that are one with a question, by its row."""
    near = similar(questions, questions, at_least=SAME_QUERY)
    alike: dict[int, list[int]] = {}
    earlier = near.left < near.right
    for left, right in zip(near.left[earlier].tolist(), near.right[earlier].tolist(), strict=True):
        alike.setdefault(right, []).append(left)
    return alike


def _words(text: str) -> list[str]:
    return _WORD.findall(normalise(text))


def _is_copy(question: str, passage: str) -> bool:
    """Tell whether a question is its passage, or nearly all its runs of words stand there."""
    words, source = _words(question), _words(passage)
    runs = set(_runs(words))
    copied = runs & set(_runs(source))
    return words == source or (len(words) > _SHORT and len(copied) >= _COPIED * len(runs))


def _runs(words: list[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1))
