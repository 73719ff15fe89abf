"""Holes: what unjudged documents may hide, and how often judgements look wrong.

Holes alone say little: where each query has one known relevant document, almost nothing of any list
is judged. What makes a difference suspect is that the list which leads was judged and the other
was not, as where the judgements are a pool of the system in use, or clicks on its results.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Values
from harness.collection import NO_GRADE, Collection, Judgements
from harness.diagnosis.bounds import Unknown
from harness.diagnosis.files import UNJUDGED_COLUMNS
from harness.hashing import digest
from harness.runs.metrics import Metric
from harness.runs.run import Run
from harness.statistics.distributions import largest_share

States = npt.NDArray[np.int8]  # of a retrieved document: one of the four that follow
_EMPTY, _UNJUDGED, _IRRELEVANT, _RELEVANT = -2, -1, 0, 1

ASYMMETRY = 0.1  # by which the share of judged documents must differ, of those not relevant
TIMES = 2  # as often as judged ones, unjudged documents may be relevant
_DEEP = 100  # ranks in which the end of a pool is looked for
_SHALLOWEST, _SURE = 5, 8  # pools: shallower ones look like easy queries; see `_pool_depth`
_FEWEST = 10  # judged documents at the last ranks of a pool
_BEGUN = 0.02  # share of a list's irrelevant documents that are judged, where someone began to
_FEWEST_KNOWN = 50  # judged documents of a list alone, from which their own rate is known
_DRAWS = 4
QUEUE = 300  # documents that are asked about at a time, for each collection


class Pair(NamedTuple):
    """An unjudged document among the first of a list, by rows, with its rank from 1."""

    query: int
    document: int
    rank: int


@dataclass(frozen=True)
class Holes:
    """What unjudged documents may hide about one option on one collection.

    Attributes:
        judged: shares of the first results that are judged, of the baseline and of the option.
        shift: of the option's difference, if unjudged documents are relevant as often as is
            plausible; 0 where the two lists are judged alike, or the one behind better.
        queue: the unjudged documents of the list that is behind; empty where nothing is suspect.
        testable: whether a document is judged not relevant, or the judgements are a pool of a list;
            else both lists look alike, whoever was judged.
    """

    judged: tuple[float, float]
    shift: float = 0.0
    queue: Sequence[Pair] = field(default=(), repr=False)
    testable: bool = True


@dataclass(frozen=True, eq=False)
class _List:
    """A ranking with the state of every document, int8 [n_queries, ranks]."""

    name: str
    documents: Rows
    states: States

    def fill(self, depth: int) -> _List:
        """Return the list with its first documents taken as judged: those of a pool are."""
        states = self.states.copy()
        first = states[:, :depth]
        first[first == _UNJUDGED] = _IRRELEVANT
        return _List(self.name, self.documents, states)


def find_holes(
    runs: Mapping[str, Run], collection: Collection, metric: Metric, *, baseline: str, ahead: str
) -> Holes:
    """Return what unjudged documents may hide about the difference of two runs.

    The list that is ahead is judged and the other is not, where of the first documents that are
    not relevant a larger share of it has a judgement; or where the judged documents end at one
    rank of it, as a pool of its first results does that kept the relevant ones alone. Then the
    other's unjudged documents are drawn as relevant, up to twice as often as the judged ones of the
    list ahead at the same rank; where 50 of its own that the list ahead does not return have been
    judged, at most as often as these (upper 95% bound).

    Args:
        runs: of the baseline and one option, by name.
        collection: whose judgements.
        metric: that decides.
        baseline: name.
        ahead: name of the one that leads over all collections.
    """
    unknown = Unknown(runs, collection, metric)
    k = unknown.depth
    [option] = [name for name in runs if name != baseline]
    behind = option if ahead == baseline else baseline
    lists = {name: _states(name, run, collection) for name, run in runs.items()}
    nothing: Rows = np.full((len(collection.queries), 0), -1, dtype=np.int32)
    judged = (_judged_share(lists[baseline], k), _judged_share(lists[option], k))
    first, second = lists[ahead], lists[behind]
    begun = _BEGUN < _known_share(second, k) < 1 - ASYMMETRY
    depth = 0
    if begun or not _pool_depth(second, first, collection, k):
        depth = _pool_depth(first, second, collection, k)
        first = first.fill(depth)
    if _known_share(first, k) - _known_share(second, k) < ASYMMETRY:
        has_irrelevant = bool((collection.judgements.grades == 0).any())
        return Holes(judged, testable=has_irrelevant or depth > 0)
    open_ones = _unjudged(second, first, k)
    rates = _rates(first, k)
    chance = np.minimum(1, rates * _times(second, first, rates))
    rng = np.random.default_rng(int(digest("holes", collection.key, ahead, behind), 16))
    drawn = []
    for _ in range(_DRAWS):
        taken = (open_ones >= 0) & (rng.random(open_ones.shape) < chance[: open_ones.shape[1]])
        relevant: Rows = np.where(taken, open_ones, -1)
        drawn.append(_difference(unknown, relevant, option, baseline))
    shift = float(np.mean(drawn)) - _difference(unknown, nothing, option, baseline)
    queries, ranks = np.nonzero(open_ones >= 0)
    queue = [
        Pair(int(query), int(open_ones[query, rank]), int(rank) + 1)
        for query, rank in zip(queries, ranks, strict=True)
    ]
    return Holes(judged, shift, queue)


def to_judge(queues: Sequence[Sequence[Pair]], *, seed: int) -> list[Pair]:
    """Return at most `QUEUE` of the documents of several queues, drawn at random, best ranks first.

    At random, because the rate among them is then that of the others.
    """
    best: dict[tuple[int, int], int] = {}
    for pair in (pair for queue in queues for pair in queue):
        key = (pair.query, pair.document)
        best[key] = min(pair.rank, best.get(key, pair.rank))
    pairs = [Pair(*key, rank) for key, rank in sorted(best.items())]
    drawn = np.random.default_rng(seed).permutation(len(pairs))[:QUEUE]
    return sorted((pairs[place] for place in drawn), key=lambda pair: (pair.rank, pair))


def queue_as_csv(pairs: Sequence[Pair], collection: Collection, *, names: Sequence[str]) -> str:
    """Return documents to judge as CSV with an empty column for the grade.

    Filled in, it is read back by ``judgements`` of the collection.
    """
    why = f"Among the first results of {' or '.join(names)}, or of the baseline."
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(UNJUDGED_COLUMNS)
    for query, document, rank in pairs:
        ids = (collection.query_ids[query], collection.document_ids[document])
        texts = (collection.queries[query], collection.documents[document])
        writer.writerow((*ids, "", *texts, f"Rank {rank}. {why}"))
    return sink.getvalue()


def _states(name: str, run: Run, collection: Collection) -> _List:
    documents = np.array(run.documents[:, :_DEEP])
    grades = collection.judgements.grades_of(documents)
    states = np.select(
        [documents < 0, grades == NO_GRADE, grades >= 1],
        [_EMPTY, _UNJUDGED, _RELEVANT],
        _IRRELEVANT,
    ).astype(np.int8)
    return _List(name, documents, states)


def _judged_share(each: _List, k: int) -> float:
    first = each.states[:, :k]
    returned = np.count_nonzero(first != _EMPTY)
    return float(np.count_nonzero(first >= _IRRELEVANT) / returned) if returned else 0.0


def _known_share(each: _List, k: int) -> float:
    """Return the share that is judged of the first documents that are not known to be relevant.

    Relevant ones are left out: the better of two lists has more of them, whoever was judged.
    """
    first = each.states[:, :k]
    judged, unjudged = np.count_nonzero(first == _IRRELEVANT), np.count_nonzero(first == _UNJUDGED)
    return float(judged / (judged + unjudged)) if judged + unjudged else 1.0


def _pool_depth(each: _List, other: _List, collection: Collection, k: int) -> int:
    """Return the rank at which the judged documents of a list end, or 0 where they fade out.

    Of a list that was not judged itself, fewer and fewer documents are relevant the lower they
    stand, and some are not found at all. A pool ends: in its last third there are judged documents,
    and hardly any beyond or elsewhere. At rank 8 or deeper it is enough that there are hardly any
    in as many ranks again, since no list fades so fast there. Documents among the first k of the
    other list are left out: someone may have begun to judge them.
    """
    mine = each.states >= _IRRELEVANT
    at_rank = np.count_nonzero(mine & ~_among(each.documents, other.documents[:, :k]), axis=0)
    total = np.count_nonzero(collection.judgements.documents >= 0)
    total -= np.count_nonzero(other.states[:, :k] >= _IRRELEVANT)
    within = np.cumsum(at_rank)
    deepest = min(len(at_rank), len(collection.documents) // 2)
    for depth in range(_SHALLOWEST, deepest + 1):
        last = at_rank[depth - max(2, depth // 3) : depth]
        beyond = at_rank[depth : 2 * depth]
        ends = total - int(within[depth - 1]) <= 0.02 * last.sum()
        drops = depth >= _SURE and len(beyond) == depth and beyond.mean() <= 0.1 * last.mean()
        if last.sum() >= _FEWEST and (ends or drops):
            return depth
    return 0


def _unjudged(second: _List, first: _List, k: int) -> Rows:
    """Return the unjudged first documents of a list, int32 [n_queries, k]; -1 elsewhere.

    Those that the other list holds as judged, being in its pool, are judged.
    """
    rows = np.where(second.states[:, :k] == _UNJUDGED, second.documents[:, :k], -1)
    pooled = np.where(first.states >= _IRRELEVANT, first.documents, -2)
    found: Rows = np.where(_among(rows, pooled), -1, rows).astype(np.int32)
    return found


def _rates(first: _List, k: int) -> Values:
    """Return how many of the judged documents are relevant at each rank, never rising downwards."""
    states = first.states[:, :k]
    judged = np.count_nonzero(states >= _IRRELEVANT, axis=0)
    relevant = np.count_nonzero(states == _RELEVANT, axis=0)
    share = np.divide(relevant, judged, out=np.zeros(len(judged)), where=judged > 0)
    rates: Values = np.maximum.accumulate(share[::-1])[::-1]
    return np.concatenate([rates, np.full(k - len(rates), rates[-1] if len(rates) else 0.0)])


def _times(second: _List, first: _List, rates: Values) -> float:
    """Return how many times as often as the rates unjudged documents may be relevant."""
    states = second.states[:, : len(rates)]
    k = len(rates)
    elsewhere = ~_among(second.documents[:, :k], first.documents[:, :k])
    judged = elsewhere & (states >= _IRRELEVANT)
    count, relevant = int(judged.sum()), int((judged & (states == _RELEVANT)).sum())
    expected = float(np.broadcast_to(rates[: states.shape[1]], states.shape)[judged].sum())
    if count < _FEWEST_KNOWN or relevant == count or not expected:
        return TIMES
    return min(TIMES, count * largest_share(relevant, count, confidence=0.95) / expected)


def _among(documents: Rows, others: Rows) -> npt.NDArray[np.bool_]:
    """Return which documents of each query are among others of it, bool like `documents`."""
    found = np.zeros(documents.shape, dtype=bool)
    for column in others.T:
        found |= documents == column[:, None]
    return found


def _difference(unknown: Unknown, extra: Rows, option: str, baseline: str) -> float:
    scores = [unknown.with_relevant(name, extra) for name in (option, baseline)]
    return float((scores[0] - scores[1]).mean())


class Contradiction(NamedTuple):
    """How often independent systems agree against the judgements.

    Attributes:
        agreed: queries on which the systems return the same first document.
        contradicted: those of them where no relevant document is near the top of any system.
    """

    agreed: int
    contradicted: int


def contradiction(
    lexical: Sequence[Run], dense: Sequence[Run], judgements: Judgements, *, n_documents: int
) -> Contradiction | None:
    """Count the queries on which two independent systems agree, and those against the judgements.

    Where a lexical and a dense system return the same first document, and both have every document
    that is judged relevant far below, the judgement is more likely wrong than both systems. Among
    the agreed queries the share of contradicted ones is close to the share of wrong judgements:
    on six collections with a fifth of the judgements moved to random documents it was 0.17 to 0.27,
    with two fifths 0.25 to 0.44, and untouched at most 0.10. Two systems of one kind fail alike,
    and their agreement tells less.

    Args:
        lexical: runs that match words.
        dense: runs over the same queries that compare vectors.
        judgements: of these queries.
        n_documents: size of the corpus; far below means beyond rank 100, or beyond a twentieth of
            a small corpus.

    Returns:
        counts for the pair of systems that agrees most often; None where there is no pair.
    """
    deep = max(10, min(_DEEP, n_documents // 20))
    best: Contradiction | None = None
    for one, two in product(lexical, dense):
        found = [judgements.grades_of(run.documents[:, :deep]) > 0 for run in (one, two)]
        agreed = (one.documents[:, 0] == two.documents[:, 0]) & (one.documents[:, 0] >= 0)
        lost = ~(found[0].any(axis=1) | found[1].any(axis=1))
        counts = Contradiction(int(agreed.sum()), int((agreed & lost).sum()))
        if best is None or counts.agreed > best.agreed:
            best = counts
    return best
