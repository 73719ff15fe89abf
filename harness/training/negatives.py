"""Hard negatives: which of the documents that a search finds may stand against a relevant one.

What a search finds and nobody judged is often relevant after all, and a model that is trained to
push it away learns the wrong thing. So a document is taken only if it scores clearly below the
relevant one (positive-aware mining, Moreira et al. 2024), reads like none, and stands at a rank
where few are relevant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags, Rows

Similarities = npt.NDArray[np.floating]

# Which of (pair, document) are not relevant, bool [n], for int32 [n] numbers of pairs and rows.
Irrelevant = Callable[[npt.NDArray[np.intp], Rows], Flags]


@dataclass(frozen=True, eq=False)
class Pool:
    """What the negatives of each pair of query and document are chosen from.

    Attributes:
        documents: int32 [n_pairs, r] rows that the search found for the pair's query, best first;
            -1 where it found fewer.
        scores: [n_pairs, r].
        positive_scores: [n_pairs], of the pair's own document.
        relevant: bool [n_pairs, r], the document is relevant to the query, or reads like one that
            is, or like the query.
        texts: int64 [n_documents], equal for documents that read the same.
    """

    documents: Rows = field(repr=False)
    scores: Similarities = field(repr=False)
    positive_scores: Similarities = field(repr=False)
    relevant: Flags = field(repr=False)
    texts: npt.NDArray[np.int64] = field(repr=False)


class Chosen(NamedTuple):
    """The negatives of each pair.

    Attributes:
        rows: int32 [n_pairs, per_query], hardest first; lists with fewer end in -1.
        found: documents that were looked at, over all pairs.
        dropped: how many of them were not taken, by reason; the first reason counts.
    """

    rows: Rows
    found: int
    dropped: dict[str, int]


def highest_allowed(positive: Similarities, *, ceiling: float, margin: float) -> Similarities:
    """Return the score that a negative may have at most.

    The ceiling is a distance of (1 - ceiling) times the size of the positive's score. For positive
    scores that is the usual share, 0.95 of the positive; below 0, where 0.95 of a score lies above
    it, it still lies below. BM25 scores grow with the number of words of a query, so that only the
    ceiling means the same for every query; a margin is for cosines. A positive that shares no word
    with its query has BM25 0, and no document that BM25 finds is a negative for it.

    >>> highest_allowed(np.array([0.8, -0.2, 0.0]), ceiling=0.95, margin=0.0).round(2).tolist()
    [0.76, -0.21, 0.0]
    """
    below: Similarities = np.minimum(positive - (1 - ceiling) * np.abs(positive), positive - margin)
    return below


def choose_negatives(
    pool: Pool, *, per_query: int, ceiling: float, margin: float, judge: Irrelevant | None = None
) -> Chosen:
    """Choose the negatives of each pair, the best-ranked first.

    Args:
        pool: what there is.
        per_query: how many.
        ceiling: share of the positive's score, see `highest_allowed`.
        margin: distance from it.
        judge: a second opinion, asked for no more documents than are needed.
    """
    real = pool.documents >= 0
    highest = highest_allowed(pool.positive_scores, ceiling=ceiling, margin=0.0)[:, None]
    lowest = highest_allowed(pool.positive_scores, ceiling=1.0, margin=margin)[:, None]
    reasons = {
        "relevant": pool.relevant,
        "ceiling": pool.scores > highest,
        "margin": pool.scores > lowest,
        "duplicate": _repeats(pool.texts[pool.documents]),
    }
    if margin == 0:
        del reasons["margin"]
    open_ = real.copy()
    dropped = {}
    for reason, flags in reasons.items():
        dropped[reason] = int((open_ & flags).sum())
        open_ &= ~flags
    if judge is not None:
        before, asked = int(open_.sum()), np.zeros_like(open_)
        while (wanted := open_ & ~asked & (open_.cumsum(axis=1) <= per_query)).any():
            pairs, places = np.nonzero(wanted)  # only documents that would be taken
            open_[pairs, places] = judge(pairs, pool.documents[pairs, places])
            asked |= wanted
        dropped["filter"] = before - int(open_.sum())
    taken = open_ & (open_.cumsum(axis=1) <= per_query)
    dropped["not needed"] = int(open_.sum() - taken.sum())
    rows = np.full((len(real), per_query), -1, dtype=np.int32)
    pairs, places = np.nonzero(taken)
    rows[pairs, taken.cumsum(axis=1)[taken] - 1] = pool.documents[pairs, places]
    return Chosen(rows, int(real.sum()), dropped)


def fill(rows: Rows, forbidden: Callable[[int], set[int]], *, n_documents: int, seed: int) -> Rows:
    """Fill short lists with documents drawn at random, which is what in-batch negatives are.

    So every pair has as many, and no pair is lost for having a hard document too few.

    Args:
        rows: int32 [n_pairs, per_query], short lists end in -1.
        forbidden: the documents that the pair of a number must not be given.
        n_documents: to draw from.
        seed: of the draws.

    Raises:
        ValueError: a pair forbids so many documents that too few are left.
    """
    filled = rows.copy()
    generator = np.random.Generator(np.random.Philox(key=seed))
    for pair in np.flatnonzero((rows < 0).any(axis=1)).tolist():
        mine = rows[pair][rows[pair] >= 0].tolist()
        taken = forbidden(pair) | set(mine)
        short = rows.shape[1] - len(mine)
        if n_documents - len(taken) < short:
            raise ValueError(f"{n_documents} documents leave too few for pair {pair}")
        drawn: list[int] = []
        while len(drawn) < short:
            row = int(generator.integers(n_documents))
            if row not in taken:
                drawn.append(row)
                taken.add(row)
        filled[pair] = mine + drawn
    return filled


def _repeats(texts: npt.NDArray[np.int64]) -> Flags:
    """Tell which entries of each row stand earlier in the row too."""
    order = np.argsort(texts, axis=1, kind="stable")
    ordered = np.take_along_axis(texts, order, axis=1)
    again = np.zeros(texts.shape, dtype=bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    repeats = np.empty_like(again)
    np.put_along_axis(repeats, order, again, axis=1)
    return repeats
