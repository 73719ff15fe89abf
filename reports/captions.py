"""Captions: what one sees in each figure, in words, for those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.diagnosis.values import CandidateDiagnosis
from harness.results.comparison import Role
from harness.results.values import Cost, Costs, Results
from harness.statistics.verdicts import Verdict
from reports import formats, reading
from reports.wording import joined, timings

_MOST_NAMES = 6
_LEAST_MEAN = 0.001  # a share of less says nothing
_CHEAPER: dict[reading.Unit, str] = {"query_ms_p95": "faster", "bytes_per_document": "smaller"}


def differences(results: Results, collection: str, *, role: Role = "baseline") -> str:
    """Return the caption of `figures.differences`."""
    found = reading.comparisons_of(results, collection, results.metrics[0], role=role)
    reference = (
        f"from the baseline {results.baseline}"
        if role == "baseline"
        else "of each candidate from the one that it starts from"
    )
    sides = []
    for answer in Verdict:
        names = [
            c.candidate if role == "baseline" else f"{c.candidate} (from {c.reference})"
            for c in found
            if c.verdict is answer
        ]
        if names:
            sides.append(f"{answer.capitalize()}: {_listed(names)}.")
    side = "; right of 0 is better" if role == "baseline" else ""
    n = f", n={found[0].n:,}" if found else ""
    return (
        f"Difference in {results.metrics[0]} {reference} on {collection}, with 95\u00a0% "
        f"intervals{n}{side}. {' '.join(sides)}"
    )


def quality_and_cost(results: Results, costs: Costs, collection: str) -> str:
    """Return the caption of `figures.quality_and_cost`."""
    metric = results.metrics[0]
    scores = reading.scores_of(results, collection, metric)
    sentences = [
        (
            f"{metric} with 95\u00a0% intervals against the measured costs on {collection}, on "
            "logarithmic axes; up and to the left is better."
        )
    ]
    for unit, word in _CHEAPER.items():
        measured = reading.cost_by_candidate(costs, collection, unit)
        if len(measured) > 1:
            means = {name: scores[name].mean for name in measured}
            front = joined(_in_order(results, reading.front(means, measured)), last="or")
            sentences.append(f"Going by the means, none is both better and {word} than {front}.")
    mine = [cost for cost in costs.costs if cost.collection == collection]
    sentences += [
        *timings(costs, collection),
        _devices(mine),
        "The numbers are those of the table of candidates.",
    ]
    return " ".join(filter(None, sentences))


def widths(results: Results, collection: str) -> str:
    """Return the caption of `figures.widths`."""
    metric = results.metrics[0]
    scores = reading.scores_of(results, collection, metric)
    sentences = [f"{metric} on {collection} by the number of dimensions kept."]
    for family in reading.width_families(results):
        narrow, wide = family.widths[0], family.widths[-1]
        whole = scores[wide.candidate].mean
        if whole >= _LEAST_MEAN:
            kept = scores[narrow.candidate].mean / whole
            sentences.append(
                f"{family.owner} keeps {100 * kept:.0f}\u00a0% of its mean at {narrow.dimension} "
                f"of {wide.dimension} dimensions."
            )
        untrained = [str(width.dimension) for width in family.widths if not width.is_trained]
        if untrained:
            sentences.append(f"It is not said to be trained for {joined(untrained)}.")
    return " ".join(sentences)


def gap_split(found: Sequence[CandidateDiagnosis], metric: str) -> str:
    """Return the caption of `diagnosis_figures.gap_split`."""
    parts = [
        f"{one.candidate} loses {formats.mean(one.gap.ordering_loss)} by the order of its first "
        f"{one.gap.depth} documents and {formats.mean(one.gap.first_stage_loss)} by what is not "
        f"among them (n={one.n:,})"
        for one in found[:_MOST_NAMES]
    ]
    return (
        f"The distance of {metric} from 1: what a perfect order of the first documents would add, "
        f"and what no order can. {'; '.join(parts)}."
    )


def _listed(names: list[str]) -> str:
    return joined(names) if len(names) <= _MOST_NAMES else f"{len(names)} of them"


def _in_order(results: Results, names: set[str]) -> list[str]:
    return [
        found.candidate.name for found in reading.branches(results) if found.candidate.name in names
    ]


def _devices(costs: list[Cost]) -> str:
    timed = [cost for cost in costs if cost.query_ms_p95 is not None]
    devices = list(dict.fromkeys(cost.device for cost in timed if cost.device))
    if len(devices) > 1:
        return f"Timed on different devices ({joined(devices)}): their times do not compare."
    return f"Timed on {devices[0]}." if devices else ""
