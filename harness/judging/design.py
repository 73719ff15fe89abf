"""Design: which query-document pairs are judged, in which order, and with which chance.

The pool of a query is what the compared candidates return in their first ranks. Judging all of it
is dear, and most of it says little: a document that two candidates rank alike moves their
difference hardly at all, and one far down is seldom relevant. So each pair gets a size, how far its
judgement is expected to move the differences, and is judged with a chance in proportion to it.

Each query draws one number u. A pair of size q is judged from the time u / q on, so at time t with
the chance min(1, t q) (Poisson sampling with permanent random numbers: Ohlsson 1995). One list in
the order of these times is the whole design: whatever part of it has been judged, from its
beginning, is a sample with known chances, and judging more only adds to it. Within a query the
judged documents are always the first ones of its pool, sorted by size; what that is good for is
said in `estimates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harness.arrays import Flags, Indices, Rows, Values
from harness.collection import NO_GRADE, Judgements
from harness.errors import ExitCode, HarnessError
from harness.runs.metrics import Metric, score
from harness.runs.run import Run

# Chance that the first document of one candidate is relevant before anything is known; at rank r
# it is divided by r, and candidates count as independent. Wrong guesses cost judgements, no truth.
_FIRST_IS_RELEVANT = 0.35
# Of a relevant document that two candidates rank alike: it raises the best possible score, which
# takes a share of their difference. Of log2(2) + log2(3) against log2(2), squared.
_OF_THE_IDEAL = 0.15
_LEAST_IN_QUERY = 1 / 8  # of the largest size of the query: no weight is more than so many times
_LEAST_OF_QUERIES = 1 / 20  # of the largest size of all queries


@dataclass(frozen=True, eq=False)
class Design:
    """The pairs that can be judged, with their sizes.

    Attributes:
        documents: int32 [n_queries, width], the pool of each query without what is known already,
            the largest size first; rows end in -1.
        sizes: float64 [n_queries, width], never rising along a row; 0 where there is no document,
            and in queries whose candidates return the same, where no judgement moves anything.
        numbers: float64 [n_queries], the draw of each query, above 0 and below 1.
        known: judgements that were there before; they are no part of the sample.
    """

    documents: Rows = field(repr=False)
    sizes: Values = field(repr=False)
    numbers: Values = field(repr=False)
    known: Judgements = field(repr=False)

    @cached_property
    def times(self) -> Values:
        """When each pair is due, float64 [n_queries, width]; infinite where it never is."""
        due = np.full(self.sizes.shape, np.inf)
        np.divide(self.numbers[:, None], self.sizes, out=due, where=self.sizes > 0)
        return due

    @cached_property
    def order(self) -> tuple[Indices, Indices]:
        """Query rows and places in their pools of all pairs, in the order of judging."""
        queries, places = np.nonzero(self.sizes > 0)
        # Of one query and time the larger size first; of two queries with one time the first.
        first = np.lexsort((places, queries, self.times[queries, places]))
        return queries[first], places[first]

    @property
    def n_pairs(self) -> int:
        """How many pairs can be judged."""
        return len(self.order[0])

    def chances(self, time: float) -> Values:
        """Return the chance of each pair to be judged by a time, float64 [n_queries, width]."""
        if np.isinf(time):
            return (self.sizes > 0).astype(np.float64)
        chances: Values = np.minimum(1, time * self.sizes)
        return chances

    def time_after(self, count: int) -> float:
        """Return the time until which exactly the first `count` pairs are due; the next one's."""
        queries, places = self.order
        return float(self.times[queries[count], places[count]]) if count < len(queries) else np.inf

    def queries_after(self, count: int) -> int:
        """Return how many queries have a pair among the first `count`."""
        return len(np.unique(self.order[0][:count]))

    def expected_square(self, count: int) -> float:
        """Return what is expected of the squared error of a mean difference of 0.

        The sum of size squared / chance over all pairs, / n_queries squared: the sizes are what is
        expected of the steps that `estimates` adds up. It holds the spread of the queries too.
        """
        chances = self.chances(self.time_after(count))
        parts = np.divide(self.sizes**2, chances, out=self.sizes * 0, where=self.sizes > 0)
        return float(parts.sum()) / len(self.sizes) ** 2


def design(
    runs: Mapping[str, Run],
    comparisons: Sequence[tuple[str | None, str]],
    metric: Metric,
    known: Judgements,
    *,
    rng: np.random.Generator,
    model_grades: Judgements | None = None,
) -> Design:
    """Return the pairs to judge for some comparisons, in the order in which they say most.

    The size of a pair is the root of the mean square by which its judgement is expected to move the
    differences: its chance to be relevant times the squared difference of the discounts that two
    candidates give it, and what it takes from them through the best possible score.

    It must not depend on judgements that are still to be sampled. A later design may depend on the
    earlier answers, which are then `known`; it needs another `rng`.

    Args:
        runs: of the candidates, by name, over the same queries.
        comparisons: at least one, each a reference and a candidate; their squares are averaged.
            None as the reference is for the candidate's own score.
        metric: that decides, with a cutoff at a rank.
        known: judgements that are there already.
        rng: draws the number of each query, in the order of the queries.
        model_grades: of a model, relevant from 1 on; they make the guess of relevance better.

    Raises:
        HarnessError: exit code 2, the metric fills a prompt, whose documents have no rank.
    """
    if metric.in_tokens:
        raise HarnessError(
            f"metric '{metric}': fills a prompt, and pairs are chosen by their ranks. Judge for a "
            "metric with a cutoff at a rank, such as 'ndcg@10'.",
            exit_code=ExitCode.USAGE,
        )
    names = sorted({name for pair in comparisons for name in pair if name is not None})
    documents = _pool([runs[name].documents[:, : metric.cutoff] for name in names], known)
    gains = np.append(0.0, _discounts(metric))  # of rank 0 none: it is not returned
    discounts, missed = {}, np.ones(documents.shape)
    for name, run in runs.items():
        ranks = run.ranks_of(documents)
        if name in names:
            discounts[name] = gains[np.where(ranks > metric.cutoff, 0, ranks)]
        missed *= 1 - np.divide(_FIRST_IS_RELEVANT, ranks, out=missed * 0, where=ranks > 0)
    relevant = 1 - missed
    if model_grades is not None:
        relevant = (relevant + (model_grades.grades_of(documents) >= 1)) / 2
    apart = np.mean(
        [
            (discounts[candidate] - (0 if reference is None else discounts[reference])) ** 2
            for reference, candidate in comparisons
        ],
        axis=0,
    )
    moved = relevant * apart
    squares = moved + relevant * _OF_THE_IDEAL * moved.sum(axis=1, keepdims=True)
    sizes = np.where(documents >= 0, np.sqrt(squares), 0.0)
    sizes = _bounded(sizes, documents >= 0)
    first = np.argsort(-sizes, axis=1, kind="stable")
    sizes = np.take_along_axis(sizes, first, axis=1)
    documents = np.take_along_axis(documents, first, axis=1)
    numbers = 1 - rng.random(len(documents))
    return Design(documents, sizes, numbers, known)


def _pool(tops: Sequence[Rows], known: Judgements) -> Rows:
    """Return the documents of all tops that nobody judged, each once, int32 [n_queries, width]."""
    pool = np.sort(np.hstack(tops), axis=1)
    pool[:, 1:][pool[:, 1:] == pool[:, :-1]] = -1
    pool[known.grades_of(pool) != NO_GRADE] = -1
    pool = np.sort(pool, axis=1)[:, ::-1]
    width = max(1, int((pool >= 0).sum(axis=1).max(initial=0)))
    return np.ascontiguousarray(pool[:, :width])


def _discounts(metric: Metric) -> Values:
    """Return the metric of one relevant document at each rank, float64 [cutoff]."""
    k = metric.cutoff
    rows = np.arange(k, dtype=np.int32)
    run = Run(np.tile(rows, (k, 1)), np.zeros((k, k), dtype=np.float32))
    judged = Judgements(rows, rows, np.full(k, metric.level, dtype=np.int32))
    found: Values = score(run, judged, [metric], n_queries=k).values[str(metric)]
    return found


def _bounded(sizes: Values, is_document: Flags) -> Values:
    """Return sizes of which none is far below the others; 0 stays where all of a query are 0."""
    largest = sizes.max(axis=1, keepdims=True, initial=0)
    least = np.maximum(largest * _LEAST_IN_QUERY, largest.max(initial=0) * _LEAST_OF_QUERIES)
    return np.where(is_document & (largest > 0), np.maximum(sizes, least), 0.0)
