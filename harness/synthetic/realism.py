"""Realism: how far the queries that a language model wrote are from those of a query log.

Three properties are compared, each by a distance that is stated with a test: lengths by the
Kolmogorov-Smirnov statistic, the share of questions by its difference, and vocabularies by the
Jensen-Shannon divergence of their word frequencies (Lin 1991), whose value between two samples of
one population is not 0 and is found by permuting the queries. The p of the three are Holm's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.arrays import Flags, Values
from harness.collection.columns import columns
from harness.collection.reading import BrokenInput, read_lines, suffix_of
from harness.collection.sample import shuffled
from harness.collection.tables import TABLE_ENDINGS, read_records
from harness.collection.texts import normalise
from harness.errors import ExitCode, HarnessError
from harness.statistics.families import holm
from harness.statistics.power import ALPHA
from harness.value import Value

FEWEST_LOGGED = 20  # queries of a log
_MOST = 5_000  # queries of a side that are compared
_PERMUTATIONS = 999
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
# What an English question begins with; one of any language may end with a question mark.
_ASKS = re.compile(
    r"(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|am|do|does|did|can|could|"
    r"should|would|will|may|must|has|have|had)\b"
)


class Feature(Value):
    """One property of queries, compared.

    Attributes:
        synthetic, log: its mean in each; None where it is no number.
        low, high: 95% interval of synthetic minus log; None where it is no number.
        distance: between the two distributions.
        by_chance: the distance that two samples of one population stay below in 95% of the cases;
            None where it is not needed.
        p: adjusted for the three properties.
    """

    synthetic: float | None = None
    log: float | None = None
    low: float | None = None
    high: float | None = None
    distance: float
    by_chance: float | None = None
    p: float


class Realism(Value):
    """Synthetic queries against those of a log.

    Attributes:
        name: of the training data.
        log: file.
        n, n_log: queries that were compared.
        length: in words, by the Kolmogorov-Smirnov statistic.
        questions: share of queries that are questions; the distance is the absolute difference.
        vocabulary: word frequencies, by the Jensen-Shannon divergence in bits, 0 to 1.
    """

    name: str
    log: str
    n: int
    n_log: int
    length: Feature
    questions: Feature
    vocabulary: Feature

    @property
    def sentence(self) -> str:
        """The same for people."""
        features = {
            "length": self.length,
            "share of questions": self.questions,
            "vocabulary": self.vocabulary,
        }
        differ = [name for name, each in features.items() if each.p < ALPHA]
        found = f"differ in {', '.join(differ)}" if differ else "do not differ significantly"
        one, share, words = self.length, self.questions, self.vocabulary
        points = (_signed(100 * (each or 0.0), 0) for each in (share.low, share.high))
        return (
            f"Synthetic queries of '{self.name}' (n={self.n:,}) and the log {self.log} "
            f"(n={self.n_log:,}) {found}: {one.synthetic:.1f} words against {one.log:.1f} "
            f"(difference [{_signed(one.low, 1)}, {_signed(one.high, 1)}], Kolmogorov-Smirnov "
            f"distance {one.distance:.2f}, p {_p(one.p)}); {share.synthetic:.0%} questions "
            f"against {share.log:.0%} (difference [{', '.join(points)}] points, p {_p(share.p)}); "
            f"Jensen-Shannon divergence of the words {words.distance:.2f} bits, up to "
            f"{words.by_chance:.2f} by chance (p {_p(words.p)}). 95% intervals; p by Holm."
        )


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _signed(value: float | None, digits: int) -> str:
    said = f"{value or 0.0:+.{digits}f}"
    return said.replace("-", "\u2212") if float(said) else f"{0:.{digits}f}"


class QueryLog(NamedTuple):
    """What people really asked.

    Attributes:
        file: its name, for people.
        queries: each as often as it was asked.
    """

    file: str
    queries: tuple[str, ...]


def read_log(path: Path) -> QueryLog:
    """Return the queries of a log.

    A table (CSV, TSV, Parquet, JSON lines) has a column of queries; any other file is a text with
    one query a line.

    Raises:
        HarnessError: exit code 3, it cannot be read, or holds too few queries.
    """
    broken = BrokenInput()
    if suffix_of(path) in TABLE_ENDINGS - {".txt"}:
        choose = columns(("query",), (), broken)
        records = read_records(path, broken, choose=choose)
        found = [str(each.values.get("query") or "").strip() for each in records]
    else:
        found = [line.strip() for _, line in read_lines(path, broken)]
    broken.raise_if_any()
    queries = tuple(query for query in found if query)
    if len(queries) < FEWEST_LOGGED:
        raise HarnessError(
            f"{path}: a log needs {FEWEST_LOGGED} queries or more, got {len(queries)}. Name a "
            "longer one, or remove log.",
            exit_code=ExitCode.DATA,
        )
    return QueryLog(path.name, queries)


def compare_with_log(name: str, synthetic: Sequence[str], log: QueryLog) -> Realism:
    """Return how far synthetic queries are from those of a log; a sample of each where many.

    Args:
        name: of the training data.
        synthetic: `FEWEST_LOGGED` or more.
        log: likewise.
    """
    one, two = (_sampled(each) for each in (synthetic, log.queries))
    length, questions, vocabulary = _lengths(one, two), _questions(one, two), _vocabulary(one, two)
    adjusted = holm(np.array([length.p, questions.p, vocabulary.p])).tolist()
    length, questions, vocabulary = (
        each.model_copy(update={"p": p})
        for each, p in zip((length, questions, vocabulary), adjusted, strict=True)
    )
    return Realism(
        name=name,
        log=log.file,
        n=len(one),
        n_log=len(two),
        length=length,
        questions=questions,
        vocabulary=vocabulary,
    )


def _sampled(queries: Sequence[str]) -> list[str]:
    """Return at most so many, by a hash of text and place; most logs repeat their queries."""
    if len(queries) <= _MOST:
        return list(queries)
    keys = shuffled([f"{place} {query}" for place, query in enumerate(queries)])
    return [key.partition(" ")[2] for key in keys[:_MOST]]


def _words(query: str) -> list[str]:
    return _WORD.findall(normalise(query))


def _lengths(one: Sequence[str], two: Sequence[str]) -> Feature:
    from scipy.stats import ks_2samp, ttest_ind

    a, b = (np.array([len(_words(query)) for query in each], dtype=float) for each in (one, two))
    low, high = float(a.mean() - b.mean()), float(a.mean() - b.mean())
    if a.std() or b.std():
        interval = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
        low, high = float(interval.low), float(interval.high)
    found = ks_2samp(a, b, method="asymp")
    return Feature(
        synthetic=float(a.mean()),
        log=float(b.mean()),
        low=low,
        high=high,
        distance=float(found.statistic),
        p=float(found.pvalue),
    )


def is_question(query: str) -> bool:
    """Tell whether a query has the form of a question.

    >>> is_question("how do magnets work"), is_question("magnets work"), is_question("magnete?")
    (True, False, True)
    """
    ends = ("?", "\uff1f", "\u061f")
    return query.rstrip().endswith(ends) or _ASKS.match(normalise(query)) is not None


def _questions(one: Sequence[str], two: Sequence[str]) -> Feature:
    from scipy.stats import binomtest, fisher_exact

    counts = [sum(map(is_question, each)) for each in (one, two)]
    sizes = [len(one), len(two)]
    a, b = (count / size for count, size in zip(counts, sizes, strict=True))
    ends = [
        binomtest(count, size).proportion_ci(method="wilson")
        for count, size in zip(counts, sizes, strict=True)
    ]
    below = np.hypot(a - ends[0].low, ends[1].high - b)  # Newcombe 1998, method 10
    above = np.hypot(ends[0].high - a, b - ends[1].low)
    table = [[count, size - count] for count, size in zip(counts, sizes, strict=True)]
    return Feature(
        synthetic=a,
        log=b,
        low=float(a - b - below),
        high=float(a - b + above),
        distance=abs(a - b),
        p=float(fisher_exact(table).pvalue),
    )


def _vocabulary(one: Sequence[str], two: Sequence[str]) -> Feature:
    counts = _counts([*one, *two])
    member = np.arange(len(one) + len(two)) < len(one)
    found = _divergence(counts, member)
    rng = np.random.default_rng(0)
    permuted = np.array(
        [_divergence(counts, rng.permutation(member)) for _ in range(_PERMUTATIONS)]
    )
    return Feature(
        distance=found,
        by_chance=float(np.quantile(permuted, 0.95)),
        p=float((1 + (permuted >= found).sum()) / (1 + _PERMUTATIONS)),
    )


def _counts(queries: Sequence[str]) -> Any:
    """Return how often each query has each word, a sparse matrix [n_queries, n_words]."""
    from scipy.sparse import csr_array

    ids: dict[str, int] = {}
    cells: Counter[tuple[int, int]] = Counter()
    for row, query in enumerate(queries):
        cells.update((row, ids.setdefault(word, len(ids))) for word in _words(query))
    rows, places = (np.array(each, dtype=int) for each in zip(*cells, strict=True))
    values = np.array(list(cells.values()), dtype=float)
    return csr_array((values, (rows, places)), shape=(len(queries), max(1, len(ids))))


def _divergence(counts: Any, member: Flags) -> float:
    """Return the Jensen-Shannon divergence of the words of two groups, in bits."""
    sums: list[Values] = [(each.astype(float) @ counts) for each in (member, ~member)]
    p, q = (each / max(1.0, each.sum()) for each in sums)
    middle = (p + q) / 2

    def entropy(share: Values) -> float:
        return float(-(share * np.log2(np.where(share > 0, share, 1.0))).sum())

    return entropy(middle) - (entropy(p) + entropy(q)) / 2
