"""Metrics: their names, and the per-query values of a run (ranx over arrays)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.arrays import Values
from harness.collection import NO_GRADE, Judgements
from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.runs.context import fill_context
from harness.runs.run import Run

Ids = npt.NDArray[np.int64]

# Every accepted name, in lower case: ours, MTEB's, ir_measures' and trec_eval's.
_FAMILIES = {
    "ndcg": ("ndcg", "ndcg_cut"),
    "recall": ("recall", "r"),
    "mrr": ("mrr", "rr", "recip_rank"),
    "map": ("map", "ap", "map_cut"),
    "precision": ("precision", "p"),
    "hit_rate": ("hit_rate", "success"),
    "context_precision": ("context_precision",),
    "context_recall": ("context_recall",),
}
_IN_TOKENS = frozenset({"context_precision", "context_recall"})
_FAMILY_OF = {name: family for family, names in _FAMILIES.items() for name in names}
_NOTATION = re.compile(
    r"(?P<name>[A-Za-z_]+?)(?:\(rel=(?P<rel>[0-9]+)\))?"
    r"(?:(?:@|_at_|_)(?P<cutoff>[0-9]+)(?P<unit>t?))?(?:-l(?P<level>[0-9]+))?"
)
_JUDGED_CUTOFF = 10
_MOST_DIGITS = 6  # of a cutoff: runs are as deep
_CELLS = 4_000_000  # ids handed to ranx at a time: 64 MB with their grades
# Numba's default threading layer aborts the process when two threads call it at once.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Metric:
    """A metric is a value; its text, `ndcg@10` or `recall@100-l2`, is its name everywhere.

    With R relevant documents (grade >= `level`) of a query and the first k ranks of a run:

    * `ndcg`: sum of grade / log2(rank + 1), divided by the same sum of the best possible ranking.
      The gain is linear, the grade itself, as in trec_eval, pytrec_eval, MTEB and ranx (2^grade - 1
      is another metric). Grades below 1 gain nothing. It has no level, because every grade
      counts; trec_eval ignores its -l here too.
    * `recall`: relevant in the first k, divided by R.
    * `mrr`: 1 / rank of the first relevant one, 0 if it is beyond k.
    * `map`: sum of precision at the rank of each relevant one, divided by R (not by min(R, k)).
    * `precision`: relevant in the first k, divided by k, however short the list is.
    * `hit_rate`: 1 if any of the first k is relevant, else 0.
    * `context_precision`, `context_recall`: of the tokens that fit into a prompt of k tokens, as
      `harness.runs.context` fills it; written with a t, `context_recall@2000t`.

    A query without relevant documents scores 0. Equal to trec_eval's ndcg_cut, recall, recip_rank,
    map_cut, P and success (tests/test_oracles.py).

    Attributes:
        family: one of the eight above.
        cutoff: k, at least 1: ranks, or tokens of the context metrics.
        level: the lowest grade that counts as relevant, at least 1.
    """

    family: str
    cutoff: int
    level: int = 1

    def __str__(self) -> str:
        unit = "t" if self.in_tokens else ""
        return f"{self.family}@{self.cutoff}{unit}{self._suffix}"

    @property
    def in_tokens(self) -> bool:
        """Whether the cutoff is a number of tokens, not of ranks."""
        return self.family in _IN_TOKENS

    @property
    def mteb_name(self) -> str:
        """The spelling of MTEB's result files, `ndcg_at_10`; a level, unknown there, stays."""
        return f"{self.family}_at_{self.cutoff}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return f"-l{self.level}" if self.level > 1 else ""


@dataclass(frozen=True)
class Scorecard:
    """Per-query values of a run, dense over the judged queries in the collection's order.

    Attributes:
        values: metric text to float64 [n_queries]; a query without results scores 0.
        judged_at_10: float64 [n_queries], share of the returned documents in the first 10 ranks
            that have a judgement of any grade. A short list is divided by its own length; 0 where
            nothing was returned.
        missing: bool [n_queries], the run has no results for the query.
        by_seed: of a candidate that was trained with several seeds, metric text to float64
            [n_queries, n_seeds], of which `values` are the means; else empty.
    """

    values: Mapping[str, Values] = field(repr=False)
    judged_at_10: Values = field(repr=False)
    missing: npt.NDArray[np.bool_] = field(repr=False)
    by_seed: Mapping[str, Values] = field(default_factory=dict, repr=False)

    @property
    def n_queries(self) -> int:
        """How many queries were judged: the denominator of every mean."""
        return len(self.missing)

    def of_each_seed(self, metric: str) -> Values:
        """Return the values of each training seed, float64 [n_queries, n_seeds or 1]."""
        values: Values = self.by_seed[metric] if self.by_seed else self.values[metric][:, None]
        return values


def parse_metric(text: str) -> Metric:
    """Return the metric of a name in our notation or in that of MTEB, ir_measures or trec_eval.

    Raises:
        HarnessError: unknown name, no cutoff, or a cutoff or level that cannot be.

    >>> str(parse_metric("ndcg_at_10")), str(parse_metric("nDCG@10")), str(parse_metric("P_5"))
    ('ndcg@10', 'ndcg@10', 'precision@5')
    >>> parse_metric("recall@100-l2")
    Metric(family='recall', cutoff=100, level=2)
    """
    match = _NOTATION.fullmatch(text.strip())
    if match is None:
        raise _mistake(text, "is not in the form name@cutoff. Write for example 'ndcg@10'.")
    name = match["name"].lower()
    if name not in _FAMILY_OF:
        raise _mistake(text, f"unknown name '{match['name']}'.{did_you_mean(name, _FAMILIES)}")
    family = _FAMILY_OF[name]
    if match["cutoff"] is None:
        raise _mistake(text, f"has no cutoff, got the name alone. Write '{family}@10'.")
    numbers = match["cutoff"], match["level"] or match["rel"] or "1"
    if max(map(len, numbers)) > _MOST_DIGITS:
        raise _mistake(text, "a cutoff or level is too large. The largest is 999999.")
    cutoff, level = map(int, numbers)
    if cutoff < 1 or level < 1:
        wrong = f"cutoff {cutoff}" if cutoff < 1 else f"level {level}"
        raise _mistake(text, f"{wrong} is not possible. The smallest is 1.")
    if match["unit"] and family not in _IN_TOKENS:
        raise _mistake(text, f"{family} is cut at a rank, got tokens. Write '{family}@{cutoff}'.")
    if family == "ndcg" and level > 1:
        reason = f"ndcg counts every grade as its gain and has no level, got {level}"
        raise _mistake(text, f"{reason}. Write 'ndcg@{cutoff}'.")
    return Metric(family, cutoff, level)


def _mistake(text: str, problem: str) -> HarnessError:
    return HarnessError(f"metric '{text}': {problem}", exit_code=ExitCode.USAGE)


def score(
    run: Run,
    judgements: Judgements,
    metrics: Sequence[Metric],
    *,
    n_queries: int,
    tokens: npt.NDArray[np.int64] | None = None,
) -> Scorecard:
    """Return the value of every metric for every query of a run.

    Two relevant documents of grades 3 and 1 of which only the second is found, at rank 2:

    >>> run = Run(np.array([[7, 5]], np.int32), np.array([[0.9, 0.8]], np.float32))
    >>> judged = Judgements(*(np.array(x, np.int32) for x in ([0, 0], [4, 5], [3, 1])))
    >>> ndcg = score(run, judged, [parse_metric("ndcg@10")], n_queries=1).values["ndcg@10"]
    >>> bool(np.isclose(ndcg[0], (1 / np.log2(3)) / (3 / np.log2(2) + 1 / np.log2(3))))
    True

    Args:
        run: documents [n_queries, k]; a metric whose cutoff is beyond k sees a short list.
        judgements: of these queries.
        metrics: at least one.
        n_queries: the judged queries of the collection, in whose order the values are.
        tokens: int64 [n_documents], of `document_tokens`; for metrics with a cutoff in tokens.

    Raises:
        ValueError: the run has another number of queries, or there is no metric.
    """
    if len(run.documents) != n_queries or not metrics:
        problem = f"{len(run.documents)} rows for {n_queries} queries, {len(metrics)} metrics"
        raise ValueError(f"cannot score a run: {problem}")
    values = {str(metric): np.zeros(n_queries) for metric in metrics}
    ranked_metrics = [metric for metric in metrics if not metric.in_tokens]
    depth = max((metric.cutoff for metric in ranked_metrics), default=0)
    with _ONE_AT_A_TIME:
        for rows, judged, ranked in _blocks(run.documents[:, :depth], judgements):
            for metric in ranked_metrics:
                compute = _engine(metric.family)
                values[str(metric)][rows] = compute(judged, ranked, metric.cutoff, metric.level)
    for metric in metrics:
        if metric.in_tokens:
            values[str(metric)] = _in_context(run, judgements, metric, tokens)
    missing: npt.NDArray[np.bool_] = np.all(run.documents < 0, axis=1)
    return Scorecard(
        values=values,
        judged_at_10=_judged_share(run.documents[:, :_JUDGED_CUTOFF], judgements),
        missing=missing,
    )


def _in_context(
    run: Run, judgements: Judgements, metric: Metric, tokens: npt.NDArray[np.int64] | None
) -> Values:
    if tokens is None:
        raise ValueError(f"{metric} needs the tokens of the documents")
    found = fill_context(
        run.documents, judgements, tokens, budget=metric.cutoff, level=metric.level
    )
    return found.precision if metric.family == "context_precision" else found.recall


def _engine(family: str) -> Callable[[Ids, Ids, int, int], Values]:
    """Return ranx's function over (judgements, run, cutoff, level).

    These are called directly because `ranx.evaluate` leaves numba at one thread for good after a
    call with fewer than 10 queries, and fails on a single metric with a cutoff (0.3.21). The first
    call of each in a fresh environment compiles for some seconds.
    """
    import ranx.metrics

    functions: dict[str, Callable[[Ids, Ids, int, int], Values]] = {
        "ndcg": ranx.metrics.ndcg,
        "recall": ranx.metrics.recall,
        "mrr": ranx.metrics.reciprocal_rank,
        "map": ranx.metrics.average_precision,
        "precision": ranx.metrics.precision,
        "hit_rate": ranx.metrics.hit_rate,
    }
    return functions[family]


def _blocks(
    documents: npt.NDArray[np.int32], judgements: Judgements
) -> Iterator[tuple[npt.NDArray[np.intp], Ids, Ids]]:
    """Yield query rows with their judgements [q, n, 2] and ranking [q, k, 2], as ranx wants them.

    Queries with about as many relevant documents go together, so that one query with thousands
    widens no other. Irrelevant judgements are left out: no metric here looks at them.
    """
    relevant = np.flatnonzero(judgements.grades >= 1)
    relevant = relevant[np.lexsort((-judgements.grades[relevant], judgements.queries[relevant]))]
    queries = judgements.queries[relevant]
    counts = np.bincount(queries, minlength=len(documents))
    columns = np.arange(len(queries)) - np.searchsorted(queries, queries)
    widths = 2 ** np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64)
    for width in np.unique(widths):
        alike = np.flatnonzero(widths == width)
        n_parts = -(-len(alike) * (int(width) + documents.shape[1]) // _CELLS)
        for rows in np.array_split(alike, n_parts):
            place = np.full(len(documents), -1)
            place[rows] = np.arange(len(rows))
            here = place[queries] >= 0
            judged = _empty_judgements(len(rows), int(width))
            cells = place[queries[here]], columns[here]
            ids = judgements.documents[relevant[here]]
            judged[*cells, 0] = np.where(ids < 0, judged[*cells, 0], ids)
            judged[*cells, 1] = judgements.grades[relevant[here]]
            yield rows, judged, _with_grades(documents[rows])


def _empty_judgements(n_queries: int, width: int) -> Ids:
    """Return [n_queries, width, 2] of grade 0 and ids -2, -3, ... that no run contains.

    A judged document outside the corpus keeps such an id: distinct, since ranx would read the
    grade of another one with the same id when it builds the ideal ranking.
    """
    judged = np.zeros((n_queries, width, 2), dtype=np.int64)
    judged[:, :, 0] = -2 - np.arange(width)
    return judged


def _with_grades(documents: npt.NDArray[np.int32]) -> Ids:
    """Return [n_queries, k, 2] of ids and an unused second column; an empty place is -1."""
    ranked = np.full((len(documents), max(1, documents.shape[1]), 2), -1, dtype=np.int64)
    ranked[:, : documents.shape[1], 0] = documents
    return ranked


def _judged_share(documents: npt.NDArray[np.int32], judgements: Judgements) -> Values:
    returned = documents >= 0
    judged = judgements.grades_of(documents) != NO_GRADE
    share: Values = judged.sum(axis=1) / np.maximum(1, returned.sum(axis=1))
    return share
