"""Filters: which questions are no use for training, judged by their words alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.collection.texts import normalise

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_RUN = 4  # words
_SHORT = 5  # words; so few are what one types, also where they stand in the passage
_COPIED = 0.75  # share of a question's runs of words that the passage holds
_ALIKE = 0.8  # Jaccard similarity of the words of two questions to one passage
_POINTS_AT_TEXT = re.compile(
    r"\b(?:this|the|above|given|provided)\s+(?:\w+\s+)?"
    r"(?:passage|text|excerpt|paragraph|article|document|snippet|abstract|author|authors)\b"
)

COPY = "copies the passage"
POINTS = "speaks of the passage itself"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near duplicate"


def judge(passages: Sequence[str], questions: Sequence[str]) -> list[str | None]:
    """Return for every question why it is dropped, or None if it is kept.

    A duplicate is the normalised text of an earlier question, of any passage: one question with
    two passages would teach each as the other's negative. A near duplicate has the words of an
    earlier one, apart from stop words, endings and order, or nearly those of one that is kept for
    the same passage.

    Args:
        passages: of each question; those of one passage stand together.
        questions: parallel.

    >>> passage = "Aspirin thins the blood and lowers a fever."
    >>> judge([passage] * 3, ["Does aspirin help against fever?", "does aspirin help against "
    ...     "fever", "Aspirin thins the blood and lowers what?"])
    [None, 'duplicate', 'copies the passage']
    """
    found: list[str | None] = []
    texts: set[str] = set()
    contents: set[frozenset[str]] = set()
    siblings: list[frozenset[str]] = []
    before: str | None = None
    stems = list(_stems(questions))
    for passage, question, content in zip(passages, questions, stems, strict=True):
        if passage != before:
            before, siblings = passage, []
        plain = " ".join(_words(question))
        if plain in texts:
            reason: str | None = DUPLICATE
        elif content in contents or any(_jaccard(content, kept) >= _ALIKE for kept in siblings):
            reason = NEAR_DUPLICATE
        elif _POINTS_AT_TEXT.search(normalise(question)):
            reason = POINTS
        elif _is_copy(question, passage):
            reason = COPY
        else:
            reason = None
            texts.add(plain)
            siblings.append(content)
            if content:
                contents.add(content)
        found.append(reason)
    return found


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


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0


def _stems(texts: Sequence[str]) -> Iterator[frozenset[str]]:
    """Yield the stems of the words of each text, without English stop words."""
    import Stemmer
    from bm25s.stopwords import STOPWORDS_EN

    stemmer = Stemmer.Stemmer("english")
    for text in texts:
        words = [word for word in _words(text) if word not in STOPWORDS_EN]
        yield frozenset(stemmer.stemWords(words))
