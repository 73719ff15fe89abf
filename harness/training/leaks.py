"""Leaks: training examples that tell a model the answer to a query that it is scored on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.collection import Collection
from harness.collection.texts import normalise

# Chosen on real splits (medquad, scifact, python:stdlib, banking77), see `find_leaks`.
SAME_QUERY = 0.85  # similarity from which two texts are one question
SAME_ANSWER = 0.7  # the same, where a relevant document is shared as well
SAME_DOCUMENT = 0.9  # similarity from which two documents are one

# Chinese and Japanese put no spaces between words; each sign stands for one.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|\w+")

How = Literal["the same text", "the same words", "almost the same words", "the same answer"]
_Matrix = Any  # scipy.sparse.csr_array, which has no types
_BLOCK = 100_000  # candidate pairs compared at a time
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Leak:
    """One training example and the scored query that it gives away.

    Attributes:
        row: of the training example.
        text: of the example that matches the query: its own query, or its document.
        query: row of the query in the scored collection.
        how: what they share: "the same text" as `normalise` writes it; "the same words" in any
            order; "almost the same words"; "the same answer" where they are less alike and a
            relevant document is the same.
        similarity: of the two texts, from 0 to 1.
    """

    row: int
    text: str
    query: int
    how: How
    similarity: float


class _Pairs(NamedTuple):
    """Rows of two lists of texts that are alike, and how much; parallel arrays."""

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]


def find_leaks(
    queries: Sequence[str], documents: Sequence[str], scored: Collection
) -> tuple[Leak, ...]:
    """Return the training examples that give away a query of a scored collection.

    Two texts are compared by the weight of the words that both have, as a share of the weight of
    all words of either (weighted Jaccard). A word weighs log(1 + texts / texts with it), so that
    "What are the treatments for" counts for little and the name of the disease for much: templates
    that differ in the one word that matters are different questions. Two texts at or above
    `SAME_QUERY` are one question. From `SAME_ANSWER` on they are one if a relevant document is the
    same too, such as a claim and its negation about one abstract.

    Exact: every pair above the limits is found, by prefix filtering (Bayardo et al. 2007): such
    texts share one of their rarest words. MinHash would find most of them and can not weigh words.
    A misspelt word is another word: a short question whose one rare word has a typo is not found.

    Measured: of 1,552 test questions of MedQuAD against 11,254 to train on, whose diseases differ,
    15 are found, 1 of them wrongly; without weights 77 would be.

    Args:
        queries: of the training examples.
        documents: the relevant document of each, parallel.
        scored: the collection.

    Returns:
        By training row; of each row the most similar query.
    """
    if not queries or not scored.queries:
        return ()
    answers = _answers(scored)
    best: dict[int, Leak] = {}
    for side in (queries, documents):
        rows = _rows_of(side)
        distinct = list(rows)
        near = similar(distinct, scored.queries, at_least=SAME_ANSWER)
        for text, query, similarity in zip(*map(np.ndarray.tolist, near), strict=True):
            for row in rows[distinct[text]]:
                found = _leak(
                    row, distinct[text], query, similarity, scored, documents[row], answers
                )
                if found and (row not in best or found.similarity > best[row].similarity):
                    best[row] = found
    return tuple(best[row] for row in sorted(best))


def similar(left: Sequence[str], right: Sequence[str], *, at_least: float) -> _Pairs:
    """Return every pair of texts whose weighted Jaccard similarity of words is high enough.

    Args:
        left: texts.
        right: other texts.
        at_least: similarity, above 0 and at most 1.

    >>> near = similar(["is gout inherited?"], ["Is Gout inherited"], at_least=0.9)
    >>> near.similarity.tolist()
    [1.0]
    """
    vocabulary: dict[str, int] = {}
    one = _presence(left, vocabulary)
    other = one.copy() if right is left else _presence(right, vocabulary)
    one.resize((len(left), len(vocabulary)))
    count = np.asarray(one.sum(axis=0) + other.sum(axis=0)).ravel()
    weights = np.log1p((len(left) + len(right)) / np.maximum(count, 1))
    order = np.argsort(-weights, kind="stable")  # columns from the rarest word to the commonest
    one, other, weights = one[:, order].tocsr(), other[:, order].tocsr(), weights[order]
    totals = one @ weights, other @ weights
    candidates = (
        _prefixes(one, weights, totals[0], at_least)
        @ _prefixes(other, weights, totals[1], at_least).T
    ).tocoo()
    rows, columns = candidates.row.astype(np.int64), candidates.col.astype(np.int64)
    shared = np.concatenate(
        [
            one[rows[start : start + _BLOCK]].multiply(other[columns[start : start + _BLOCK]])
            @ weights
            for start in range(0, len(rows), _BLOCK)
        ]
        or [np.zeros(0)]
    )
    similarity = shared / (totals[0][rows] + totals[1][columns] - shared)
    near = similarity >= at_least - _ROUNDING
    return _Pairs(rows[near], columns[near], similarity[near].clip(max=1.0))


def _presence(texts: Sequence[str], vocabulary: dict[str, int]) -> _Matrix:
    """Return which text has which word, float64 0 or 1, and add new words to the vocabulary."""
    starts, places = [0], []
    for text in texts:
        words = dict.fromkeys(_WORD.findall(normalise(text)))
        places += [vocabulary.setdefault(word, len(vocabulary)) for word in words]
        starts.append(len(places))
    shape = (len(texts), len(vocabulary))
    return _rows_matrix(
        (np.ones(len(places)), np.array(places, dtype=np.int64), starts), shape=shape
    )


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
    matrix.sort_indices()
    owner = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    each = weights[matrix.indices]
    running = np.cumsum(each)
    before = running - each
    offset = np.concatenate([[0.0], running])[matrix.indptr[:-1]][owner]
    # The word is in the prefix while what is left from it on could still be enough.
    kept = totals[owner] - (before - offset) >= limit * totals[owner] - _ROUNDING
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=matrix.shape[0]))])
    return _rows_matrix((np.ones(kept.sum()), matrix.indices[kept], starts), shape=matrix.shape)


def _leak(
    row: int,
    text: str,
    query: int,
    similarity: float,
    scored: Collection,
    document: str,
    answers: Sequence[Sequence[str]],
) -> Leak | None:
    """Return the leak between a training row and a query that are alike, or None."""
    if similarity < SAME_QUERY:
        alike = any(_same_document(document, answer) for answer in answers[query])
        return Leak(row, text, query, "the same answer", similarity) if alike else None
    how: How = "almost the same words"
    if normalise(text) == normalise(scored.queries[query]):
        how = "the same text"
    elif similarity > 1 - _ROUNDING:
        how = "the same words"
    return Leak(row, text, query, how, similarity)


def _same_document(one: str, other: str) -> bool:
    if normalise(one) == normalise(other):
        return True
    return len(similar([one], [other], at_least=SAME_DOCUMENT).left) > 0


def _answers(scored: Collection) -> list[list[str]]:
    """Return the texts of each query's relevant documents."""
    found: list[list[str]] = [[] for _ in scored.queries]
    judged = scored.judgements
    chosen = (judged.grades >= 1) & (judged.documents >= 0)
    for query, document in zip(judged.queries[chosen], judged.documents[chosen], strict=True):
        found[query].append(scored.documents[document])
    return found


def _rows_of(texts: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each distinct text."""
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        rows.setdefault(text, []).append(row)
    return rows
