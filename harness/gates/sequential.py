"""Sequential: gates that look after every batch of queries, and ask no more than the answer takes.

The queries are asked in the order of a hash of their ids. What passes or fails is evidence that
holds however often it is looked at (`harness.statistics.sequential`), so that a gate that looks
twenty times cries wolf no more often than one that looks once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from harness.arrays import Values
from harness.collection.sample import shuffled
from harness.gates.baseline import StoredBaseline, paired_values
from harness.gates.evaluate import judge_unchanged, worst_of
from harness.gates.report import GateResult, State, gate_result
from harness.gates.rules import Conclusions, not_gated
from harness.gates.targets import Target, values_of
from harness.plan.plan import Plan
from harness.statistics.sequential import Evidence, evidence, lower_bound
from harness.statistics.units import SAME
from harness.suite.gates import NoWorse, SampledGate
from harness.suite.spec import lineage

FIRST = 50  # queries before the first look; latency is timed on fewer
_LOOKS = 20
_FEWEST = 25  # queries between two looks
_PASS, _FAIL = 0.05, 0.025  # errors, as of the same rule with one look


def looks(n: int) -> Iterator[int]:
    """Yield after how many of n queries it is looked.

    >>> list(looks(140)), len(list(looks(2000)))
    ([50, 75, 100, 125, 140], 21)
    """
    size, step = min(FIRST, n), max(_FEWEST, math.ceil(n / _LOOKS))
    while size < n:
        yield size
        size += step
    yield n


def asked_first(plan: Plan, targets: Sequence[Target], size: float) -> dict[str, frozenset[str]]:
    """Return the queries of each collection that are asked by a look.

    Args:
        plan: of all queries.
        targets: that are open.
        size: share of a collection's queries, from 0 to 1; `FIRST` at least.
    """
    found = {}
    for name in {target.collection for target in targets}:
        ids = plan.collections[name].query_ids
        found[name] = frozenset(shuffled(ids)[: max(math.ceil(size * len(ids)), FIRST)])
    return found


def needed_for(plan: Plan, targets: Sequence[Target]) -> set[str]:
    """Return the candidates of targets, and all that they need."""
    return set().union(*(lineage(plan.suite, target.candidate) for target in targets))


def look(
    plan: Plan, part: Plan, target: Target, stored: StoredBaseline, *, family: int
) -> GateResult | None:
    """Return the answer of a gate after some of the queries; None while it is open.

    Args:
        plan: of all queries.
        part: of those that are asked, finished.
        target: of `plan`.
        stored: comparable.
        family: gates on slices that share its error.
    """
    spec = target.spec
    if not isinstance(spec, NoWorse):
        raise TypeError(f"no sequential gate: {spec!r}")
    every, some = plan.collections[target.collection], part.collections[target.collection]
    total = len(target.rows)
    if total < spec.min_queries:
        return gate_result(target, State.NOT_GATED, not_gated(total, spec, None))
    wanted = {every.query_ids[row] for row in target.rows.tolist()}
    places = {key: row for row, key in enumerate(some.query_ids)}
    ids = tuple(key for key in shuffled(some.query_ids) if key in wanted)
    asked = replace(target, rows=np.array([places[key] for key in ids], dtype=np.int64))
    own = values_of(part, asked, target.candidate)
    before = paired_values(stored.scores[target.collection], ids, target.asked)
    differences = own - before
    if not np.isfinite(differences).all():
        count = np.count_nonzero(~np.isfinite(differences))
        text = f"{count:,} of {len(ids):,} scores are not a number, which never passes."
        return gate_result(target, State.FAIL, text)
    is_last = len(ids) == total
    if is_last and np.abs(differences).max(initial=0.0) <= SAME:
        same = judge_unchanged(part, asked, stored)
        if same is not None:
            return same
    return _concluded(asked, part, own, differences, total=total, family=family)


def conclude_columns(differences: Values, margin: float, *, family: int) -> Conclusions:
    """Return what a gate concludes from each column of differences that are asked in order.

    Args:
        differences: float64 [n_queries, n_columns], finite.
        margin: loss that is accepted.
        family: gates on slices that share its error.
    """
    states = [state_of(evidence(column, margin), family) for column in differences.T]
    passes, fails = (
        np.array([each is wanted for each in states]) for wanted in (State.PASS, State.FAIL)
    )
    return Conclusions(passes, fails)


def state_of(found: Evidence, family: int) -> State | None:
    """Return what the evidence says; None where it is too little.

    It passes where a loss of the margin is excluded with an error of 5%, and fails where a loss
    of half the margin or less is, with an error of 2.5%.
    """
    if found.of_no_loss >= family / _PASS:
        return State.PASS
    if found.of_loss >= family / _FAIL:
        return State.FAIL
    return None


def _concluded(
    target: Target, part: Plan, own: Values, differences: Values, *, total: int, family: int
) -> GateResult | None:
    """Return the answer of so many differences, float64 [n]; None while it is open."""
    n, margin = len(differences), target.limit
    if not n:
        return None
    found, mean = evidence(differences, margin), float(differences.mean())
    state = state_of(found, family)
    if state is None and n < total:
        return None
    to_pass, to_fail = family / _PASS, family / _FAIL
    after = f"after {n:,} of {total:,} queries"
    match state:
        case State.PASS:
            said = (
                f"A loss of {margin:g} or more is excluded {after} (e-value "
                f"{found.of_no_loss:.3g}, {to_pass:g} needed)."
            )
        case State.FAIL:
            said = (
                f"It loses {-mean:.3g} {after}: a loss of {margin / 2:g} or less is excluded "
                f"(e-value {found.of_loss:.3g}, {to_fail:g} needed)."
            )
        case _:
            state = State.INCONCLUSIVE
            said = (
                f"Open after all {total:,} queries: the e-value against a loss of {margin:g} or "
                f"more is {found.of_no_loss:.3g} ({to_pass:g} needed), against "
                f"{margin / 2:g} or less {found.of_loss:.3g} ({to_fail:g} needed)."
            )
    return gate_result(
        target,
        state,
        said,
        value=float(own.mean()),
        baseline=float((own - differences).mean()),
        difference=mean,
        low=lower_bound(differences, alpha=_FAIL / family),
        high=-lower_bound(-differences, alpha=_FAIL / family),
        bound=lower_bound(differences, alpha=_PASS / family),
        worst=worst_of(part, target, differences) if state is State.FAIL else [],
    )


def family_of(target: Target, targets: Sequence[Target]) -> int:
    """Return how many gates on slices share the error of a target: 1 for all queries."""
    if target.slice is None:
        return 1
    same = (target.spec.rule, target.candidate, target.collection)
    return sum(
        (each.spec.rule, each.candidate, each.collection) == same
        for each in targets
        if isinstance(each.spec, SampledGate) and each.slice is not None
    )
