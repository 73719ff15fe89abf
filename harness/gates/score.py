"""Score: whether a published or claimed mean of n queries shows what is said about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from pydantic import computed_field

from harness.errors import ExitCode, HarnessError, sufficing
from harness.runs.metrics import Metric, parse_metric
from harness.statistics.claims import (
    PValue,
    bounded_p,
    claimed_interval,
    queries_to_resolve,
    share_p,
    smallest_p,
    spread_p,
)
from harness.statistics.power import ALPHA, queries_for_effect
from harness.value import Value


class Spreads(NamedTuple):
    """Largest standard deviations measured: of per-query values, and of paired differences."""

    values: float
    differences: float


# ndcg@10, mrr@10, recall@10 and map@100 of bm25 and of a static model (potion-base-8M), and their
# differences, on scifact, nq_utd, pubmedqa, medquad and xquad in English and German, with 80 to
# 1,552 queries. The largest of each, rounded up: a smaller one would claim more than is known.
MEASURED = {
    "ndcg": Spreads(0.42, 0.41),
    "mrr": Spreads(0.44, 0.44),
    "recall": Spreads(0.48, 0.46),
    "map": Spreads(0.43, 0.43),
}

Resolution = Literal["above", "below", "not resolvable"]


class ScoreInterval(Value):
    """What a mean says by one method.

    Attributes:
        method: in words, with its source.
        sd: that the method takes as given; None where it takes none.
        low, high: 95% interval of the true mean, or of the true difference.
        p: two-sided, against the target.
    """

    method: str
    sd: float | None
    low: float
    high: float
    p: float


class ScoreAudit(Value):
    """What a mean of n queries shows.

    Attributes:
        value, n: the mean and its queries.
        target: that it is held against, a number without an error of its own.
        reference_value: instead of a target, a mean of another system on the same queries; every
            interval and p is of the difference, against 0.
        widest: what holds whatever the per-query values are.
        usual: from a standard deviation, given or assumed; None where there is neither. It decides
            where it is there.
        smallest_p: that any result of n queries could have, on this side of the target.
        needed: queries that would be needed: a true difference as large is shown in four of five
            cases; None where it can be shown already, or where there is no difference.
    """

    value: float
    n: int
    target: float | None
    reference_value: float | None
    metric: str | None
    widest: ScoreInterval
    usual: ScoreInterval | None
    smallest_p: float
    needed: int | None
    verdict: Resolution

    @property
    def deciding(self) -> ScoreInterval:
        """The interval that decides."""
        return self.usual or self.widest

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sentence(self) -> str:
        """The verdict."""
        place = (
            f"the target {self.target:g}"
            if self.target is not None
            else f"the reference {self.reference_value:g}"
        )
        if self.verdict != "not resolvable":
            return f"Resolvable: {self.value:g} is {self.verdict} {place}."
        if self.needed is None:
            return f"Not resolvable: {self.value:g} equals {place}, at any number of queries."
        why = (
            f"no result of {self.n:,} queries reaches p < {ALPHA} against {place}"
            if self.smallest_p > ALPHA
            else f"{self.n:,} queries cannot distinguish {self.value:g} from {place}"
        )
        return (
            f"Not resolvable: {why}. Detecting a difference this large with power 0.80 takes about "
            f"{sufficing(self.needed)} queries."
        )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def exit_code(self) -> int:
        """Of the command line: 0 above, 1 below, 5 not resolvable."""
        codes = {"above": ExitCode.OK, "below": ExitCode.GATE_FAILED}
        return int(codes.get(self.verdict, ExitCode.INCONCLUSIVE))


def audit_score(
    value: float,
    n: int,
    *,
    target: float | None = None,
    reference_value: float | None = None,
    metric: str | None = None,
    sd: float | None = None,
) -> ScoreAudit:
    """Return what a published or claimed mean of n queries shows, with nothing but these numbers.

    Args:
        value: mean over the queries, from 0 to 1.
        n: queries.
        target: that the true mean is held against; this or `reference_value`.
        reference_value: mean of another system on the same queries, whose difference is judged.
        metric: such as "ndcg@10": its standard deviation is assumed from measured ones; a hit rate
            has exact bounds.
        sd: standard deviation of per-query values; of per-query differences where there is a
            reference.

    Raises:
        HarnessError: exit code 2, with everything that cannot be.

    >>> found = audit_score(0.71, 80, target=0.70, sd=0.3)
    >>> found.verdict, found.needed
    ('not resolvable', 7066)
    >>> audit_score(1.0, 10, target=0.70).needed  # 0.7 ** 10 is more than 0.025
    11
    """
    parsed = parse_metric(metric) if metric is not None else None
    problems = list(_problems(value, n, target=target, reference=reference_value, sd=sd))
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    claim = _Claim(value, n, target, reference_value)
    exact = parsed is not None and reference_value is None and _counts_0_or_1(parsed)
    if exact:
        widest = claim.read(share_p, "exact for queries that count 0 or 1 (Clopper-Pearson)")
    else:
        widest = claim.read(bounded_p, "for any values between 0 and 1 (Hoeffding-Bentkus)")
    usual = None if exact else claim.usual(parsed, sd)
    deciding = usual or widest
    floor = smallest_p(n, claim.against, above=claim.mean > claim.against)
    verdict: Resolution = "not resolvable"
    if max(deciding.p, floor) <= ALPHA:
        verdict = "above" if claim.mean > claim.against else "below"
    rule = spread_p(deciding.sd * claim.scale) if deciding.sd else share_p if exact else bounded_p
    return ScoreAudit(
        value=value,
        n=n,
        target=target,
        reference_value=reference_value,
        metric=None if parsed is None else str(parsed),
        widest=widest,
        usual=usual,
        smallest_p=floor,
        needed=claim.needed(rule, deciding.sd) if verdict == "not resolvable" else None,
        verdict=verdict,
    )


class _Claim(NamedTuple):
    """A mean in [0, 1] against a number there; differences in [-1, 1] are mapped into it."""

    value: float
    n: int
    target: float | None
    reference: float | None

    @property
    def mean(self) -> float:
        """The value, or (1 + difference) / 2."""
        return self.value if self.reference is None else (1 + self.value - self.reference) / 2

    @property
    def against(self) -> float:
        """The target, or one half, which is a difference of 0."""
        return 0.5 if self.target is None else self.target

    @property
    def scale(self) -> float:
        """From differences into [0, 1]."""
        return 1.0 if self.reference is None else 0.5

    def read(self, p: PValue, method: str, sd: float | None = None) -> ScoreInterval:
        """Return the interval and the p of one method."""
        found = claimed_interval(p, self.mean, self.n)
        low, high = (
            end if self.reference is None else 2 * end - 1 for end in (found.low, found.high)
        )
        p_value = p(self.mean, self.n, self.against)
        return ScoreInterval(method=method, sd=sd, low=low, high=high, p=p_value)

    def usual(self, metric: Metric | None, sd: float | None) -> ScoreInterval | None:
        """Return the t-interval from a standard deviation, given or assumed; None without one."""
        of = "values" if self.reference is None else "differences"
        method = f"t-interval, sd of per-query {of} as given"
        if sd is None:
            measured = MEASURED.get(metric.family) if metric is not None else None
            if measured is None:
                return None
            sd = getattr(measured, of)
            method = f"t-interval, sd of per-query {of} assumed: the largest measured"
        return self.read(spread_p(sd * self.scale), method, sd)

    def needed(self, p: PValue, sd: float | None) -> int | None:
        """Return about how many queries show as large a true difference in four of five cases."""
        distance = abs(self.mean - self.against)
        if distance < 1e-9:
            return None
        same = queries_to_resolve(p, self.mean, self.against)
        spread = math.sqrt(self.mean * (1 - self.mean)) if sd is None else sd * self.scale
        return None if same is None else max(same, queries_for_effect(spread, distance))


def _counts_0_or_1(metric: Metric) -> bool:
    return metric.family == "hit_rate" or (metric.family == "precision" and metric.cutoff == 1)


def _problems(
    value: float, n: int, *, target: float | None, reference: float | None, sd: float | None
) -> Iterator[str]:
    """Yield what cannot be."""
    if n < 1:
        yield f"n: not a number of queries, got {n}. Give the number of queries behind the mean."
    for name, given in {"value": value, "reference value": reference}.items():
        if given is not None and not 0 <= given <= 1:
            yield f"{name}: outside 0 to 1, got {given:g}.{_percent(given)}"
    if (target is None) == (reference is None):
        yield "target: give either a target or a reference value, got " + (
            "neither." if target is None else "both."
        )
    if target is not None and not 0 < target < 1:
        yield f"target: outside 0 to 1, got {target:g}.{_percent(target)}"
    if sd is not None and 0 <= value <= 1 and n > 1:
        difference = 0 if reference is None else value - reference
        variance = value * (1 - value) if reference is None else 1 - difference**2
        most = math.sqrt(max(0.0, variance) * n / (n - 1))
        if not 0 < sd <= most + 1e-9:
            yield (
                f"sd: not possible for {n} queries with this mean, got {sd:g}. It is above 0 and "
                f"at most {most:.3f}; without it, the widest interval decides."
            )


def _percent(given: float) -> str:
    return f" Divide percentages by 100: {given / 100:g}." if 1 < given <= 100 else ""
