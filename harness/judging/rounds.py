"""Rounds: a file of pairs that people grade a batch at a time, and what its grades say so far.

The file is a CSV in the order of judging. What it says is what its grades up to the first empty one
say. It outlives other candidates, settings and collections: what was graded for an earlier sample
counts as known, and a new sample begins, with draws of its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.arrays import Rows
from harness.collection import NO_GRADE, Collection, Judgements
from harness.collection.columns import columns
from harness.collection.reading import BrokenInput
from harness.collection.tables import read_records
from harness.diagnosis.files import UNJUDGED_COLUMNS
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.judging.design import Design, design
from harness.judging.estimates import (
    Sample,
    estimate_difference,
    judgements_needed,
    prefix_scores,
)
from harness.runs.metrics import Metric
from harness.runs.run import Run
from harness.statistics.verdicts import signed
from harness.value import Value

BATCH = 60  # pairs that are asked at a time
_KEY = 12  # characters that name a sample


class JudgedDifference(Value):
    """What the grades say of a candidate against the baseline on one collection.

    Attributes:
        difference, low, high: mean and 95% interval; None where too few queries are judged.
        settled: "better" or "worse", where looking after every doubling of the judgements still
            leaves at most 5% for a wrong sign of any candidate; else "open".
        judged: pairs whose grades count.
        n: queries.
        pairs: that can be judged.
        needed: judgements, in all, after which it is looked again and the sign shows with a power
            of 0.80, if the difference found is true; None where all pairs do not suffice, or where
            nothing is known yet.
    """

    candidate: str
    baseline: str
    collection: str
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    settled: str
    judged: int
    n: int
    pairs: int
    needed: int | None

    @property
    def sentence(self) -> str:
        """The same for people."""
        who = f"'{self.candidate}' against '{self.baseline}' on {self.collection}"
        source = f"n={self.n:,} queries, {self.judged:,} human grades"
        if self.difference is None or self.low is None or self.high is None:
            return f"{who}: too few queries judged to say anything ({source})."
        found = f"{signed(self.difference)} {self.metric} [{signed(self.low)}, {signed(self.high)}]"
        if self.settled != "open":
            return f"{who}: {self.settled}, {found} ({source})."
        if self.judged == self.pairs:
            what = "all pairs are judged: it takes more queries"
        elif self.needed is None:
            what = f"all {self.pairs:,} pairs may not settle it: it takes more queries"
        else:
            what = f"about {self.needed:,} of {self.pairs:,} judgements settle it"
        return f"{who}: open, {found} ({source}); {what}."


class _Graded(NamedTuple):
    query: str
    document: str
    grade: int
    sample: str


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
    """

    collection: Collection
    runs: Mapping[str, Run] = field(repr=False)
    pairs: Sequence[tuple[str, str]]
    metric: Metric
    plan: Design
    sample: str
    grades: Rows = field(repr=False)

    @cached_property
    def judged(self) -> int:
        """How many pairs have a grade, up to the first that has none."""
        open_ones = np.flatnonzero(self.grades[self.plan.order] == NO_GRADE)
        return int(open_ones[0]) if len(open_ones) else self.plan.n_pairs

    def next_as_csv(self, batch: int) -> str:
        """Return the next pairs to grade as CSV; nothing in it says who returned a document."""
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(UNJUDGED_COLUMNS)
        texts = self.collection
        queries, places = (each[self.judged :] for each in self.plan.order)
        is_open = self.grades[queries, places] == NO_GRADE
        for query, place in list(zip(queries[is_open], places[is_open], strict=True))[:batch]:
            document = self.plan.documents[query, place]
            ids = (texts.query_ids[query], texts.document_ids[document])
            writer.writerow((*ids, "", texts.queries[query], texts.documents[document], self._why))
        return sink.getvalue()

    @property
    def _why(self) -> str:
        return f"Sample {self.sample}. Grade from the top: 0 not relevant, 1 to 3 relevant."

    def differences(self) -> list[JudgedDifference]:
        """Return what the grades say of every comparison."""
        queries, places = self.plan.order
        counted = np.full(self.grades.shape, NO_GRADE, dtype=np.int32)
        first = queries[: self.judged], places[: self.judged]
        counted[first] = self.grades[first]
        names = sorted({name for pair in self.pairs for name in pair})
        runs = [self.runs[name] for name in names]
        scores = prefix_scores(self.plan, runs, self.metric, counted, fill=np.zeros_like(counted))
        return [
            self._difference(
                pair, scores[..., names.index(pair[1])] - scores[..., names.index(pair[0])]
            )
            for pair in self.pairs
        ]

    def _difference(self, pair: tuple[str, str], prefix: np.ndarray) -> JudgedDifference:
        found = estimate_difference(Sample.after(self.plan, self.judged), prefix)
        looks = scheduled_looks(self.plan.n_pairs)
        settled, needed, is_known = "open", None, bool(np.isfinite(found.se))
        done = [count for count in looks if count <= self.judged]
        if done:
            # The same error for every look and every comparison (Bonferroni).
            confidence = 1 - 0.05 / (len(looks) * len(self.pairs))
            sample = Sample.after(self.plan, done[-1])
            strict = estimate_difference(sample, prefix, confidence=confidence)
            settled = "better" if strict.low > 0 else "worse" if strict.high < 0 else "open"
        if is_known and found.difference:
            enough = judgements_needed(self.plan, found.difference, count=self.judged, se=found.se)
            after = [look for look in looks if look > self.judged and look >= (enough or np.inf)]
            needed = after[0] if after else None
        return JudgedDifference(
            candidate=pair[1],
            baseline=pair[0],
            collection=self.collection.name,
            metric=str(self.metric),
            difference=found.difference if is_known else None,
            low=found.low if is_known else None,
            high=found.high if is_known else None,
            settled=settled,
            judged=self.judged,
            n=len(self.collection.queries),
            pairs=self.plan.n_pairs,
            needed=needed,
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
) -> Round:
    """Return the pairs to judge of a collection, with the grades that a file has.

    Args:
        runs: of the baseline and every candidate, by name.
        collection: whose judgements are known; what they do not name is to be judged.
        metric: that decides.
        baseline: what the others are compared with.
        seed: of the suite.
        file: of an earlier round, if there is one.

    Raises:
        HarnessError: exit code 3, the file is broken; exit code 2, the metric has no ranks.
    """
    if collection.clusters is not None:
        raise HarnessError(
            f"collection '{collection.name}': its queries form clusters, and estimates from a "
            "sample of judgements take each query by itself. Judge it without clusters.",
            exit_code=ExitCode.USAGE,
        )
    pairs = [(baseline, name) for name in runs if name != baseline]
    graded = read_grades(file, collection)
    tops = [digest(name, run.documents[:, : metric.cutoff]) for name, run in sorted(runs.items())]
    base = digest("judging", collection.key, *tops, baseline, str(metric), seed)
    last = graded[-1].sample if graded else ""
    begun = next((place for place, each in enumerate(graded) if each.sample == last), 0)
    if not graded or _sample(base, graded[:begun]) != last:
        begun = len(graded)
    before, now = graded[:begun], graded[begun:]
    sample = _sample(base, before)
    rng = np.random.default_rng(int(digest("draws", sample), 16))
    plan = design(runs, pairs, metric, _known(collection, before), rng=rng)
    grades = _places(collection, now).grades_of(plan.documents)
    return Round(collection, runs, pairs, metric, plan, sample, grades)


def _sample(base: str, before: Sequence[_Graded]) -> str:
    rows = [f"{each.query}\t{each.document}\t{each.grade}" for each in before]
    return digest("sample", base, *rows)[:_KEY]


def _places(collection: Collection, graded: Sequence[_Graded]) -> Judgements:
    queries = {key: row for row, key in enumerate(collection.query_ids)}
    documents = {key: row for row, key in enumerate(collection.document_ids)}
    rows = sorted({(queries[e.query], documents[e.document]): e.grade for e in graded}.items())
    found = np.array([(*pair, grade) for pair, grade in rows], dtype=np.int32).reshape(-1, 3)
    return Judgements(found[:, 0], found[:, 1], found[:, 2])


def _known(collection: Collection, graded: Sequence[_Graded]) -> Judgements:
    """Return the judgements of a collection and the grades of earlier samples, which come first."""
    mine, theirs = _places(collection, graded), collection.judgements
    one = mine.grades_of(theirs.documents[:, None], queries=theirs.queries)[:, 0]
    kept = one == NO_GRADE
    parts = [
        np.concatenate(each)
        for each in (
            (mine.queries, theirs.queries[kept]),
            (mine.documents, theirs.documents[kept]),
            (mine.grades, theirs.grades[kept]),
        )
    ]
    order = np.argsort(parts[0], kind="stable")
    return Judgements(*(each[order] for each in parts))


def read_grades(file: Path, collection: Collection) -> list[_Graded]:
    """Return the rows of a file that have a grade, in their order; none where there is no file.

    Raises:
        HarnessError: exit code 3, with every row that is wrong.
    """
    if not file.exists():
        return []
    queries, documents = set(collection.query_ids), set(collection.document_ids)
    broken = BrokenInput()
    found: list[_Graded] = []
    choose = columns(("query_id", "document_id", "grade", "why"), (), broken)
    for record in read_records(file, broken, choose=choose):
        query, document, grade, why = (
            str(record.values.get(name) or "").strip()
            for name in ("query_id", "document_id", "grade", "why")
        )
        if grade and not (grade.isascii() and grade.isdigit()):
            what = f"grade {grade!r} is not a whole number. Write 0 to 3, or nothing."
            broken.add(file, what, line=record.line, cause="grade")
        elif grade and query in queries and document in documents:
            sample = why.removeprefix("Sample ").partition(".")[0]
            found.append(_Graded(query, document, int(grade), sample))
    broken.raise_if_any()
    return found
