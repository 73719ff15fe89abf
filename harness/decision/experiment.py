"""Experiment: the cheapest thing to try next that could change the verdict."""

from __future__ import annotations

from harness.decision.effects import Effect
from harness.decision.situation import Action, Situation
from harness.decision.verdict import Outcome

_ORDERING_SHARE = 0.5


def cheapest_experiment(situation: Situation, effects: list[Effect], outcome: Outcome) -> str:
    """Return what to try next, the cheapest first: data, budgets, queries, options not tried."""
    if outcome.action is Action.FIX_DATA:
        return "Judge a sample of the contradicted queries again, and run the suite on the result."
    if outcome.action is Action.FIX_PIPELINE and outcome.candidate:
        return f"Make '{outcome.candidate}' the baseline and decide again."
    if outcome.action is Action.FIX_PIPELINE:
        return "Correct how the baseline is run, as a candidate beside it, and decide again."
    return (
        _barred_gain(situation, effects)
        or _more_queries(outcome)
        or _untried(situation, effects, outcome)
    )


def _barred_gain(situation: Situation, effects: list[Effect]) -> str | None:
    """Return how a barred option that seems to gain could be had."""
    barred = [
        effect
        for effect in effects
        if effect.option.barred and effect.low > 0 and effect.p_worthwhile >= situation.spec.lean
    ]
    within = [effect for effect in barred if not effect.option.leaked]
    if within:
        best = max(within, key=lambda effect: effect.difference)
        return (
            f"Ask whether the budgets can give way for '{best.option.name}' "
            f"({best.difference:+.3f}): {' '.join(best.option.over_budget)}"
        )
    if barred:
        names = ", ".join(f"'{effect.option.name}'" for effect in barred)
        return f"Train {names} again without the test queries: the gain seen may be memory."
    return None


def _more_queries(outcome: Outcome) -> str | None:
    if not outcome.more_queries:
        return None
    return f"Judge about {outcome.more_queries:,} more queries of the same kind."


def _untried(situation: Situation, effects: list[Effect], outcome: Outcome) -> str:
    tried = {effect.option.action for effect in effects}
    if situation.untested:
        return f"Add '{situation.untested[0]}', which does better elsewhere, as a candidate."
    gap = situation.gap
    if gap is not None and Action.RERANK not in tried:
        lost = gap.ordering_loss + gap.first_stage_loss
        if lost > situation.spec.gain and gap.ordering_loss >= _ORDERING_SHARE * lost:
            return (
                f"Add a reranker: a perfect order of the first {gap.depth} documents of "
                f"'{situation.baseline}' would add {gap.ordering_loss:.3f}."
            )
    taken = outcome.candidate or situation.baseline
    shortened = {effect.option.shortens for effect in effects}
    if taken in situation.with_vectors and taken not in shortened:
        return f"Add truncations of '{taken}': shorter vectors may lose nothing that matters."
    if Action.FINE_TUNE not in tried:
        return "Add a fine-tuned candidate, if there are a thousand pairs to train on."
    return "Decide again when the data or the models change."
