"""Judges: who gave which grade, and how far they agree.

Beside the file of grades `COLLECTION.csv`, in which the first grade of a pair counts, lies
`COLLECTION.judges.csv` with the answer of every judge: query_id, document_id, grade, judge.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np

from harness.arrays import Integers, Values
from harness.errors import ExitCode, HarnessError
from harness.judging.grades import HIGHEST
from harness.statistics.distributions import t_quantile
from harness.statistics.power import CONFIDENCE
from harness.value import Value

ANSWER_COLUMNS = ("query_id", "document_id", "grade", "judge")
FEWEST_BOTH = 10  # queries with a pair that two judges graded, from which they are compared

_Answers = Mapping[tuple[str, str], str]  # by (query, document): a grade, "skip" or "bad query"


class Kappa(Value):
    """How far two judges agree on the pairs that both graded.

    Attributes:
        judges: their names.
        pairs: that both graded.
        kappa: Cohen's with quadratic weights (Cohen 1968): 1 where they agree on all, 0 where they
            agree as often as by chance.
        low, high: 95% interval by the jackknife over queries.
    """

    judges: tuple[str, str]
    pairs: int
    kappa: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """The same for people."""
        return (
            f"{self.judges[0]} and {self.judges[1]}: weighted kappa {self.kappa:.2f} "
            f"[{self.low:.2f}, {self.high:.2f}] on {self.pairs:,} pairs"
        )


def judges_file(file: Path) -> Path:
    """Return where the answers of all judges lie, beside a file of grades."""
    return file.with_suffix(".judges.csv")


def read_judges(file: Path) -> dict[str, dict[tuple[str, str], str]]:
    """Return the answers of each judge beside a file of grades; the last one of a pair counts.

    Raises:
        HarnessError: exit code 3, the file is no such table.
    """
    path = judges_file(file)
    if not path.is_file():
        return {}
    found: dict[str, dict[tuple[str, str], str]] = {}
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle)
        if not set(ANSWER_COLUMNS) <= set(reader.fieldnames or ()):
            raise HarnessError(
                f"{path}: needs the columns {', '.join(ANSWER_COLUMNS)}, got "
                f"{', '.join(reader.fieldnames or ()) or 'none'}. Correct or remove it.",
                exit_code=ExitCode.DATA,
            )
        for row in reader:
            said = found.setdefault(row["judge"], {})
            said[row["query_id"], row["document_id"]] = row["grade"]
    return found


def agreements(judges: Mapping[str, _Answers]) -> Iterator[Kappa]:
    """Yield how far every two judges agree who graded pairs of 10 queries or more alike."""
    for one, two in combinations(sorted(judges), 2):
        both = [
            pair
            for pair in judges[one]
            if judges[one][pair].isdigit() and judges[two].get(pair, "").isdigit()
        ]
        queries = np.unique([query for query, _ in both], return_inverse=True)[1]
        if len(np.unique(queries)) < FEWEST_BOTH:
            continue
        grades = np.array([[int(judges[each][pair]) for each in (one, two)] for pair in both])
        kappa, low, high = _with_interval(np.minimum(grades, HIGHEST), queries)
        yield Kappa(judges=(one, two), pairs=len(both), kappa=kappa, low=low, high=high)


def weighted_kappa(grades: Integers) -> float:
    """Return Cohen's kappa with quadratic weights; 1 where both always give the same grade.

    >>> weighted_kappa(np.array([[0, 0], [1, 1], [0, 1], [1, 0]]))
    0.0

    Args:
        grades: int [n_pairs, 2], of two judges.
    """
    size = int(grades.max(initial=0)) + 1
    table = np.zeros((size, size))
    np.add.at(table, (grades[:, 0], grades[:, 1]), 1 / len(grades))
    apart: Values = np.square(np.subtract.outer(np.arange(size), np.arange(size)))
    by_chance = float((apart * np.outer(table.sum(axis=1), table.sum(axis=0))).sum())
    return 1 - float((apart * table).sum()) / by_chance if by_chance else 1.0


def _with_interval(grades: Integers, queries: Integers) -> tuple[float, float, float]:
    kappa, count = weighted_kappa(grades), int(queries.max()) + 1
    without = np.array([weighted_kappa(grades[queries != query]) for query in range(count)])
    se = float(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()))
    half = t_quantile((1 + CONFIDENCE) / 2, count - 1) * se
    return kappa, max(-1.0, kappa - half), min(1.0, kappa + half)
