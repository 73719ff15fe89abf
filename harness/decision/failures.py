"""Failures: what a stored diagnosis of the same runs adds to a decision."""

from __future__ import annotations

from collections.abc import Mapping

from harness.decision.situation import Failures, Recoverable
from harness.diagnosis.diagnose import find_diagnosis, read_diagnosis
from harness.diagnosis.values import CandidateDiagnosis, Diagnosis
from harness.plan.plan import Plan


def gather_failures(plan: Plan) -> Failures:
    """Return what the diagnosis of exactly these runs and judgements says; empty if none is stored.

    Args:
        plan: finished.
    """
    made = find_diagnosis(plan)
    if made is None:
        return Failures()
    found = read_diagnosis(made)
    baseline = [one for one in found.candidates if one.candidate == plan.suite.baseline]
    return Failures(
        n=sum(one.n for one in baseline),
        recoverable=tuple(_recoverable(baseline)),
        reversals=_reversals(found),
    )


def _recoverable(baseline: list[CandidateDiagnosis]) -> list[Recoverable]:
    """Return what each lever is measured to bring, macro mean over the collections, most first.

    A lever counts where it is confirmed on one of them, with what it brings or costs on the others
    as well.
    """
    points: dict[str, float] = {}
    reasons: dict[str, dict[str, None]] = {}
    for one in baseline:
        for lever, measured in one.levers().items():
            points[lever] = points.get(lever, 0.0) + measured.points / len(baseline)
            reasons.setdefault(lever, {}).update(dict.fromkeys(measured.reasons))
    found = [
        Recoverable(lever, points[lever], tuple(titles))
        for lever, titles in reasons.items()
        if titles and points[lever] > 0
    ]
    return sorted(found, key=lambda each: (-each.points, each.lever))


def _reversals(found: Diagnosis) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Return the sentences about each (better, worse) pair of candidates."""
    sentences: dict[tuple[str, str], tuple[str, ...]] = {}
    for health in found.data:
        for each in health.reversible:
            pair = (each.better, each.worse)
            on = f"On {health.collection}, {each.sentence}"
            sentences[pair] = (*sentences.get(pair, ()), on)
    return sentences
