"""Standing: the exact rank of every query's best relevant document, and where each was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags, Indices, Rows, Values, Vectors
from harness.collection import Collection, Judgements
from harness.diagnosis.values import GapSplit, LossStage, StageCount
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.lexical import Bm25Index
from harness.retrieval.search import score_pairs
from harness.runs.context import document_tokens
from harness.runs.headroom import perfect_order, split_gap
from harness.runs.metrics import Metric, score
from harness.runs.run import Run, rank_entries

Ranks = npt.NDArray[np.int64]
Stages = npt.NDArray[np.str_]

DEEP = 1000
# From the first ranks down, each with those before it.
_NESTED: tuple[LossStage, ...] = (
    "retrieved",
    "rerank-harm",
    "rerankable",
    "rerank-miss",
    "deep",
    "lost",
    "absent",
)
NO_LOSS = 1e-9

_DOCUMENTS, _QUERIES = 16_384, 1024  # a block of scores holds 64 MB


class Relevant(NamedTuple):
    """Pairs of a query and a relevant document that can be found, int32 [m] each, by query.

    A document that is not in the corpus or has a blank text cannot, nor can any for a blank query.
    """

    queries: Rows
    documents: Rows

    def ranks_in(self, run: Run) -> Ranks:
        """Return the rank of each pair in a run, int64 [m]; 0 where the run does not hold it."""
        return run.ranks_of(self.documents[:, None], queries=self.queries)[:, 0]


class Standing(NamedTuple):
    """Where the best relevant document of each query stands.

    Attributes:
        documents: int32 [n_queries], its row; -1 where no relevant document can be found.
        ranks: int64 [n_queries], from 1; 0 where the candidate does not rank it at all.
    """

    documents: Rows
    ranks: Ranks

    def within(self, k: int) -> Flags:
        """Tell whose best relevant document is among the first k."""
        inside: Flags = (self.ranks > 0) & (self.ranks <= k)
        return inside


def findable_pairs(collection: Collection, *, level: int) -> Relevant:
    """Return the relevant pairs that can be found."""
    judged = collection.judgements
    blank_query = np.array([not text.strip() for text in collection.queries], dtype=bool)
    blank = np.array([not text.strip() for text in collection.documents], dtype=bool)
    kept = (judged.grades >= level) & (judged.documents >= 0)
    kept &= ~blank[judged.documents] & ~blank_query[judged.queries]
    return Relevant(judged.queries[kept], judged.documents[kept])


def rank_by_vectors(
    documents: Embeddings, queries: Embeddings, relevant: Relevant, *, forbidden: Rows | None
) -> Standing:
    """Return the standing in an exact search, as deep as the corpus.

    Blocks of float32 products count the documents that certainly score higher; the few within the
    rounding error are settled as `search` does, so the rank is the one that a search of that depth
    would give.

    Args:
        documents: n rows, ready for the inner product.
        queries: rows of the same width.
        relevant: pairs whose best per query is wanted.
        forbidden: int32 [n_queries], a row that the query must not be given, or -1.
    """
    asked = queries.block(0, len(queries))
    exact = score_pairs(documents, asked[relevant.queries], relevant.documents[:, None])[:, 0]
    best = rank_entries(
        relevant.queries, relevant.documents, exact, n_queries=len(queries), depth=1
    )
    if not best.depth:
        return Standing(np.full(len(queries), -1, np.int32), np.zeros(len(queries), np.int64))
    rows, scores = best.documents[:, 0], best.scores[:, 0]
    found = np.flatnonzero(rows >= 0)
    higher = np.zeros(len(queries), dtype=np.int64)
    for start in range(0, len(documents), _DOCUMENTS):
        block = documents.block(start, min(start + _DOCUMENTS, len(documents)))
        longest = float(np.linalg.norm(block, axis=1).max(initial=0))
        for mine in np.split(found, range(_QUERIES, len(found), _QUERIES)):
            # As in `search`: the error of a product, and the rounding of scores to float32.
            error = 2 * (block.shape[1] + 2) * 2.0**-24 * longest
            width = (error * np.linalg.norm(asked[mine], axis=1)).astype(np.float32)
            near = _count_higher(asked[mine], block, scores[mine], width)
            higher[mine] += near.certain
            pairs = Relevant(mine[near.queries].astype(np.int32), near.documents + start)
            higher += _settle(documents, asked, pairs, rows, scores)
    if forbidden is not None:
        mine = np.flatnonzero((forbidden >= 0) & (rows >= 0))
        pairs = Relevant(mine.astype(np.int32), forbidden[mine])
        higher -= _settle(documents, asked, pairs, rows, scores)
    return Standing(rows, np.where(rows >= 0, higher + 1, 0))


class _Near(NamedTuple):
    """Documents certainly above the limit, and the pairs too close to tell, rows of the block."""

    certain: Ranks
    queries: npt.NDArray[np.intp]
    documents: Rows


def _count_higher(queries: Vectors, block: Vectors, scores: Vectors, width: Vectors) -> _Near:
    products = queries @ block.T
    certain = np.count_nonzero(products > (scores + width)[:, None], axis=1)
    possible = np.count_nonzero(products >= (scores - width)[:, None], axis=1)
    unclear = np.flatnonzero(possible > certain)
    part = products[unclear]
    close = part >= (scores - width)[unclear, None]
    close &= part <= (scores + width)[unclear, None]
    places, documents = np.nonzero(close)
    return _Near(certain.astype(np.int64), unclear[places], documents.astype(np.int32))


def _settle(
    documents: Embeddings, asked: Vectors, pairs: Relevant, rows: Rows, scores: Vectors
) -> Ranks:
    """Count, per query, the pairs that a run's total order puts above its best relevant one."""
    mine = score_pairs(documents, asked[pairs.queries], pairs.documents[:, None])[:, 0]
    rounded = mine.astype(np.float32) + np.float32(0)
    others = scores[pairs.queries]
    above = rounded > others
    above |= (rounded == others) & (pairs.documents > rows[pairs.queries])
    return np.bincount(pairs.queries[above], minlength=len(rows)).astype(np.int64)


def best_of(pairs: Relevant, ranks: Ranks, *, n_queries: int) -> Standing:
    """Return the standing from the rank of every relevant pair, 0 where it has none."""
    rows, best = np.full(n_queries, -1, dtype=np.int32), np.zeros(n_queries, dtype=np.int64)
    keys = np.where(ranks > 0, ranks, np.iinfo(np.int64).max)
    order = np.argsort(-keys, kind="stable")
    rows[pairs.queries[order]] = pairs.documents[order]
    best[pairs.queries[order]] = ranks[order]
    return Standing(rows, best)


def rank_by_words(
    index: Bm25Index, queries: tuple[str, ...], relevant: Relevant, *, forbidden: Rows | None
) -> Ranks:
    """Return the exact BM25 rank of every relevant pair, int64 [m]; 0 where no word matches."""
    ranks: Ranks = np.zeros(len(relevant.queries), dtype=np.int64)
    bounds = np.searchsorted(relevant.queries, np.arange(len(queries) + 1))
    for query, scores in enumerate(index.score_all(queries)):
        part = slice(bounds[query], bounds[query + 1])
        if part.start < part.stop:
            if forbidden is not None and forbidden[query] >= 0:
                scores[forbidden[query]] = 0
            ranks[part] = ranks_among(scores, relevant.documents[part])
    return ranks


def ranks_among(scores: npt.NDArray[np.float32], documents: Rows) -> Ranks:
    """Return the ranks of some documents by the scores of all; 0 where the score is 0."""
    ranks: Ranks = np.zeros(len(documents), dtype=np.int64)
    for place, row in enumerate(documents):
        if scores[row] > 0:
            higher = np.count_nonzero(scores > scores[row])
            ranks[place] = 1 + higher + np.count_nonzero(scores[row + 1 :] == scores[row])
    return ranks


def name_stages(first: Standing, last: Standing, *, k: int, depth: int, reranked: bool) -> Stages:
    """Return the stage of every query, one of `LossStage`.

    Args:
        first: before reranking.
        last: in the final run; equal to `first` where nothing is reranked.
        k: rank down to which a query counts as a hit.
        depth: documents that a reranker orders, or would order.
        reranked: whether one does.
    """
    if reranked:
        within: dict[LossStage, int] = {"rerank-harm": min(k, depth), "rerank-miss": depth}
    else:
        within = {"rerankable": depth}
    told: dict[LossStage, Flags] = {"absent": first.documents < 0, "retrieved": last.within(k)}
    told |= {name: first.within(rank) for name, rank in within.items()}
    told["deep"] = first.within(DEEP)
    return np.select([*told.values()], [*told], default="lost")


def lost_gains(
    grades: Values, ranks: Ranks, queries: Rows, stages: Stages, *, cutoff: int, n_queries: int
) -> dict[LossStage, float]:
    """Return what each stage costs the mean nDCG; the sum is 1 - nDCG, over queries with grades.

    Stages are nested from the first ranks to what is not in the corpus: one costs what a perfect
    order of the relevant documents down to it gains over one of those before it, and the first
    what a perfect order of its documents gains over theirs. Up to "rerankable" the sum is thus the
    ordering loss of `split_loss`, beyond it the first-stage loss.

    >>> stages = np.array(["retrieved", "lost"])
    >>> pair = np.array([1.0, 1.0]), np.array([1, 0]), np.array([0, 0]), stages
    >>> {key: round(loss, 2) for key, loss in lost_gains(*pair, cutoff=10, n_queries=1).items()}
    {'lost': 0.39}

    Args:
        grades: float64 [m], above 0.
        ranks: int64 [m], from 1; 0 where the run does not hold it.
        queries: int [m], ascending.
        stages: [m], of each document.
        cutoff: of the metric.
        n_queries: over which the mean is taken.
    """

    def gains(rows: Indices, at: Ranks) -> Values:
        """Return the DCG of every query, float64 [n_queries]."""
        counted = np.where(
            (at > 0) & (at <= cutoff), grades[rows] / np.log2(1 + np.maximum(at, 1)), 0.0
        )
        summed = np.zeros(n_queries)
        np.add.at(summed, queries[rows], counted)
        return summed

    def perfect(rows: Indices) -> Values:
        rows = rows[np.lexsort((-grades[rows], queries[rows]))]
        return gains(rows, np.arange(len(rows)) - np.searchsorted(queries[rows], queries[rows]) + 1)

    everything = np.arange(len(grades))
    totals = perfect(everything)
    held = totals > 0
    below, found = gains(everything, ranks), dict[LossStage, float]()
    for number, stage in enumerate(_NESTED):
        mine = perfect(np.flatnonzero(np.isin(stages, _NESTED[: number + 1])))
        found[stage] = float(((mine - below)[held] / totals[held]).sum() / n_queries)
        below = mine
    return {stage: loss for stage, loss in found.items() if abs(loss) > NO_LOSS}


def count_stages(stages: Stages, losses: Mapping[LossStage, float]) -> list[StageCount]:
    """Count the queries of every stage that occurs or loses, in the order of `LossStage`."""
    counts = ((stage, int((stages == stage).sum())) for stage in get_args(LossStage))
    return [
        StageCount(stage=stage, n=n, share=n / len(stages), loss=losses.get(stage, 0.0))
        for stage, n in counts
        if n or stage in losses
    ]


def split_loss(
    run: Run, judgements: Judgements, metric: Metric, *, depth: int, documents: Sequence[str]
) -> GapSplit:
    """Split the distance of a run's mean score from 1, exactly.

    Args:
        run: as scored.
        judgements: of its queries.
        metric: whose mean.
        depth: documents that a perfect reranker would order; at least as many as the metric sees.
        documents: texts, whose length counts for metrics in tokens.
    """
    if not metric.in_tokens:
        depth = max(depth, metric.cutoff)
    tokens = document_tokens(documents) if metric.in_tokens else None
    ideal = perfect_order(run, judgements, depth=depth)

    def values(of: Run) -> Values:
        card = score(of, judgements, [metric], n_queries=len(of.documents), tokens=tokens)
        return card.values[str(metric)]

    achieved = values(run)
    # A prompt filled by grade is not always the best filled one; the run itself is one order too.
    gap = split_gap(achieved, np.maximum(achieved, values(ideal)), depth=depth)
    return GapSplit(**gap._asdict())
