"""Experiment: the cheapest thing to try next that could change the verdict."""

from __future__ import annotations

from harness.decision.effects import Effect
from harness.decision.situation import Action, Situation
from harness.decision.verdict import Outcome
from harness.results.learning_curve import doubling, reach
from harness.statistics.verdicts import more_in_words, signed

_ORDERING_SHARE = 0.5
# What trying a lever means; those of a candidate's kind are told where that kind was not tried.
_LEVERS = {
    "fine-tune": "Add a fine-tuned candidate",
    "hybrid": "Add a candidate that fuses it with BM25",
    "rerank": "Add a reranker",
    "chunking": "Index the documents in chunks that fit the model's limit",
    "expansion": "Write out acronyms and synonyms in queries or documents",
    "deduplicate": "Merge documents that are nearly the same",
    "centring": "Subtract the mean vector before searching",
    "multi-vector": "Add a model with several vectors a document",
    "fix the data": "Judge the documents of the diagnosis's queue",
    "fix the pipeline": "Correct how the model is run",
}
_TRIED = {"fine-tune": Action.FINE_TUNE, "hybrid": Action.FUSE, "rerank": Action.RERANK}


def cheapest_experiment(situation: Situation, effects: list[Effect], outcome: Outcome) -> str:
    """Return what to try next, the cheapest first: data, budgets, queries, options not tried."""
    if outcome.to_judge:
        return (
            "Fill in the column grade of the documents to judge, name the file in the "
            "collection's judgements, and decide again."
        )
    if outcome.to_measure is not None:
        return f"Measure '{outcome.to_measure}' (or lift the budget), and decide again."
    if outcome.action is Action.FIX_DATA:
        return "Judge a sample of the contradicted queries again, and run the suite on the result."
    if outcome.action is Action.FIX_PIPELINE and outcome.candidate:
        return f"Make '{outcome.candidate}' the baseline and decide again."
    if outcome.action is Action.FIX_PIPELINE:
        return "Correct how the baseline is run, as a candidate beside it, and decide again."
    queries = ""
    if outcome.more_queries:
        queries = f"Judge about {more_in_words(outcome.more_queries)} of the same kind."
    return (
        _excluded_gain(situation, effects)
        or _open_forgetting(situation, effects, outcome)
        or queries
        or _untried(situation, effects, outcome)
    )


def _excluded_gain(situation: Situation, effects: list[Effect]) -> str | None:
    """Return how an excluded option that seems to gain could be had."""
    excluded = [
        effect
        for effect in effects
        if effect.option.excluded and effect.low > 0 and effect.p_worthwhile >= situation.spec.lean
    ]
    sound = [effect for effect in excluded if not effect.option.leaked]
    within = [effect for effect in sound if effect.option.excluded == effect.option.over_budget]
    if within:
        best = max(within, key=lambda effect: effect.difference)
        return (
            f"Ask whether the budgets can give way for '{best.option.name}' "
            f"({signed(best.difference)}): {' '.join(best.option.over_budget)}"
        )
    forgetful = [effect for effect in sound if effect.option.forgotten]
    if forgetful:
        best = max(forgetful, key=lambda effect: effect.difference)
        return f"{_interpolation(situation, best)}."
    harmful = [effect for effect in sound if effect.option.harmful]
    if harmful:
        names = ", ".join(f"'{effect.option.name}'" for effect in harmful)
        return f"Look at the queries that lose their answer with {names}."
    if excluded:
        names = ", ".join(f"'{effect.option.name}'" for effect in excluded)
        return f"Train {names} again without the test queries: the gain seen may be memory."
    return None


def _open_forgetting(situation: Situation, effects: list[Effect], outcome: Outcome) -> str | None:
    """Return what would settle whether the option that is leaned to forgets too much."""
    for effect in effects:
        if effect.option.name != outcome.candidate or not effect.option.cautions:
            continue
        if any(each.candidate in effect.option.trained for each in situation.forgetting):
            return (
                f"{_interpolation(situation, effect)}; or judge more queries of the general "
                "collections."
            )
        return "Judge more queries of the same kind, to see how many lose their answer."
    return None


def _interpolation(situation: Situation, effect: Effect) -> str:
    """Return how weights between a trained model and what it was made from are had."""
    found = next(
        each
        for each in situation.forgetting
        if each.candidate in effect.option.trained and each.outcome != "keeps"
    )
    if found.share < 1:
        return f"Lower interpolate of '{found.candidate}' below {found.share:g}"
    return (
        f'Add a candidate with from = "{found.candidate}" and interpolate = 0.5: weights between '
        f"it and '{found.reference}' may keep much of the gain ({signed(effect.difference)}) and "
        "forget less"
    )


def _untried(situation: Situation, effects: list[Effect], outcome: Outcome) -> str:
    tried = {effect.option.action for effect in effects}
    if situation.untested:
        return f"Add '{situation.untested[0]}', which does better elsewhere, as a candidate."
    taken = outcome.candidate or situation.baseline
    is_baseline = taken == situation.baseline
    for each in situation.failures.recoverable if is_baseline else ():
        if each.points >= situation.spec.gain and _TRIED.get(each.lever) not in tried:
            return (
                f"{_LEVERS[each.lever]}: on '{situation.baseline}' the diagnosis measured "
                f"{signed(each.points)} for it ({'; '.join(each.reasons)})."
            )
    gap = situation.gap if is_baseline else situation.gaps.get(taken)
    if gap is not None and Action.RERANK not in tried:
        lost = gap.ordering_loss + gap.first_stage_loss
        if lost > situation.spec.gain and gap.ordering_loss >= _ORDERING_SHARE * lost:
            return (
                f"Add a reranker: a perfect order of the first {gap.depth} documents of "
                f"'{taken}' would add {gap.ordering_loss:.3f}."
            )
    shortened = {effect.option.shortens for effect in effects}
    if taken in situation.with_vectors and taken not in shortened:
        return f"Add truncations of '{taken}': shorter vectors may lose nothing that matters."
    if Action.FINE_TUNE not in tried:
        return "Add a fine-tuned candidate, if there are a thousand pairs to train on."
    return _more_pairs(situation) or "Decide again when the data or the models change."


def _more_pairs(situation: Situation) -> str | None:
    """Return how many more training pairs would pay, if a learning curve says so."""
    for curve in situation.curves:
        if curve.enough is not None and curve.enough > curve.largest:
            more = curve.enough - curve.largest
            return f"Collect about {more:,} more training pairs. {reach(curve)}"
        if curve.doubled_low > 0 and curve.doubled >= situation.spec.gain:
            return f"Collect more training pairs. {doubling(curve)}"
    return None
