"""Rounds: a file of pairs that people grade a batch at a time, and what its grades say so far.

The file is a CSV in the order of judging. What it says is what its grades up to the first empty one
say. It outlives other candidates, settings and collections: what was graded for an earlier sample
counts as known, and a new sample begins, with draws of its own. A model's grades lie in the store.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from harness.arrays import Counts, Flags, Indices, Rows, Values
from harness.collection import NO_GRADE, Collection, Judgements
from harness.collection.judged import BAD_QUERY, SKIP
from harness.diagnosis.files import UNJUDGED_COLUMNS
from harness.hashing import digest
from harness.judging import BATCH
from harness.judging.bias import CandidateBias, GradeBias, bias_by_candidate, bias_by_grade
from harness.judging.design import Design, design
from harness.judging.estimates import (
    Estimated,
    Sample,
    estimate_difference,
    judgements_needed,
    prefix_scores,
)
from harness.judging.grades import Graded, as_judgements, read_grades, with_judgements
from harness.judging.values import JudgedDifference, JudgedOrder, ModelAlone, source_of
from harness.runs.metrics import Metric
from harness.runs.run import Run

_KEY = 12  # characters that name a sample

GradesOf = Callable[
    [Rows], Rows
]  # of query and document rows [n, 2], by a model; `NO_GRADE` for none


@dataclass(frozen=True, eq=False)
class Round:
    """The pairs of a collection that are judged, and the grades of them; `open_round` makes it.

    Attributes:
        collection: of the queries.
        runs: of all candidates by name.
        pairs: (baseline, candidate) of every comparison.
        metric: that decides.
        plan: which pairs are judged, in which order.
        sample: names the draws of the plan.
        grades: int32 [n_queries, width], in the places of the pools; `NO_GRADE` where there is
            none.
        skipped: bool [n_queries, width], pairs that a person could not grade.
        bad: bool [n_queries], queries that a person found bad.
        earlier: int64 [n_queries], pairs that people graded for earlier samples, which are known.
        model: as `grades`, those of a model; None without one.
    """

    collection: Collection
    runs: Mapping[str, Run] = field(repr=False)
    pairs: Sequence[tuple[str, str]]
    metric: Metric
    plan: Design
    sample: str
    grades: Rows = field(repr=False)
    skipped: Flags = field(repr=False)
    bad: Flags = field(repr=False)
    earlier: Counts = field(repr=False)
    model: Rows | None = field(default=None, repr=False)

    @cached_property
    def judged(self) -> int:
        """How many pairs are answered, up to the first that is not."""
        is_open = np.flatnonzero(~self._is_answered[self.plan.order])
        return int(is_open[0]) if len(is_open) else self.plan.n_pairs

    @property
    def n_queries(self) -> int:
        """Queries without the bad ones."""
        return int((~self.bad).sum())

    @property
    def model_grades(self) -> int:
        """Pairs with a grade of the model."""
        return 0 if self.model is None else int((self.model != NO_GRADE).sum())

    @cached_property
    def _is_answered(self) -> Flags:
        answered: Flags = (self.grades != NO_GRADE) | self.skipped | self.bad[:, None]
        return answered

    @cached_property
    def _counted(self) -> tuple[Rows, Flags]:
        """The grades that count, and where one was skipped: both among the first that are judged.

        What is skipped has the model's grade, else 0.
        """
        counted: Rows = np.full(self.grades.shape, NO_GRADE, dtype=np.int32)
        queries, places = (each[: self.judged] for each in self.plan.order)
        counted[queries, places] = self.grades[queries, places]
        skipped = np.zeros(counted.shape, dtype=np.bool_)
        skipped[queries, places] = (
            self.skipped[queries, places] & (counted == NO_GRADE)[queries, places]
        )
        counted[skipped] = self._fill[skipped]
        return counted, skipped

    @property
    def _fill(self) -> Rows:
        """The model's grades, 0 where there is none."""
        model = np.zeros_like(self.grades) if self.model is None else self.model
        return np.maximum(model, 0)

    @property
    def human_grades(self) -> int:
        """Pairs that people graded, of those that count."""
        return int(self._graded_by_people.sum())

    @property
    def _graded_by_people(self) -> Counts:
        """Pairs of each query that people graded and that count, int64 [n_queries]."""
        counted, skipped = self._counted
        now: Counts = ((counted != NO_GRADE) & ~skipped).sum(axis=1)
        return np.where(self.bad, 0, now + self.earlier)

    @property
    def source(self) -> str:
        """How many queries and grades the estimates rest on."""
        return self.source_for(np.arange(len(self.bad)))

    def source_for(self, rows: Indices) -> str:
        """Return how many queries and grades the estimates of some queries rest on."""
        return source_of(
            int((~self.bad[rows]).sum()),
            int(self._graded_by_people[rows].sum()),
            model_grades=0 if self.model is None else int((self.model[rows] != NO_GRADE).sum()),
            skipped=int(self._counted[1][rows].sum()),
            bad_queries=int(self.bad[rows].sum()),
        )

    @cached_property
    def by_people(self) -> Judgements:
        """The collection's judgements, with all that people graded before them."""
        counted, skipped = self._counted
        queries, places = np.nonzero((counted != NO_GRADE) & ~skipped & ~self.bad[:, None])
        parts = (queries, self.plan.documents[queries, places], counted[queries, places])
        graded = Judgements(*(each.astype(np.int32) for each in parts))
        return with_judgements(replace(self.collection, judgements=self.plan.known), graded)

    def open_pairs(self) -> Rows:
        """Return query and document rows of all pairs, in the order of judging, int32 [n, 2]."""
        queries, places = self.plan.order
        documents = self.plan.documents[queries, places]
        return np.stack([queries, documents], axis=1).astype(np.int32)

    def next_as_csv(self, batch: int) -> str:
        """Return the next pairs to grade as CSV; nothing in it says who returned a document."""
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(UNJUDGED_COLUMNS)
        texts = self.collection
        queries, places = (each[self.judged :] for each in self.plan.order)
        is_open = ~self._is_answered[queries, places]
        for query, place in list(zip(queries[is_open], places[is_open], strict=True))[:batch]:
            document = self.plan.documents[query, place]
            ids = (texts.query_ids[query], texts.document_ids[document])
            writer.writerow((*ids, "", texts.queries[query], texts.documents[document], self._why))
        return sink.getvalue()

    @property
    def _why(self) -> str:
        return (
            f"Sample {self.sample}. Grade from the top: 0 not relevant, 1 to 3 relevant; "
            f"or '{SKIP}', '{BAD_QUERY}'."
        )

    @cached_property
    def _prefixes(self) -> dict[bool, tuple[list[str], Values]]:
        """Names and metric of the candidates as more documents have human grades.

        Of what has none as irrelevant (False), and by the model's grades (True): float64
        [n_queries, width + 1, n_candidates].
        """
        names = sorted(self.runs)
        runs = [self.runs[name] for name in names]
        counted, _ = self._counted
        fills = {False: np.zeros_like(counted)}
        if self.model_grades:
            fills[True] = self._fill
        return {
            by_model: (names, prefix_scores(self.plan, runs, self.metric, counted, fill=fill))
            for by_model, fill in fills.items()
        }

    def estimated(
        self,
        pair: tuple[str | None, str],
        *,
        count: int | None = None,
        confidence: float = 0.95,
        rows: Indices | None = None,
    ) -> Estimated:
        """Return the difference of a pair by the grades that count.

        Args:
            pair: reference and candidate; None as the reference for the candidate's own score. In
                a query for which all candidates return the same, no document is judged: its score
                may be anything from 0 to 1.
            count: of the first judgements that are taken; None for all.
            confidence: of the interval.
            rows: of the queries, without bad ones; None for all of these.
        """
        rows = np.flatnonzero(~self.bad) if rows is None else rows
        sample = Sample.after(self.plan, self.judged if count is None else count).of(rows)
        clusters = None if self.collection.clusters is None else self.collection.clusters[rows]
        ends = []
        for unknown in (0.0, 1.0) if pair[0] is None else (0.0,):
            human, *model = (
                self._values(pair, unknown=unknown, by_model=each)[rows] for each in self._prefixes
            )
            ends.append(
                estimate_difference(
                    sample,
                    human,
                    model[0] if model else None,
                    confidence=confidence,
                    clusters=clusters,
                )
            )
        mean = (ends[0].difference + ends[-1].difference) / 2
        return replace(ends[0], difference=mean, high=ends[-1].high)

    def by_model_alone(
        self,
        pair: tuple[str | None, str],
        *,
        confidence: float = 0.95,
        rows: Indices | None = None,
    ) -> Estimated | None:
        """Return the difference if the model's grades were true; None where it gave none."""
        if not self.model_grades:
            return None
        rows = np.flatnonzero(~self.bad) if rows is None else rows
        # As if all were judged: there is no step, and each query is its own estimate.
        sample = Sample.after(self.plan, self.plan.n_pairs).of(rows)
        names, scores = self._prefixes[True]
        values = scores[rows, :1, names.index(pair[1])]
        if pair[0] is not None:
            values = values - scores[rows, :1, names.index(pair[0])]
        unjudged = np.repeat(values, self.grades.shape[1] + 1, axis=1)
        clusters = None if self.collection.clusters is None else self.collection.clusters[rows]
        return estimate_difference(sample, unjudged, confidence=confidence, clusters=clusters)

    def _values(self, pair: tuple[str | None, str], *, unknown: float, by_model: bool) -> Values:
        """Return f(0), f(1), ... of a pair, as of `estimate_difference`, of all queries."""
        names, scores = self._prefixes[by_model]
        found: Values = scores[..., names.index(pair[1])]
        if pair[0] is not None:
            return found - scores[..., names.index(pair[0])]
        never = (self.plan.documents >= 0) & ~(self.plan.sizes > 0).any(axis=1, keepdims=True)
        return np.where(never.any(axis=1, keepdims=True), unknown, found)

    def differences(self) -> list[JudgedDifference]:
        """Return what the grades say of every comparison."""
        return [self._judged_difference(pair) for pair in self.pairs]

    def order(self) -> JudgedOrder | None:
        """Return what it takes to order all candidates, baseline or not; None for two of them.

        None, too, where too few queries are judged to say anything.
        """
        pairs = list(combinations(self.runs, 2))
        found = [self.estimated(pair) for pair in pairs]
        if len(pairs) < 2 or not all(np.isfinite(each.se) for each in found):
            return None
        is_open = [self._settled(pair, of=len(pairs)) == "open" for pair in pairs]
        needed = [self._needed(each) for each, left in zip(found, is_open, strict=True) if left]
        known = [each for each in needed if each is not None]
        earlier = int(self.earlier[~self.bad].sum())
        return JudgedOrder(
            collection=self.collection.name,
            candidates=len(self.runs),
            comparisons=len(pairs),
            settled=len(pairs) - len(needed),
            pairs=self.plan.n_pairs + earlier,
            needed=max(known) + earlier if known and len(known) == len(needed) else None,
        )

    def _settled(self, pair: tuple[str, str], *, of: int) -> str:
        """Return what is settled of one of so many comparisons: "better", "worse" or "open"."""
        looks = scheduled_looks(self.plan.n_pairs)
        done = [count for count in looks if count <= self.judged]
        if not done:
            return "open"
        # The same error for every look and every comparison (Bonferroni).
        confidence = 1 - 0.05 / (len(looks) * of)
        strict = self.estimated(pair, count=done[-1], confidence=confidence)
        return "better" if strict.low > 0 else "worse" if strict.high < 0 else "open"

    def _judged_difference(self, pair: tuple[str, str]) -> JudgedDifference:
        found, alone = self.estimated(pair), self.by_model_alone(pair)
        is_known = bool(np.isfinite(found.se))
        settled = self._settled(pair, of=len(self.pairs))
        needed = self._needed(found) if is_known else None
        earlier = int(self.earlier[~self.bad].sum())
        return JudgedDifference(
            candidate=pair[1],
            baseline=pair[0],
            collection=self.collection.name,
            metric=str(self.metric),
            difference=found.difference if is_known else None,
            low=found.low if is_known else None,
            high=found.high if is_known else None,
            settled=settled,
            judged=self.human_grades,
            n=self.n_queries,
            pairs=self.plan.n_pairs + earlier,
            needed=None if needed is None else needed + earlier,
            model_grades=self.model_grades,
            weight=found.weight if is_known else 0.0,
            model_alone=None
            if alone is None or not np.isfinite(alone.se)
            else ModelAlone(difference=alone.difference, low=alone.low, high=alone.high),
            skipped=int(self._counted[1].sum()),
            bad_queries=int(self.bad.sum()),
            known=len(self.collection.judgements.grades),
        )

    def _needed(self, found: Estimated) -> int | None:
        """Return the look at which the sign of the difference found is likely to show."""
        if not found.difference:
            return None
        symmetric = min(found.high - found.difference, found.difference - found.low)
        towards = found.difference - found.low if found.difference > 0 else found.high
        towards -= 0 if found.difference > 0 else found.difference
        enough = judgements_needed(
            self.plan,
            found.difference,
            count=self.judged,
            se=found.se,
            added=max(0.0, towards - symmetric),
        )
        looks = [look for look in scheduled_looks(self.plan.n_pairs) if look > self.judged]
        return next((look for look in looks if enough is not None and look >= enough), None)

    def biases(self) -> tuple[list[GradeBias], list[CandidateBias]]:
        """Return the bias of the model's grades, by the grade of people and by candidate."""
        if self.model is None or not self.model_grades or not self.human_grades:
            return [], []
        counted, skipped = self._counted
        sample = Sample.after(self.plan, self.judged)
        people = np.where(skipped | self.bad[:, None], NO_GRADE, counted)
        names, scores = self._prefixes[True]
        rows, clusters = ~self.bad, self.collection.clusters
        group = None if clusters is None else clusters[rows]
        return (
            bias_by_grade(sample.chances, people, self.model, clusters),
            bias_by_candidate(sample.of(rows), names, scores[rows], group),
        )


def scheduled_looks(n_pairs: int) -> list[int]:
    """Return the counts of judgements at which an answer may be settled: a batch, and doublings.

    >>> scheduled_looks(300)
    [60, 120, 240, 300]
    """
    looks = [BATCH]
    while looks[-1] * 2 < n_pairs:
        looks.append(looks[-1] * 2)
    return [*(count for count in looks if count < n_pairs), n_pairs]


def open_round(
    runs: Mapping[str, Run],
    collection: Collection,
    metric: Metric,
    *,
    baseline: str,
    seed: int,
    file: Path,
    model: GradesOf | None = None,
) -> Round:
    """Return the pairs to judge of a collection, with the grades that a file has.

    Where a model has graded all pairs before the first person did, its grades choose the pairs,
    too. A sample that has begun stays as it began.

    Args:
        runs: of the baseline and every candidate, by name.
        collection: whose judgements are known; what they do not name is to be judged.
        metric: that decides.
        baseline: what the others are compared with.
        seed: of the suite.
        file: of an earlier round, if there is one.
        model: gives the grades of a model; None without one.

    Raises:
        HarnessError: exit code 3, the file is broken; exit code 2, the metric has no ranks.
    """
    pairs = [(baseline, name) for name in runs if name != baseline]
    graded = read_grades(file, collection)
    tops = [digest(name, run.documents[:, : metric.cutoff]) for name, run in sorted(runs.items())]
    base = digest("judging", collection.key, *tops, baseline, str(metric), seed)
    last = graded[-1].sample if graded else ""
    begun = next((place for place, each in enumerate(graded) if each.sample == last), 0)

    def planned(before: Sequence[Graded], by: Judgements | None) -> tuple[str, Design]:
        sample = _sample(base, before, by)
        known = with_judgements(collection, as_judgements(collection, before))
        rng = np.random.default_rng(int(digest("draws", sample), 16))
        compared: Sequence[tuple[str | None, str]] = pairs or [(None, baseline)]
        return sample, design(runs, compared, metric, known, rng=rng, model_grades=by)

    def said(plan: Design) -> Judgements | None:
        """Return the model's grades of a plan's pairs."""
        if model is None:
            return None
        queries, places = np.nonzero(plan.documents >= 0)
        documents = plan.documents[queries, places]
        found = model(np.stack([queries, documents], axis=1).astype(np.int32))
        kept = found != NO_GRADE
        parts = (queries[kept], documents[kept], found[kept])
        return Judgements(*(each.astype(np.int32) for each in parts))

    if graded:
        sample, plan = planned(graded[:begun], None)
        by = said(plan)
        if sample != last and by is not None:
            sample, plan = planned(graded[:begun], by)
    if not graded or sample != last:
        begun = len(graded)
        sample, plan = planned(graded, None)
        by = said(plan)
        if by is not None and len(by.grades) == (plan.documents >= 0).sum() > 0:
            sample, plan = planned(graded, by)
    now = graded[begun:]
    rows = {key: row for row, key in enumerate(collection.query_ids)}
    bad = np.zeros(len(collection.queries), dtype=np.bool_)
    bad[[rows[each.query] for each in graded if each.bad]] = True
    earlier = np.bincount(
        as_judgements(collection, graded[:begun]).queries, minlength=len(collection.queries)
    )
    skips = [each._replace(grade=1) for each in now if each.grade is None and not each.bad]
    return Round(
        collection,
        runs,
        pairs,
        metric,
        plan,
        sample,
        as_judgements(collection, now).grades_of(plan.documents),
        as_judgements(collection, skips).grades_of(plan.documents) != NO_GRADE,
        bad,
        earlier,
        None if by is None else by.grades_of(plan.documents),
    )


def _sample(base: str, before: Sequence[Graded], by: Judgements | None) -> str:
    rows = [f"{each.query}\t{each.document}\t{each.grade}" for each in before]
    model = [] if by is None else [by.queries, by.documents, by.grades]
    return digest("sample", base, *rows, *model)[:_KEY]
