"""Similarity: texts that share nearly all their words, and words that share nearly all letters."""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.collection.texts import normalise
from harness.training.wording import is_plain

# Chosen on real splits (medquad, scifact, python:stdlib, banking77), see `leaks.find_leaks`.
SAME_QUERY = 0.85  # similarity from which two texts are one question
SAME_ANSWER = 0.7  # the same, where a relevant document is shared as well
SAME_DOCUMENT = 0.9  # similarity from which two documents are one

# Chinese and Japanese put no spaces between words; each sign stands for one.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|\w+")
_BLOCK = 100_000  # candidate pairs compared at a time
_ROWS = 100_000  # texts compared at a time
_ROUNDING = 1e-9
_SHORT = 3  # letters of the shortest word that is taken for a slip
_LONG = 9  # letters from which two slips are looked for
_MANY = 30  # words that share letters with one
_ENDINGS = ("e", "n")  # of a word that is another form of one; -s is off already

_Matrix = Any  # scipy.sparse.csr_array, which has no types


class AlikePairs(NamedTuple):
    """Rows of two lists of texts that are alike, and how much; parallel arrays."""

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]


def similar(left: Sequence[str], right: Sequence[str], *, at_least: float) -> AlikePairs:
    """Return every pair of texts whose weighted Jaccard similarity of words is high enough.

    Args:
        left: texts.
        right: other texts.
        at_least: similarity, above 0 and at most 1.

    >>> near = similar(["is gout inherited?"], ["Is Gout inherited"], at_least=0.9)
    >>> near.similarity.tolist()
    [1.0]
    """
    words = [_WORD.findall(normalise(text)) for text in left]
    others = words if right is left else [_WORD.findall(normalise(text)) for text in right]
    return similar_words(words, others, at_least=at_least)


def similar_words(
    left: Sequence[Sequence[str]], right: Sequence[Sequence[str]], *, at_least: float
) -> AlikePairs:
    """Return every pair of lists of words that are similar enough, see `similar`."""
    vocabulary: dict[Hashable, int] = {}
    one = _presence(left, vocabulary)
    other = one if right is left else _presence(right, vocabulary)
    size = len(vocabulary)
    count = np.bincount(one.places, minlength=size) + np.bincount(other.places, minlength=size)
    weights = np.log1p((len(left) + len(right)) / np.maximum(count, 1))
    order = np.argsort(-weights, kind="stable")  # columns from the rarest word to the commonest
    rank = np.empty(size, dtype=np.int32)
    rank[order] = np.arange(size, dtype=np.int32)
    weights = weights[order]
    whole = other.matrix(0, len(right), rank)
    whole_totals = whole @ weights
    wanted = _prefixes(whole, weights, whole_totals, at_least).T
    found = []
    for start in range(0, len(left), _ROWS):
        part = one.matrix(start, min(start + _ROWS, len(left)), rank)
        totals = part @ weights
        candidates = (_prefixes(part, weights, totals, at_least) @ wanted).tocoo()
        rows, columns = candidates.row.astype(np.int64), candidates.col.astype(np.int64)
        shared = np.concatenate(
            [
                part[rows[at : at + _BLOCK]].multiply(whole[columns[at : at + _BLOCK]]) @ weights
                for at in range(0, len(rows), _BLOCK)
            ]
            or [np.zeros(0)]
        )
        similarity = shared / (totals[rows] + whole_totals[columns] - shared)
        near = similarity >= at_least - _ROUNDING
        found.append((rows[near] + start, columns[near], similarity[near].clip(max=1.0)))
    if not found:
        return AlikePairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return AlikePairs(*map(np.concatenate, zip(*found, strict=True)))


class _Presence(NamedTuple):
    """Which text has which word: the word's places, text after text, and where each text starts."""

    places: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]

    def matrix(self, first: int, last: int, rank: npt.NDArray[np.int32]) -> _Matrix:
        """Return some texts as rows, float64 0 or 1, with the words in the order of their rank."""
        places = rank[self.places[self.starts[first] : self.starts[last]]]
        starts = self.starts[first : last + 1] - self.starts[first]
        matrix = _rows_matrix((np.ones(len(places)), places, starts), (last - first, len(rank)))
        matrix.sort_indices()
        return matrix


def _presence(texts: Sequence[Sequence[str]], vocabulary: dict[Hashable, int]) -> _Presence:
    """Return which text has which word, and add new words to the vocabulary."""
    starts, places = array("q", [0]), array("i")
    for text in texts:
        places.extend(vocabulary.setdefault(word, len(vocabulary)) for word in dict.fromkeys(text))
        starts.append(len(places))
    return _Presence(np.array(places, dtype=np.int32), np.array(starts, dtype=np.int64))


def _rows_matrix(parts: tuple[Any, Any, Any], shape: tuple[int, int]) -> _Matrix:
    """Return a sparse matrix from its values, their columns and where each row starts."""
    from scipy.sparse import csr_array

    return csr_array(parts, shape=shape)


def _prefixes(
    matrix: _Matrix, weights: npt.NDArray[np.float64], totals: npt.NDArray[np.float64], limit: float
) -> _Matrix:
    """Return the rarest words of each text, of which a text that is similar enough has one.

    What follows the prefix weighs less than `limit` of the text: no other text can be similar by it
    alone.
    """
    owner = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    each = weights[matrix.indices]
    running = np.cumsum(each)
    before = running - each
    offset = np.concatenate([[0.0], running])[matrix.indptr[:-1]][owner]
    # The word is in the prefix while what is left from it on could still be enough.
    kept = totals[owner] - (before - offset) >= limit * totals[owner] - _ROUNDING
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=matrix.shape[0]))])
    return _rows_matrix((np.ones(kept.sum()), matrix.indices[kept], starts), shape=matrix.shape)


class Spelling:
    """Finds the words of a list that a word may be a slip of.

    By the words that are left when letters are taken out (Garbe's SymSpell): two words that are one
    edit apart have one in common, so that the list is never gone through.

    Args:
        words: that may be meant.
        known: words that somebody writes on purpose: two of these are two words.
    """

    def __init__(self, words: Iterable[str], known: Collection[str]) -> None:
        self._known = known
        self._words = {word for word in words if word.isalpha() and len(word) > 1}
        self._found: dict[str, list[str]] = {}
        self._left: dict[str, list[str]] = {}
        for word in sorted(self._words):
            for part in _without(word, _edits(word)):
                self._left.setdefault(part, []).append(word)

    def meant(self, word: str) -> list[str]:
        """Return the words that may be meant, the nearest first; none for a word of the list.

        Where many words are a letter away, as among codes, only a function word may be meant.

        >>> Spelling(["leukemia", "anemia"], known=["leukemia", "anemia"]).meant("luekemia")
        ['leukemia']
        >>> Spelling(["panther"], known=["panther"]).meant("pantherss")
        ['panther']
        """
        if word not in self._found:
            is_sure = word in self._words or len(word) < _SHORT or is_plain(word)
            self._found[word] = [] if is_sure or not word.isalpha() else self._near(word)
        return self._found[word]

    def _near(self, word: str) -> list[str]:
        # Most words are known, and then only a word that nobody writes may be meant: one slip.
        edits = 1 if word in self._known else _edits(word)
        near = {
            other
            for part in _without(word, edits)
            for other in self._left.get(part, ())
            if self._may_be(word, other)
        }
        if len(near) > _MANY:
            near = {other for other in near if is_plain(other)}
        found = [(distance(word, other), other) for other in near]
        is_known = word in self._known
        limit = {other: 1 if is_known else max(edits, _edits(other)) for other in near}
        return [other for far, other in sorted(found) if far <= limit[other]]

    def _may_be(self, word: str, other: str) -> bool:
        if max(len(word), len(other)) <= _SHORT and not is_plain(other):
            return False  # "NBC" is no slip of "NBA"
        if word not in self._known or (other not in self._known and len(other) >= _LONG // 2):
            return True
        short, long = sorted((word, other), key=len)
        return len(short) > 4 and long.startswith(short) and long[len(short) :] in _ENDINGS


def distance(one: str, other: str) -> int:
    """Return how many letters are added, left out, exchanged or swapped with the next.

    >>> distance("waht", "what"), distance("gout", "gouts"), distance("gout", "goat")
    (1, 1, 1)
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        older, before, row = before, row, [i]
        for j, wanted in enumerate(other, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _edits(word: str) -> int:
    return 1 if len(word) < _LONG else 2


def _without(word: str, edits: int) -> set[str]:
    """Return the word and what is left of it without one letter, or up to two."""
    found = {word}
    for _ in range(edits):
        found |= {part[:i] + part[i + 1 :] for part in found for i in range(len(part))}
    return found
