"""Bounds: how far a score, and the sign of a difference, depend on what nobody judged.

Every query's unjudged documents can be relevant or not. With j of a ranking's unjudged documents
relevant, whatever the metric, its best case is that the first j of them are and its worst case that
the last j are; so few scenarios, each scored by the ordinary metrics, span the range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Values
from harness.collection import NO_GRADE, Collection, Judgements
from harness.diagnosis.values import Reversal, ScoreBounds
from harness.runs.context import document_tokens
from harness.runs.metrics import Metric, score
from harness.runs.run import Run

_EACH_UP_TO = 10  # then every doubling: the metrics with large cutoffs only ever gain or only lose
_CONTEXT_DEPTH = 20  # documents that a prompt usually holds


@dataclass(frozen=True)
class Unknown:
    """The unjudged documents among the first of every run.

    Args:
        runs: by candidate.
        collection: whose judgements.
        metric: that decides.
    """

    runs: Mapping[str, Run]
    collection: Collection
    metric: Metric

    @property
    def depth(self) -> int:
        """How many documents of a ranking the metric looks at."""
        return _CONTEXT_DEPTH if self.metric.in_tokens else self.metric.cutoff

    @cached_property
    def unjudged(self) -> Mapping[str, Rows]:
        """The first documents of every run, int32 [q, depth]; -1 where there is a judgement."""
        tops = {name: run.documents[:, : self.depth] for name, run in self.runs.items()}
        grades_of = self.collection.judgements.grades_of
        return {name: np.where(grades_of(top) == NO_GRADE, top, -1) for name, top in tops.items()}

    def bounds(self) -> list[ScoreBounds]:
        """Return the range of every candidate's mean."""
        found = []
        for name in self.runs:
            mine, others = _front(self.unjudged[name]), self._of_others(name)
            reverse = _front(mine[:, ::-1])
            low = high = as_judged = self.with_relevant(name, self._nothing)
            for count in _counts(mine.shape[1]):
                high = np.maximum(high, self.with_relevant(name, mine[:, :count]))
            for count in (0, *_counts(mine.shape[1])):
                extra = np.hstack([others, reverse[:, :count]])
                low = np.minimum(low, self.with_relevant(name, extra))
            found.append(
                ScoreBounds(
                    candidate=name,
                    mean=float(as_judged.mean()),
                    low=float(low.mean()),
                    high=float(high.mean()),
                )
            )
        return found

    def reversal(self, one: str, other: str) -> Reversal | None:
        """Return what turns the sign of the difference of two candidates; None if nothing can.

        Each query offers the documents that speak for the candidate that is behind, those that it
        ranks furthest above the other one first; the offers that move the difference most per
        document are taken until it is gone. Of a metric that looks at more, ten a query are tried.
        """
        names = (one, other)
        means = {name: float(self.with_relevant(name, self._nothing).mean()) for name in names}
        better, worse = sorted(names, key=lambda name: -means[name])
        difference = means[better] - means[worse]
        if difference <= 0:
            return None
        offered = self._offers(worse, better)
        left = np.stack(
            [
                self.with_relevant(better, extra) - self.with_relevant(worse, extra)
                for count in range(min(offered.shape[1], _EACH_UP_TO) + 1)
                for extra in [offered[:, :count]]
            ],
            axis=1,
        )
        moved, documents = _cheapest_first(left[:, :1] - left)
        reached = np.flatnonzero(np.cumsum(moved) >= difference * len(left) * (1 - 1e-12))
        if not len(reached):
            return None
        count = int(np.cumsum(documents)[reached[0]])
        unjudged = int((offered >= 0).sum())
        return Reversal(
            better=better,
            worse=worse,
            difference=difference,
            unjudged=unjudged,
            needed=count,
            sentence=(
                f"'{better}' leads '{worse}' by {difference:.3f} {self.metric}; the lead vanishes "
                f"if {count:,} of the {unjudged:,} unjudged results (a query and a document) that "
                f"'{worse}' ranks higher are relevant ({count / unjudged:.1%}) and no others."
            ),
        )

    def _of_others(self, name: str) -> Rows:
        """Return the unjudged documents that only other candidates return, int32 [q, m]."""
        parts = [rows for other, rows in self.unjudged.items() if other != name]
        theirs = np.hstack([self._nothing, *parts])
        theirs = np.where(np.isfinite(self._ranks(name, theirs)), -1, theirs)
        ordered = np.sort(theirs, axis=1)
        again = np.zeros(ordered.shape, dtype=bool)
        again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        return _front(np.where(again, -1, ordered))

    def _offers(self, behind: str, ahead: str) -> Rows:
        """Return the unjudged documents that `behind` ranks above `ahead`, best first, int32."""
        offered = self.unjudged[behind]
        lead = 1 / np.log2(np.arange(offered.shape[1]) + 2)
        lead = lead - 1 / np.log2(self._ranks(ahead, offered) + 1)
        speaks = (offered >= 0) & (lead > 0)
        order = np.argsort(np.where(speaks, -lead, 1), axis=1, kind="stable")
        rows: Rows = np.take_along_axis(np.where(speaks, offered, -1), order, axis=1)
        return rows

    def _ranks(self, name: str, documents: Rows) -> Values:
        """Return the rank of documents among the first of a run; infinity where they are not."""
        ranks = self.runs[name].ranks_of(documents)
        return np.where((ranks > 0) & (ranks <= self.depth), ranks, np.inf)

    @property
    def _nothing(self) -> Rows:
        return np.full((len(self.collection.queries), 0), -1, dtype=np.int32)

    def with_relevant(self, name: str, extra: Rows) -> Values:
        """Return the metric of every query with some more documents of the highest grade.

        Args:
            name: of the candidate.
            extra: int32 [n_queries, m], rows of documents; -1 for none.
        """
        texts, judged = self.collection, self.collection.judgements
        queries, columns = np.nonzero(extra >= 0)
        if len(queries):
            grade = max(1, int(judged.grades.max(initial=1)))
            order = np.argsort(np.concatenate([judged.queries, queries]), kind="stable")
            parts = (
                (judged.queries, queries),
                (judged.documents, extra[queries, columns]),
                (judged.grades, np.full(len(queries), grade)),
            )
            judged = Judgements(*(np.concatenate(part)[order].astype(np.int32) for part in parts))
        values = score(
            self.runs[name],
            judged,
            [self.metric],
            n_queries=len(texts.queries),
            tokens=document_tokens(texts.documents) if self.metric.in_tokens else None,
        )
        return values.values[str(self.metric)]


def _counts(width: int) -> Sequence[int]:
    """Return how many documents each scenario takes as relevant."""
    counts = list(range(1, min(width, _EACH_UP_TO) + 1))
    while counts and counts[-1] < width:
        counts.append(min(width, 2 * counts[-1]))
    return counts


def _front(rows: Rows) -> Rows:
    """Return each row with its documents before its empty places, in their order."""
    order = np.argsort(rows < 0, axis=1, kind="stable")
    moved: Rows = np.take_along_axis(rows, order, axis=1)
    return moved[:, : int((moved >= 0).sum(axis=1).max(initial=0))]


def _cheapest_first(gains: Values) -> tuple[Values, npt.NDArray[np.int64]]:
    """Return steps (gain, documents) of all queries, the most gain per document first.

    The steps of a query are those of the upper concave hull of its gains, so that taking steps in
    this order never takes a later one of a query before an earlier one.
    """
    steps: list[tuple[float, int]] = []
    for values in gains:
        place = 0
        while place < len(values) - 1:
            rates = (values[place + 1 :] - values[place]) / np.arange(1, len(values) - place)
            best = int(rates.argmax())
            if rates[best] <= 0:
                break
            steps.append((float(values[place + 1 + best] - values[place]), best + 1))
            place += best + 1
    steps.sort(key=lambda step: -step[0] / step[1])
    moved = np.array([gain for gain, _ in steps])
    return moved, np.array([count for _, count in steps], dtype=np.int64)
