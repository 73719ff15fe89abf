"""Planning: what each gate can detect with so many queries, told before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from harness.errors import ExitCode, HarnessError
from harness.gates.baseline import StoredBaseline
from harness.gates.targets import Target
from harness.statistics.inferiority import queries_for_non_inferiority
from harness.statistics.power import minimum_detectable
from harness.suite import NoWorse, SampledGate, Suite


class Planned(NamedTuple):
    """What a relative gate can detect.

    Attributes:
        target: the gate.
        sd: stored standard deviation of per-query differences, or None where none is known.
        mde: minimum detectable effect at `sd`, or None.
    """

    target: Target
    sd: float | None
    mde: float | None

    @property
    def n(self) -> int:
        """Queries."""
        return len(self.target.rows)

    @property
    def is_gated(self) -> bool:
        """Whether there are enough queries to gate at all."""
        spec = self.target.spec
        return isinstance(spec, SampledGate) and self.n >= spec.min_queries

    @property
    def sentence(self) -> str:
        """What the gate can detect, and what it can not."""
        place = named(self.target)
        if self.mde is None:
            text = (
                f"{place}: {self.n} queries; what they detect is unknown, because the baseline was "
                "stored without another candidate to compare with."
            )
        else:
            text = (
                f"{place}: {self.n} queries detect a difference of {self.mde:.3f} "
                f"(MDE, from sd {self.sd:.3f})."
            )
        return text + "".join(self._limits())

    def _limits(self) -> Iterable[str]:
        spec = self.target.spec
        if not self.is_gated and isinstance(spec, SampledGate):
            yield f" Not gated: fewer than min_queries = {spec.min_queries}."
        elif isinstance(spec, NoWorse):
            least = queries_for_non_inferiority(0.0, spec.accepted_loss)
            if self.n < least:
                yield (
                    f" It can not pass: a margin of {spec.accepted_loss:g} takes {least} queries "
                    "even where no ranking changed."
                )


def named(target: Target) -> str:
    """Return a gate with where it looks, to begin a sentence with."""
    where = f"'{target.collection}'" + (f", slice '{target.slice}'" if target.slice else "")
    return f"gate '{target.gate}' on {where}"


def plan_gates(targets: Iterable[Target], stored: StoredBaseline) -> list[Planned]:
    """Return what every relative gate can detect, from the stored baseline's spread."""
    return [
        _planned(target, stored.spread(target.collection, target.asked))
        for target in targets
        if target.is_relative
    ]


def refuse_small_margins(planned: Sequence[Planned], suite: Suite) -> None:
    """Refuse margins of `no_worse` that are smaller than half the detectable effect.

    Such a gate would be inconclusive almost always, or would block what is equal.

    Raises:
        HarnessError: exit code 2, with the number of queries or the margin that would do.
    """
    problems = []
    for each in planned:
        spec, mde = each.target.spec, each.mde
        if not isinstance(spec, NoWorse) or mde is None or not each.is_gated:
            continue
        margin = spec.accepted_loss
        if margin < mde / 2:
            enough = math.ceil(each.n * (mde / 2 / margin) ** 2)
            problems.append(
                f"{suite.where('gates', each.target.gate, 'margin')}: {named(each.target)}: margin "
                f"{margin:g} is less than half of what {each.n} queries detect (MDE {mde:.3f}, "
                f"from sd {each.sd:.3f}). Ask {enough} queries, or set "
                f"margin = {math.ceil(mde / 2 * 1000) / 1000:g}."
            )
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)


def _planned(target: Target, sd: float | None) -> Planned:
    n = len(target.rows)
    if sd is None or n == 0:
        return Planned(target, sd, None)
    return Planned(target, sd, float(minimum_detectable(np.array([sd / math.sqrt(n)]))[0]))
