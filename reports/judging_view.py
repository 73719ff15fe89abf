"""Grades as the reports show them: what they settle, and the bias of a model that grades too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from reports import formats, tables
from reports.tables import Table

if TYPE_CHECKING:
    from harness.judging.judged import JudgedSuite
    from harness.judging.values import JudgedDifference, ModelGrades

TITLE = "What the grades show so far"
NOTE = (
    "Estimated from grades of a part of the pairs, chosen with known chances. What is not graded "
    "counts neither as relevant nor as irrelevant. A model's grades alone settle nothing."
)
BIAS_NOTE = (
    "By candidate: its metric by the model's grades alone minus that by people's, with 95% "
    "interval."
)


def without_scores(judged: JudgedSuite) -> str:
    """Return why a report of grades shows no scores."""
    if any(each.known for each in judged.differences):
        return "Scores appear when `harness run` has finished; until then the grades say this."
    return (
        "No candidate has a score of its own: nothing is judged but what is graded here, and a "
        "score would count all other documents as irrelevant. Differences are estimated."
    )


def differences(judged: JudgedSuite) -> Table:
    """Return a row for each comparison."""
    return tables.table(
        {
            "collection": each.collection,
            "candidate": each.candidate,
            f"difference in {each.metric}": "too few grades"
            if each.difference is None or each.low is None or each.high is None
            else formats.difference(each.difference, each.low, each.high),
            "so far": each.settled,
            "rests on": each.source,
            "grades in all, to settle": "" if each.needed is None else f"about {each.needed:,}",
            "pairs": f"{each.pairs:,}",
            **({"by the model alone": _alone(each)} if judged.models else {}),
        }
        for each in judged.differences
    )


def _alone(found: JudgedDifference) -> str:
    alone = found.model_alone
    return "" if alone is None else formats.difference(alone.difference, alone.low, alone.high)


def by_grade(model: ModelGrades) -> Table:
    """Return what a model says where people gave each grade."""
    return tables.table(
        {
            "grade of people": str(each.grade),
            "pairs": f"{each.pairs:,}",
            "the model calls relevant": f"{each.relevant:.0%}"
            + ("" if each.low is None else f" [{each.low:.0%}, {each.high:.0%}]"),
            "mean grade of the model": f"{each.mean:.2f}",
        }
        for each in model.by_grade
    )


def by_candidate(model: ModelGrades) -> Table:
    """Return the bias of a model in the metric of each candidate."""
    return tables.table(
        {
            "candidate": each.candidate,
            "bias": "too few grades"
            if each.bias is None or each.low is None or each.high is None
            else formats.difference(each.bias, each.low, each.high),
        }
        for each in model.by_candidate
    )


def about(judged: JudgedSuite) -> Iterator[str]:
    """Yield what it takes to order all candidates, and who grades beside people."""
    yield from (each.sentence for each in judged.orders)
    for place, model in judged.models.items():
        yield f"{place}: {model.name} graded {model.grades:,} of {model.pairs:,} pairs."
    kin = [sentence for model in judged.models.values() for sentence in model.kin]
    yield from dict.fromkeys(kin)
