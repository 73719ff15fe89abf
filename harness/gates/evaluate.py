"""Evaluate: every gate of a finished plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness.arrays import Values
from harness.errors import ExitCode, HarnessError
from harness.gates.baseline import StoredBaseline, paired_values, rankings_of, runs_before
from harness.gates.exact import judge_cost, judge_list
from harness.gates.graded import JudgedGate, graded, judge_graded
from harness.gates.planning import plan_gate
from harness.gates.report import GateReport, GateResult, LostQuery, State, conclude, gate_result
from harness.gates.rules import (
    Column,
    Levels,
    Seen,
    answer,
    not_gated,
    reason,
    see,
    simultaneous_levels,
    unchanged,
)
from harness.gates.targets import Target, clusters_of, seed_values_of, values_of
from harness.hashing import digest
from harness.judging.rounds import Round
from harness.plan.plan import Plan
from harness.results.values import Costs
from harness.statistics.power import minimum_detectable
from harness.statistics.seeds import seed_spread
from harness.statistics.units import SAME
from harness.suite.gates import AtMost, MustPass, NoWorse, SampledGate

_WORST = 5
_TEXT = 80


def evaluate(
    plan: Plan,
    targets: Sequence[Target],
    stored: StoredBaseline | None,
    costs: Costs,
    *,
    rounds: Mapping[str, Round] | None = None,
) -> GateReport:
    """Return what every gate concludes.

    Args:
        plan: finished.
        targets: of its suite.
        stored: comparable; None where no gate is relative.
        costs: gathered from the plan.
        rounds: by collection, the grades of a part of its pairs; None where nobody grades.
    """
    rounds = rounds or {}
    before = runs_before(stored, plan) if stored and rounds else {}
    by_grades = {target: graded(plan, target, rounds, before=before) for target in targets}
    values: dict[Target, Values] = {}
    for target in targets:
        if isinstance(target.spec, SampledGate):
            gate = by_grades[target]
            if gate is None:
                values[target] = _values(plan, target, stored)
            elif gate.found is not None:
                values[gate.target] = gate.found.values
    levels = family_levels(plan, values)
    findings = []
    for target in targets:
        gate = by_grades[target]
        if isinstance(target.spec, AtMost):
            findings.append(judge_cost(plan, target, costs))
        elif isinstance(target.spec, MustPass):
            findings.append(judge_list(plan, target, rounds.get(target.collection)))
        elif gate is None:
            findings.append(_judge(plan, target, stored, values[target], levels[target]))
        elif stored and target.is_relative and _is_unchanged(plan, gate, stored):
            findings.append(_unchanged_unjudged(plan, target, stored))
        else:
            findings.append(judge_graded(plan, gate, levels.get(gate.target, Levels())))
    return conclude(
        findings,
        suite=plan.suite.name,
        baseline=plan.suite.baseline,
        warnings=plan.planner.warnings,
    )


def crashed(plan: Plan, targets: Iterable[Target], error: BaseException) -> GateReport:
    """Return a report that says of every gate that it was not evaluated, and why."""
    found = [
        gate_result(target, State.ERROR, f"Not evaluated: {' '.join(str(error).split())}")
        for target in targets
    ]
    report = conclude(found, suite=plan.suite.name, baseline=plan.suite.baseline)
    code = error.exit_code if isinstance(error, HarnessError) else ExitCode.STAGE
    return report.model_copy(update={"state": State.ERROR, "exit_code": int(code)})


def family_levels(plan: Plan, values: Mapping[Target, Values]) -> dict[Target, Levels]:
    """Return the confidence of each target: slices of one rule, candidate and collection share 5%.

    Targets with too few queries, or a value that is not a number, take no part.
    """
    families: dict[tuple[str, str, str], list[Target]] = {}
    for target, found in values.items():
        if target.slice is not None and _is_gated(plan, target) and np.isfinite(found).all():
            key = (target.spec.rule, target.candidate, target.collection)
            families.setdefault(key, []).append(target)
    levels = dict.fromkeys(values, Levels())
    for (rule, candidate, collection), family in families.items():
        found_levels = simultaneous_levels(
            [Column(target.rows, values[target]) for target in family],
            n_queries=len(plan.collections[collection].query_ids),
            clusters=plan.collections[collection].clusters,
            seed=int(digest("slices", plan.suite.seed, rule, candidate, collection), 16),
        )
        levels.update(zip(family, found_levels, strict=True))
    return levels


def _judge(
    plan: Plan, target: Target, stored: StoredBaseline | None, values: Values, levels: Levels
) -> GateResult:
    spec = target.sampled
    if not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        text = f"{count:,} of {len(values):,} scores are not a number, which never passes."
        return gate_result(target, State.FAIL, text)
    planned = stored.spread(target.collection, target.asked) if stored else None
    if stored and target.is_relative and len(values) and np.abs(values).max() <= SAME:
        same = judge_unchanged(plan, target, stored)
        if same is not None:
            return same
    clusters = clusters_of(plan, target)
    spread = None
    if len(values):
        by_seed = seed_values_of(plan, target)
        baseline = by_seed.mean(axis=1) - values  # as it is stored: no seed of ours varies it
        spread = seed_spread(by_seed - baseline[:, None], clusters=clusters)
    # What so many queries detect, by their own spread, else by that of the baseline.
    own_se = spread.se if spread is not None and len(values) > 1 else 0.0
    se = own_se if 0 < own_se < np.inf else (planned or 0.0) / np.sqrt(max(1, len(values)))
    mde = float(minimum_detectable(np.array([se]))[0]) if se and len(values) else None
    if not _is_gated(plan, target):
        return gate_result(target, State.NOT_GATED, not_gated(len(values), spec, mde), mde=mde)
    seen = see(values[:, None], spec, levels, clusters, seeds=[spread.means] if spread else ())
    state = answer(seen, spec).state(0)
    own, relative = values_of(plan, target, target.candidate), target.is_relative
    # A mean of values between 0 and 1 lies there too, also where few queries tell little.
    least, most = (-np.inf, np.inf) if relative else (0.0, 1.0)
    numbers = {
        "value": float(own.mean()),
        "baseline": float((own - values).mean()) if relative else None,
        "difference": float(seen.mean[0]) if relative else None,
        "low": max(least, float(seen.low[0])),
        "high": min(most, float(seen.high[0])),
        "bound": float(seen.bound[0]) if isinstance(spec, NoWorse) else None,
    }
    worst = worst_of(plan, target, values) if state is State.FAIL and relative else []
    said = reason(state, spec, seen=seen, n=len(values), levels=levels)
    return gate_result(target, state, said, mde=mde, worst=worst, **numbers)


def judge_unchanged(plan: Plan, target: Target, stored: StoredBaseline) -> GateResult | None:
    """Return the answer where every query scores as before: exact, however few they are.

    None of a `better` gate with too few queries, which is not gated.
    """
    planned = plan_gate(plan, target, stored)
    passes = bool(answer(Seen(*np.zeros((5, 1))), target.sampled).passes[0])
    if not passes and not _is_gated(plan, target):
        return None
    ranked_alike = _ranks_alike(plan, target, stored)
    mean = float(values_of(plan, target, target.candidate).mean())
    return gate_result(
        target,
        State.PASS if passes else State.FAIL,
        unchanged(target.asked, planned.warning if passes else "", ranked_alike=ranked_alike),
        value=mean,
        baseline=mean,
        difference=0.0,
        mde=planned.mde,
    )


def _is_unchanged(plan: Plan, gate: JudgedGate, stored: StoredBaseline) -> bool:
    """Tell whether the first documents, which are graded, are those of the stored baseline."""
    return gate.pair[0] == gate.pair[1] or _ranks_alike(plan, gate.target, stored)


def _ranks_alike(plan: Plan, target: Target, stored: StoredBaseline) -> bool:
    before = stored.about.rankings.get(target.collection)
    return before == rankings_of(plan, target.candidate, target.collection)


def _unchanged_unjudged(plan: Plan, target: Target, stored: StoredBaseline) -> GateResult:
    """Return the answer where no ranking changed, whatever the documents are worth."""
    same = judge_unchanged(plan, target, stored)
    if same is not None:
        return same.model_copy(update={"value": None, "baseline": None})
    told = not_gated(len(target.rows), target.sampled, None)
    return gate_result(target, State.NOT_GATED, told)


def _values(plan: Plan, target: Target, stored: StoredBaseline | None) -> Values:
    """Return the candidate's values of the target's queries, minus the baseline's if relative."""
    own = values_of(plan, target, target.candidate)
    if not target.is_relative:
        return own
    if stored is None:
        raise LookupError(f"gate '{target.gate}' needs a stored baseline")
    ids = tuple(plan.collections[target.collection].query_ids[row] for row in target.rows)
    differences: Values = own - paired_values(stored.scores[target.collection], ids, target.asked)
    return differences


def worst_of(plan: Plan, target: Target, values: Values) -> list[LostQuery]:
    """Return the queries of a target that lost the most, by their differences [n]."""
    texts, own = plan.collections[target.collection], values_of(plan, target, target.candidate)
    order = [place for place in np.argsort(values, kind="stable")[:_WORST] if values[place] < 0]
    return [
        LostQuery(
            query=texts.query_ids[target.rows[place]],
            text=texts.queries[target.rows[place]][:_TEXT],
            baseline=float(own[place] - values[place]),
            candidate=float(own[place]),
        )
        for place in order
    ]


def _is_gated(plan: Plan, target: Target) -> bool:
    if not isinstance(target.spec, SampledGate) or len(target.rows) < target.spec.min_queries:
        return False
    clusters = clusters_of(plan, target)
    return clusters is None or len(np.unique(clusters)) > 1
