"""Learning curve: scores of a recipe on parts of its pairs, and what more pairs would bring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Values
from harness.hashing import digest
from harness.statistics import mean_interval
from harness.statistics.forecast import HORIZON, Band, Forecast, Trainings, forecast
from harness.statistics.verdicts import signed
from harness.value import Value

if TYPE_CHECKING:
    from harness.plan.growing import Growing
    from harness.plan.plan import Plan


_MOST_CERTAIN = 0.99


class CurvePoint(Value):
    """One number of pairs, trained on or forecast.

    Attributes:
        pairs: trained on; 0 is the parent.
        seen: it was trained; else it is the fitted curve.
        entropy: mean over the held-out pairs.
        score: of the deciding metric, macro mean over the collections.
        p_worthwhile: probability that the gain over the baseline is at least the worthwhile one.
    """

    pairs: int
    seen: bool
    entropy: float
    entropy_low: float
    entropy_high: float
    score: float
    score_low: float
    score_high: float
    p_worthwhile: float


class LearningCurve(Value):
    """Trainings of one recipe on growing, nested parts of the same pairs.

    Attributes:
        candidate, parent, baseline: names.
        metric: that decides.
        collections: over which its mean is taken.
        n: their judged queries.
        held_out: where the held-out pairs come from.
        held_out_pairs, negatives: how many pairs, and sampled documents for each.
        points: what was trained: the parent, then ascending.
        forecasts: the fitted curve, ascending, to `horizon` times the largest number of pairs.
        a, b, c: of the law, entropy = a n^-b + c.
        gain: over the baseline, that is worthwhile.
        level: probability from which it is likely.
        enough: the smallest number of pairs from which it is likely; None where there is none
            within the horizon.
        doubled, doubled_low, doubled_high: what twice the pairs would add to the metric, with the
            95% band.
        horizon: how many times the largest number of pairs is looked ahead.
    """

    candidate: str
    parent: str
    baseline: str
    metric: str
    collections: list[str]
    n: int
    held_out: str
    held_out_pairs: int
    negatives: int
    points: list[CurvePoint]
    forecasts: list[CurvePoint]
    a: float
    b: float
    c: float
    gain: float
    level: float
    enough: int | None
    doubled: float
    doubled_low: float
    doubled_high: float
    horizon: int

    @property
    def largest(self) -> int:
        """The largest number of pairs that was trained on."""
        return self.points[-1].pairs


def learning_curves(plan: Plan) -> Iterator[LearningCurve]:
    """Yield the learning curve of every candidate of a finished plan that asks for one."""
    for growing in plan.growing.values():
        trainings = _trainings(plan, growing)
        spec = plan.suite.decision
        found = forecast(
            trainings,
            gain=spec.gain,
            level=spec.lean,
            seed=int(digest("learning curve", plan.suite.seed, growing.held_out.key), 16) >> 8,
        )
        yield LearningCurve(
            candidate=growing.candidate,
            parent=growing.parent,
            baseline=plan.suite.baseline,
            metric=str(plan.suite.deciding_metric),
            collections=plan.suite.collections_of("target"),
            n=sum(len(part) for part in trainings.parent_scores),
            held_out=growing.held_out.name,
            held_out_pairs=len(growing.held_out),
            negatives=growing.held_out.negatives.shape[1],
            points=_points(trainings, found),
            forecasts=_curve(
                found.sizes, found.losses, found.scores, found.p_worthwhile, seen=False
            ),
            a=found.law.a,
            b=found.law.b,
            c=found.law.c,
            gain=spec.gain,
            level=spec.lean,
            enough=None if found.enough is None else round(found.enough),
            doubled=float(found.doubled.mean[0]),
            doubled_low=float(found.doubled.low[0]),
            doubled_high=float(found.doubled.high[0]),
            horizon=HORIZON,
        )


def _trainings(plan: Plan, growing: Growing) -> Trainings:
    """Read what the trainings reached."""
    metric, store = str(plan.suite.deciding_metric), plan.store
    targets = plan.suite.collections_of("target")

    def of_candidate(name: str) -> tuple[Values, ...]:
        cards = [plan.scored[name, place].result(store) for place in targets]
        return tuple(np.array(card.values[metric]) for card in cards)

    return Trainings(
        sizes=np.array([part.pairs for part in growing.parts], dtype=np.float64),
        losses=np.column_stack([part.entropy.result(store) for part in growing.parts]),
        parent_losses=growing.before.result(store),
        scores=tuple(
            np.column_stack(
                [part.scored[place].result(store).values[metric] for part in growing.parts]
            )
            for place in targets
        ),
        parent_scores=of_candidate(growing.parent),
        baseline_scores=of_candidate(plan.suite.baseline),
        clusters=tuple(plan.collections[place].clusters for place in targets),
    )


def _points(trainings: Trainings, found: Forecast) -> list[CurvePoint]:
    """Return what was measured, the parent first."""
    columns = np.column_stack([trainings.losses, trainings.parent_losses]).T
    entropies = Band(*map(np.array, zip(*map(mean_interval, columns), strict=True)))
    sizes = np.append(trainings.sizes, 0)
    points = _curve(sizes, entropies, found.seen, found.seen_worthwhile, seen=True)
    return [points[-1], *points[:-1]]


def _curve(
    sizes: Values, entropies: Band, scores: Band, likely: Values, *, seen: bool
) -> list[CurvePoint]:
    return [
        CurvePoint(
            pairs=round(size),
            seen=seen,
            entropy=float(entropies.mean[place]),
            entropy_low=float(entropies.low[place]),
            entropy_high=float(entropies.high[place]),
            score=float(scores.mean[place]),
            score_low=float(scores.low[place]),
            score_high=float(scores.high[place]),
            p_worthwhile=float(likely[place]),
        )
        for place, size in enumerate(sizes.tolist())
    ]


def reach(curve: LearningCurve) -> str:
    """Return from how many pairs a worthwhile gain is likely, in a sentence."""
    gain = f"a gain of {curve.gain:g} over '{curve.baseline}'"
    most = curve.horizon * curve.largest
    if curve.enough is None:
        likely = max(point.p_worthwhile for point in curve.forecasts)
        return (
            f"'{curve.candidate}': {gain} does not become likely (P ≥ {curve.level:g}) with up to "
            f"{most:,} pairs ({_probability(likely)} there); "
            f"extrapolation ends at {curve.horizon} times the {curve.largest:,} pairs."
        )
    seen = curve.points[1].pairs
    if curve.enough <= seen:
        where = f"already with {seen:,} pairs, the smallest part trained on"
    elif curve.enough <= curve.largest:
        where = f"from about {curve.enough:,} of the {curve.largest:,} pairs on"
    else:
        where = f"with about {curve.enough:,} pairs; you have {curve.largest:,}"
    return f"'{curve.candidate}': {gain} is likely (P ≥ {curve.level:g}) {where}."


def doubling(curve: LearningCurve) -> str:
    """Return what twice the pairs would bring, in a sentence."""
    return (
        f"Twice the pairs ({2 * curve.largest:,}) would add about {signed(curve.doubled)} "
        f"[{signed(curve.doubled_low)}, {signed(curve.doubled_high)}] {curve.metric} to "
        f"'{curve.candidate}' (n={curve.n:,} queries, {curve.held_out_pairs:,} held-out pairs)."
    )


def _probability(value: float) -> str:
    """Return a probability that was simulated, so never 0 or 1.

    >>> _probability(0.123), _probability(0.001)
    ('P = 0.12', 'P < 0.01')
    """
    if value < 1 - _MOST_CERTAIN:
        return f"P < {1 - _MOST_CERTAIN:.2f}"
    return f"P > {_MOST_CERTAIN}" if value > _MOST_CERTAIN else f"P = {value:.2f}"
