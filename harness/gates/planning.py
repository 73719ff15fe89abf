"""Planning: what each gate can detect with so many queries, reported before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from harness.gates.baseline import StoredBaseline
from harness.gates.targets import Target, clusters_of
from harness.plan.plan import Plan
from harness.statistics.inferiority import queries_for_non_inferiority
from harness.statistics.power import minimum_detectable
from harness.suite.gates import NoWorse, SampledGate

_STEPS = 1000  # margins are advised in thousandths


class Planned(NamedTuple):
    """What a relative gate can detect.

    Attributes:
        target: the gate.
        sd: stored standard deviation of per-query differences, or None where none is known.
        mde: minimum detectable effect at `sd`, or None.
        units: queries, or clusters of queries, that are independent.
        judged: whether anything is, but by grades of a part of the pairs.
    """

    target: Target
    sd: float | None
    mde: float | None
    units: int
    judged: bool

    @property
    def n(self) -> int:
        """Queries."""
        return len(self.target.rows)

    @property
    def is_gated(self) -> bool:
        """Whether there are enough queries to gate at all."""
        spec = self.target.spec
        return isinstance(spec, SampledGate) and self.n >= spec.min_queries and self.units > 1

    @property
    def sentence(self) -> str:
        """What the gate can detect."""
        place = named(self.target)
        if self.mde is None:
            why = "the baseline was stored without another candidate"
            if not self.judged:
                why = "nothing is judged but by grades"
            text = f"{place}: {self.n} queries; their MDE is unknown, because {why}."
        else:
            text = (
                f"{place}: {self.n} queries detect a difference of {self.mde:.3f} "
                f"(MDE, from sd {self.sd:.3f})."
            )
        spec = self.target.spec
        if not self.is_gated and isinstance(spec, SampledGate) and self.n < spec.min_queries:
            text += f" Changes are not gated: fewer queries than min_queries = {spec.min_queries}."
        return text

    @property
    def warning(self) -> str:
        """What a changed pipeline can expect of a margin too small for so many queries, or "".

        An unchanged pipeline passes whatever the margin. One that changed and is as good passes
        where the bound with the phantom loss stays within the margin: with enough queries in four
        of five cases, from the stored spread; where it cannot even with no spread, never.
        """
        spec = self.target.spec
        if not isinstance(spec, NoWorse) or not self.n:
            return ""
        if not self.is_gated:
            return "A change would not be gated."
        needed, margin = self._needed(spec.accepted_loss), self._margin()
        if needed <= self.n:
            return ""
        never = self._queries(0.0, spec.accepted_loss) > self.n
        how = "could not pass" if never else "would be inconclusive more than 1 time in 5"
        instead = f", or set margin = {margin:g}" if margin is not None else ""
        return (
            f"A changed pipeline of equal quality {how}: a margin of {spec.accepted_loss:g} needs "
            f"{needed} queries, got {self.n}. Judge {needed - self.n} more{instead}."
        )

    def _needed(self, margin: float) -> int:
        """Return the queries with which four of five equal pipelines pass."""
        return self._queries(self.sd or 0.0, margin)

    def _queries(self, sd: float, margin: float) -> int:
        size = self.n / self.units
        # A unit's standard deviation: the standard error is sd / sqrt(n) either way.
        units = queries_for_non_inferiority(sd / math.sqrt(size), margin)
        return math.ceil(units * size)

    def _margin(self) -> float | None:
        """Return the smallest margin, in thousandths, that so many queries are enough for."""
        few, many = 0, _STEPS
        if self._needed(many / _STEPS) > self.n:
            return None
        while many - few > 1:
            middle = (few + many) // 2
            enough = self._needed(middle / _STEPS) <= self.n
            few, many = (few, middle) if enough else (middle, many)
        return many / _STEPS


def named(target: Target) -> str:
    """Return a gate with where it looks, to begin a sentence with."""
    where = f"'{target.collection}'" + (f", slice '{target.slice}'" if target.slice else "")
    return f"gate '{target.gate}' on {where}"


def plan_gates(plan: Plan, targets: Iterable[Target], stored: StoredBaseline) -> list[Planned]:
    """Return what every relative gate can detect, from the stored baseline's spread."""
    return [plan_gate(plan, target, stored) for target in targets if target.is_relative]


def plan_gate(plan: Plan, target: Target, stored: StoredBaseline) -> Planned:
    """Return what a relative gate can detect, from the stored baseline's spread."""
    n, sd = len(target.rows), stored.spread(target.collection, target.asked)
    clusters = clusters_of(plan, target)
    units = n if clusters is None else len(np.unique(clusters))
    is_judged = len(plan.collections[target.collection].judgements.grades) > 0
    if sd is None or n == 0:
        return Planned(target, sd, None, units, is_judged)
    mde = float(minimum_detectable(np.array([sd / math.sqrt(n)]))[0])
    return Planned(target, sd, mde, units, is_judged)


def warnings_of(planned: Iterable[Planned]) -> list[str]:
    """Return where margins are too small for the queries, each a sentence."""
    return [f"{named(each.target)}: {each.warning}" for each in planned if each.warning]
