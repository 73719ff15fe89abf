"""Metrics: what is said about each, their names, and the per-query values of a run."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags, Ids, Values
from harness.collection import NO_GRADE, Judgements
from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.runs.context import ContextValues, fill_context
from harness.runs.ranx_metrics import ranx_metrics
from harness.runs.run import Run

_NOTATION = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z_0-9]*?)(?:\((?P<given>[^()]*)\))?"
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

    {families}

    A query without relevant documents scores 0, and no value leaves [0, 1]. Each is checked against
    an independent engine (tests/test_oracles.py).

    Attributes:
        family: a key of `FAMILIES`.
        cutoff: k, at least 1: ranks, or tokens of the context metrics.
        level: the lowest grade that counts as relevant, at least 1.
        parameter: such as the persistence of `rbp(0.8)@10`; None for a family without one.
    """

    family: str
    cutoff: int
    level: int = 1
    parameter: float | None = None

    def __str__(self) -> str:
        unit = "t" if self.in_tokens else ""
        return f"{self._name}@{self.cutoff}{unit}{self._suffix}"

    @property
    def in_tokens(self) -> bool:
        """Whether the cutoff is a number of tokens, not of ranks."""
        return FAMILIES[self.family].of_prompt is not None

    @property
    def mteb_name(self) -> str:
        """The spelling of MTEB's result files, `ndcg_at_10`; a level, unknown there, stays."""
        return f"{self._name}_at_{self.cutoff}{self._suffix}"

    @property
    def _name(self) -> str:
        if self.parameter is None:
            return self.family
        return f"{self.family}({np.format_float_positional(self.parameter, trim='-')})"

    @property
    def _suffix(self) -> str:
        return f"-l{self.level}" if self.level > 1 else ""


class Parameter(NamedTuple):
    """The number that a metric takes besides its cutoff, between `above` and `below`."""

    name: str
    above: float
    below: float
    usual: float


@dataclass(frozen=True, kw_only=True)
class Family:
    """Everything that is said about one metric; one of `of_ranks` and `of_prompt` computes it.

    Attributes:
        definition: completes "with R relevant documents and the first k ranks".
        aliases: other accepted names, in lower case: those of MTEB, ir_measures and trec_eval.
        of_ranks: from judgements int64 [n, width, 2] and ranking int64 [n, k, 2] of `_blocks`,
            float64 [n]; the ranking may reach beyond the metric's cutoff.
        of_prompt: from a prompt of `cutoff` tokens, float64 [n].
        parameter: None where it takes no number besides the cutoff.
        has_level: whether it asks which grades are relevant.
    """

    definition: str
    aliases: tuple[str, ...] = ()
    of_ranks: Callable[[Ids, Ids, Metric], Values] | None = None
    of_prompt: Callable[[ContextValues], Values] | None = None
    parameter: Parameter | None = None
    has_level: bool = True

    def __post_init__(self) -> None:
        if (self.of_ranks is None) == (self.of_prompt is None):
            raise TypeError(f"one of of_ranks and of_prompt computes a metric: {self.definition}")


def _ranx(name: str) -> Callable[[Ids, Ids, Metric], Values]:
    """Return ranx's function of this name, imported when it is first called.

    It is called directly because `ranx.evaluate` leaves numba at one thread for good after a call
    with fewer than 10 queries, and fails on a single metric with a cutoff (0.3.21). The first call
    in a fresh environment compiles for some seconds.
    """

    def compute(judged: Ids, ranked: Ids, metric: Metric) -> Values:
        values: Values = getattr(ranx_metrics(), name)(judged, ranked, metric.cutoff, metric.level)
        return values

    return compute


def hits(judged: Ids, ranked: Ids, metric: Metric) -> Flags:
    """Return at which of the first `cutoff` ranks a relevant document is, bool [n, <= cutoff]."""
    top = ranked[:, : metric.cutoff, 0]
    found = np.zeros(top.shape, dtype=bool)
    for place in range(judged.shape[1]):
        relevant = judged[:, place, 1] >= metric.level
        found |= relevant[:, None] & (top == judged[:, place, :1])
    return found


def _rank_biased_precision(judged: Ids, ranked: Ids, metric: Metric) -> Values:
    """Return it of binary relevance; ranx's weighs by grade and may exceed 1 (0.3.21)."""
    found, p = hits(judged, ranked, metric), metric.parameter or 0.0
    values: Values = (1 - p) * (found @ p ** np.arange(found.shape[1]))
    return values


# The one place that lists metrics. tests/test_oracles.py wants an independent engine for each.
FAMILIES: Mapping[str, Family] = {
    "ndcg": Family(
        definition="sum of grade / log2(rank + 1), divided by the same sum of the best possible "
        "ranking. The gain is linear, the grade itself, as in trec_eval, pytrec_eval, MTEB and "
        "ranx (2^grade - 1 is another metric). Grades below 1 gain nothing. It has no level, "
        "because every grade counts; trec_eval ignores its -l here too",
        aliases=("ndcg_cut",),
        of_ranks=_ranx("ndcg"),
        has_level=False,
    ),
    "recall": Family(
        definition="relevant in the first k, divided by R",
        aliases=("r",),
        of_ranks=_ranx("recall"),
    ),
    "mrr": Family(
        definition="1 / rank of the first relevant one, 0 if it is beyond k",
        aliases=("rr", "recip_rank"),
        of_ranks=_ranx("reciprocal_rank"),
    ),
    "map": Family(
        definition="sum of precision at the rank of each relevant one, divided by R (not by "
        "min(R, k))",
        aliases=("ap", "map_cut"),
        of_ranks=_ranx("average_precision"),
    ),
    "precision": Family(
        definition="relevant in the first k, divided by k, however short the list is",
        aliases=("p",),
        of_ranks=_ranx("precision"),
    ),
    "hit_rate": Family(
        definition="1 if any of the first k is relevant, else 0",
        aliases=("success",),
        of_ranks=_ranx("hit_rate"),
    ),
    "rbp": Family(
        definition="(1 - p) times the sum of p^(rank - 1) over the relevant in the first k, for a "
        "reader who goes on to the next rank with probability p (Moffat and Zobel 2008); written "
        "rbp(0.8)@10. It reaches 1 only where endless ranks are relevant",
        of_ranks=_rank_biased_precision,
        parameter=Parameter("p", above=0, below=1, usual=0.8),
    ),
    "context_precision": Family(
        definition="relevant tokens in a prompt of k tokens, as `harness.runs.context` fills it, "
        "divided by all tokens in it; written with a t, context_precision@2000t",
        of_prompt=lambda found: found.precision,
    ),
    "context_recall": Family(
        definition="relevant tokens in such a prompt, divided by those of all relevant documents, "
        "or by k where they would not all fit",
        of_prompt=lambda found: found.recall,
    ),
}
_FAMILY_OF = {alias: name for name, family in FAMILIES.items() for alias in (name, *family.aliases)}
Metric.__doc__ = str(Metric.__doc__).replace(
    "{families}",
    "\n    ".join(f"* `{name}`: {each.definition}." for name, each in FAMILIES.items()),
)


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
    Metric(family='recall', cutoff=100, level=2, parameter=None)
    >>> str(parse_metric("RBP(rel=2,p=0.80)@10"))
    'rbp(0.8)@10-l2'
    """
    match = _NOTATION.fullmatch(text.strip())
    if match is None:
        raise _mistake(text, "is not in the form name@cutoff. Write for example 'ndcg@10'.")
    name = match["name"].lower()
    if name not in _FAMILY_OF:
        raise _mistake(text, f"unknown name '{match['name']}'.{did_you_mean(name, FAMILIES)}")
    family = _FAMILY_OF[name]
    example = _example(family)
    if match["cutoff"] is None:
        raise _mistake(text, f"has no cutoff, got the name alone. Write '{example}'.")
    parameter, given_level = _given(text, match["given"] or "", family)
    numbers = match["cutoff"], match["level"] or given_level or "1"
    if max(map(len, numbers)) > _MOST_DIGITS:
        raise _mistake(text, "a cutoff or level is too large. The largest is 999999.")
    cutoff, level = map(int, numbers)
    if cutoff < 1 or level < 1:
        wrong = f"cutoff {cutoff}" if cutoff < 1 else f"level {level}"
        raise _mistake(text, f"{wrong} is not possible. The smallest is 1.")
    plain = f"{example.partition('@')[0]}@{cutoff}"
    if match["unit"] and FAMILIES[family].of_prompt is None:
        raise _mistake(text, f"{family} is cut at a rank, got tokens. Write '{plain}'.")
    if level > 1 and not FAMILIES[family].has_level:
        reason = f"{family} counts every grade as its gain and has no level, got {level}"
        raise _mistake(text, f"{reason}. Write '{plain}'.")
    return Metric(family, cutoff, level, parameter)


def _example(family: str) -> str:
    takes = FAMILIES[family].parameter
    return str(Metric(family, 10, parameter=takes.usual if takes else None)).rstrip("t")


def _given(text: str, given: str, family: str) -> tuple[float | None, str | None]:
    """Return the parameter and the level in the brackets of a name: `(0.8)`, `(p=0.8,rel=2)`."""
    takes, example = FAMILIES[family].parameter, _example(family)
    parameter: float | None = None
    level = None
    for part in given.split(",") if given else ():
        key, _, value = (each.strip() for each in part.rpartition("="))
        if key == "rel" and re.fullmatch("[0-9]+", value):
            level = value
        elif takes and key in {"", takes.name} and re.fullmatch(r"[0-9]{0,6}\.?[0-9]{1,6}", value):
            parameter = float(value)
        else:
            raise _mistake(text, f"{family} does not take '{part.strip()}'. Write '{example}'.")
    if takes and parameter is None:
        raise _mistake(text, f"has no {takes.name}, got none in brackets. Write '{example}'.")
    if takes and parameter is not None and not takes.above < parameter < takes.below:
        between = f"It lies between {takes.above:g} and {takes.below:g}"
        problem = f"{takes.name} {parameter:g} is not possible. {between}: write '{example}'."
        raise _mistake(text, problem)
    return parameter, level


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
                if compute := FAMILIES[metric.family].of_ranks:
                    values[str(metric)][rows] = compute(judged, ranked, metric)
    for metric in metrics:
        if in_prompt := FAMILIES[metric.family].of_prompt:
            if tokens is None:
                raise ValueError(f"{metric} needs the tokens of the documents")
            found = fill_context(
                run.documents, judgements, tokens, budget=metric.cutoff, level=metric.level
            )
            values[str(metric)] = in_prompt(found)
    missing: npt.NDArray[np.bool_] = np.all(run.documents < 0, axis=1)
    first = run.documents[:, :_JUDGED_CUTOFF]
    judged = (judgements.grades_of(first) != NO_GRADE).sum(axis=1)
    return Scorecard(
        values=values,
        judged_at_10=judged / np.maximum(1, (first >= 0).sum(axis=1)),
        missing=missing,
    )


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
            # Grade 0 and ids that no run contains, which a judged document outside the corpus
            # keeps: distinct, since ranx would read the grade of another one with the same id
            # when it builds the ideal ranking.
            judged = np.zeros((len(rows), int(width), 2), dtype=np.int64)
            judged[:, :, 0] = -2 - np.arange(width)
            cells = place[queries[here]], columns[here]
            ids = judgements.documents[relevant[here]]
            judged[*cells, 0] = np.where(ids < 0, judged[*cells, 0], ids)
            judged[*cells, 1] = judgements.grades[relevant[here]]
            # Of a ranking the second column is not read; an empty place is -1.
            ranked = np.full((len(rows), max(1, documents.shape[1]), 2), -1, dtype=np.int64)
            ranked[:, : documents.shape[1], 0] = documents[rows]
            yield rows, judged, ranked
