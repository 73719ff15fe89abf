"""Graded: a gate on a metric where people graded a part of the pairs, instead of judging all.

What the grades of `harness judge` say takes the place of the collection's judgements, as in a
decision. A model's grades narrow an interval, but alone they let nothing pass or fail.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from harness.errors import counted
from harness.gates.report import GateResult, State, gate_result
from harness.gates.rules import Levels, Seen, answer, not_gated, reason
from harness.gates.targets import Target, seed_values_of
from harness.judging.estimates import Estimated, Sample
from harness.judging.judged import stored_name
from harness.judging.rounds import Round
from harness.judging.values import source_of
from harness.plan.plan import Plan
from harness.runs.metrics import parse_metric
from harness.statistics.inferiority import difference_bounds
from harness.statistics.power import minimum_detectable
from harness.statistics.verdicts import signed
from harness.suite.gates import NoWorse, SampledGate

_ONE_TRAINING = (
    "The grades are of the ranking of one training; how much others differ is not known."
)
_MORE = "Grade more pairs: harness judge."


@dataclass(frozen=True, eq=False)
class JudgedGate:
    """A gate that is evaluated by grades.

    Attributes:
        target: the gate, without the queries that people found bad.
        opened: the grades, for the metric of the gate; None where there are none.
        pair: reference, None for the candidate's own mean, and candidate.
        why: why there is no estimate, or "".
        found: the estimate with a 95% interval; None where there is none.
        source: how many queries and grades it rests on.
    """

    target: Target
    opened: Round | None = field(repr=False)
    pair: tuple[str | None, str]
    why: str
    found: Estimated | None = field(repr=False)
    source: str


def graded(
    plan: Plan, target: Target, rounds: Mapping[str, Round], *, before: Collection[str]
) -> JudgedGate | None:
    """Return a gate that grades decide; None where the collection's own judgements do.

    These are those of a metric where people graded enough for an interval, and all where nothing
    is judged otherwise.

    Args:
        plan: finished.
        target: of its suite.
        rounds: by collection, what people graded.
        before: collections whose stored ranking is known.
    """
    if not isinstance(target.spec, SampledGate):
        return None
    gate = _estimated(plan, target, rounds.get(target.collection), before=before)
    return None if gate.found is None and _is_judged(plan, target) else gate


def _estimated(
    plan: Plan, target: Target, opened: Round | None, *, before: Collection[str]
) -> JudgedGate:
    """Return a gate with what grades say, or why they say nothing."""
    base = plan.suite.baseline
    metric = parse_metric(target.asked)
    pair: tuple[str | None, str] = (None, target.candidate)
    if opened is None:
        source = source_of(len(target.rows), 0, model_grades=0)
        return JudgedGate(target, None, pair, "Nothing is judged.", None, source)
    if target.is_relative:
        pair = (stored_name(base) if stored_name(base) in opened.runs else base, target.candidate)
    source = opened.source_for(target.rows)
    target = replace(target, rows=target.rows[~opened.bad[target.rows]])
    why, found = "", None
    if metric.in_tokens or metric.cutoff > opened.metric.cutoff:
        why = f"People grade for {opened.metric}, which says nothing about {target.asked}."
        return JudgedGate(target, opened, pair, why, None, source)
    opened = replace(opened, metric=metric)
    if target.is_relative and target.collection not in before:
        why = "The stored baseline holds no ranking. Store it anew: harness baseline accept."
    else:
        found = opened.estimated(pair, rows=target.rows) if len(target.rows) else None
        if found is None or not np.isfinite(found.se) or not opened.human_grades:
            why, found = "People graded too few pairs for an interval.", None
    return JudgedGate(target, opened, pair, why, found, source)


def judge_graded(plan: Plan, gate: JudgedGate, levels: Levels) -> GateResult:
    """Return what a gate concludes from grades; inconclusive where people graded too little."""
    target, opened, found, spec = gate.target, gate.opened, gate.found, gate.target.sampled
    if len(target.rows) < spec.min_queries:
        told = not_gated(len(target.rows), spec, None)
        return gate_result(target, State.NOT_GATED, told, source=gate.source)
    alone = None if opened is None else _by_model_alone(opened, gate, levels)
    by_model = None if alone is None else answer(alone, spec).state(0)
    kept = {"source": gate.source, "model_alone": by_model}
    if opened is None or found is None:
        told = f"Too thin ({gate.source}): {gate.why} {_MORE}"
        if alone is not None:
            said = f"{by_model}: {_of(alone, target)}"
            told += f" A model's grades alone, which decide nothing, say {said}."
        return gate_result(target, State.INCONCLUSIVE, told, **kept)
    seen = _seen(opened, gate, levels)
    state, told = _concluded(opened, target, seen, levels)
    if seed_values_of(plan, target).shape[1] > 1:
        told += f" {_ONE_TRAINING}"
    told += f" Estimated from grades ({gate.source})."
    if alone is not None and by_model is not state:
        told += f" The model's grades alone would have said {by_model}: {_of(alone, target)}."
    least, most = (-np.inf, np.inf) if target.is_relative else (0.0, 1.0)
    return gate_result(
        target,
        state,
        told,
        mde=float(minimum_detectable(seen.se)[0]) if seen.se[0] else None,
        low=max(least, float(seen.low[0])),
        high=min(most, float(seen.high[0])),
        bound=float(seen.bound[0]) if isinstance(spec, NoWorse) else None,
        **{"difference" if target.is_relative else "value": float(seen.mean[0])},
        **kept,
    )


def _concluded(opened: Round, target: Target, seen: Seen, levels: Levels) -> tuple[State, str]:
    """Return the answer and its sentence; inconclusive where too few queries are graded."""
    spec = target.sampled
    state, n = answer(seen, spec).state(0), len(target.rows)
    known = _known(opened, target)
    if known < spec.min_queries:
        told = (
            f"Too thin: {counted(known, 'query')} with a judgement or a grade of people, fewer "
            f"than min_queries = {spec.min_queries}. {_MORE}"
        )
        return State.INCONCLUSIVE, told
    told = reason(state, spec, seen=seen, n=n, levels=levels, counts=False)
    if state is not State.INCONCLUSIVE:
        return state, told
    is_whole = opened.judged == opened.plan.n_pairs
    return state, f"{told} {'All pairs are graded: it takes more queries.' if is_whole else _MORE}"


def _known(opened: Round, target: Target) -> int:
    """Return of how many queries something is known: graded, judged before, or not in question."""
    plan, rows = opened.plan, target.rows
    said = Sample.after(plan, opened.judged).depths > 0
    said[plan.known.queries] = True
    of_all = plan.sizes > 0 if target.is_relative else plan.documents >= 0
    return int((said | ~of_all.any(axis=1))[rows].sum())


def _is_judged(plan: Plan, target: Target) -> bool:
    return len(plan.collections[target.collection].judgements.grades) > 0


def _seen(opened: Round, gate: JudgedGate, levels: Levels) -> Seen:
    """Return what the grades of people show, with those of a model where these agree."""
    rows = gate.target.rows
    two_sided = opened.estimated(gate.pair, rows=rows, confidence=levels.interval)
    one_sided = opened.estimated(gate.pair, rows=rows, confidence=2 * levels.bound - 1)
    return _as_seen(two_sided, one_sided, levels)


def _by_model_alone(opened: Round, gate: JudgedGate, levels: Levels) -> Seen | None:
    """Return what a model's grades would show if they were true; None without any."""
    rows = gate.target.rows
    two_sided = opened.by_model_alone(gate.pair, rows=rows, confidence=levels.interval)
    one_sided = opened.by_model_alone(gate.pair, rows=rows, confidence=2 * levels.bound - 1)
    if two_sided is None or one_sided is None or not np.isfinite(two_sided.se):
        return None
    return _as_seen(two_sided, one_sided, levels)


def _as_seen(two_sided: Estimated, one_sided: Estimated, levels: Levels) -> Seen:
    bound = one_sided.low  # with the losses that may be unseen in what is not graded
    values = two_sided.values[:, None]
    if np.abs(values).max() <= 1:  # beyond where few pairs stand for many, and are cared for above
        phantom = difference_bounds(values, confidence=levels.bound, clusters=two_sided.clusters)
        bound = min(bound, float(phantom.low[0]))
    numbers = (
        two_sided.difference,
        two_sided.se,
        two_sided.low,
        two_sided.high,
        bound,
    )
    return Seen(*(np.array([each]) for each in numbers))


def _of(seen: Seen, target: Target) -> str:
    shown = signed if target.is_relative else "{:.3f}".format
    return f"{shown(seen.mean[0])} [{shown(seen.low[0])}, {shown(seen.high[0])}]"
