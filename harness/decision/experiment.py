"""Experiment: the cheapest next step that could change the verdict."""

from __future__ import annotations

from typing import NamedTuple

from harness.decision.effects import Effect
from harness.decision.situation import Action, Situation
from harness.decision.verdict import Outcome
from harness.results.learning_curve import doubling, reach
from harness.statistics.verdicts import more_in_words, signed

# What trying a remedy means; those that add a candidate are named if none such was tested.
_LEVERS = {
    "fine-tune": "Fine-tune '{}'",
    "hybrid": "Fuse '{}' with BM25",
    "rerank": "Rerank '{}'",
    "chunking": "Index the documents in chunks that fit the model's limit",
    "expansion": "Expand acronyms and synonyms in queries or documents",
    "deduplicate": "Merge near-duplicate documents",
    "centring": "Subtract the mean vector before searching",
    "multi-vector": "Add a late-interaction model (several vectors per document)",
    "fix the data": "Judge the documents that the diagnosis lists",
    "fix the pipeline": "Correct how the model is run",
}
_TRIED = {"fine-tune": Action.FINE_TUNE, "hybrid": Action.FUSE, "rerank": Action.RERANK}
_SMALLER = (Action.TRUNCATE, Action.COMPRESS, Action.INDEX)


def cheapest_experiment(situation: Situation, effects: list[Effect], outcome: Outcome) -> str:
    """Return what to try next, the cheapest first: data, budgets, queries, options not tried."""
    if outcome.to_judge:
        return (
            "Fill in the grade column of the documents to judge, list the file under the "
            "collection's judgements, and decide again."
        )
    if outcome.to_measure is not None:
        return f"Measure '{outcome.to_measure}' (or lift the budget) and decide again."
    if outcome.action is Action.FIX_DATA:
        return "Judge a sample of the contradicted queries again, and rerun the suite."
    if outcome.action is Action.FIX_PIPELINE and outcome.candidate:
        return f"Make '{outcome.candidate}' the baseline and decide again."
    if outcome.action is Action.FIX_PIPELINE:
        return "Add a candidate that runs the baseline's model correctly, and decide again."
    queries = ""
    if outcome.more_queries:
        queries = f"Judge about {more_in_words(outcome.more_queries)} of the same kind."
    return (
        _excluded_gain(situation, effects)
        or _open_forgetting(situation, effects, outcome)
        or queries
        or _untried(situation, outcome)
    )


def _excluded_gain(situation: Situation, effects: list[Effect]) -> str | None:
    """Return how an excluded option that seems to gain could become eligible."""
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
            f"Ask whether the budget can be raised for '{best.option.name}' "
            f"({signed(best.difference)}): {' '.join(best.option.over_budget)}"
        )
    forgetful = [effect for effect in sound if effect.option.forgotten]
    if forgetful:
        best = max(forgetful, key=lambda effect: effect.difference)
        return f"{_interpolation(situation, best)}."
    harmful = [effect for effect in sound if effect.option.harmful]
    if harmful:
        names = ", ".join(f"'{effect.option.name}'" for effect in harmful)
        return f"Inspect the queries with severe losses under {names}."
    if excluded:
        names = ", ".join(f"'{effect.option.name}'" for effect in excluded)
        return f"Retrain {names} without the test queries: the gain may be memorisation."
    return None


def _open_forgetting(situation: Situation, effects: list[Effect], outcome: Outcome) -> str | None:
    """Return what would settle whether a weakly recommended option forgets too much."""
    for effect in effects:
        if effect.option.name != outcome.candidate or not effect.option.cautions:
            continue
        if any(each.candidate in effect.option.trained for each in situation.forgetting):
            return (
                f"{_interpolation(situation, effect)}; or judge more queries of the general "
                "collections."
            )
        return "Judge more queries of the same kind, to bound the share of severe losses."
    return None


def _interpolation(situation: Situation, effect: Effect) -> str:
    """Return how to average the weights of a trained model and its parent."""
    found = next(
        each
        for each in situation.forgetting
        if each.candidate in effect.option.trained and each.outcome != "keeps"
    )
    if found.share < 1:
        return f"Lower interpolate of '{found.candidate}' below {found.share:g}"
    return (
        f'Add a candidate with from = "{found.candidate}" and interpolate = 0.5: averaging its '
        f"weights with those of '{found.reference}' may keep most of the gain "
        f"({signed(effect.difference)}) and forget less"
    )


def _untried(situation: Situation, outcome: Outcome) -> str:
    """Return what was not tested on the option that the verdict chooses, the cheapest first.

    Another model is named where its published scores are better; else what a diagnosis measured,
    what the larger part of the loss asks for, smaller vectors, and training.
    """
    if situation.untested:
        return f"Add '{situation.untested[0]}', whose published scores are better, as a candidate."
    taken = outcome.candidate or situation.baseline
    tried = situation.tried.get(taken, frozenset())
    for each in situation.failures.recoverable if taken == situation.baseline else ():
        if each.points >= situation.spec.gain and _TRIED.get(each.lever) not in tried:
            return (
                f"{_LEVERS[each.lever].format(taken)}: the diagnosis of '{situation.baseline}' "
                f"measured {signed(each.points)} for it ({'; '.join(each.reasons)})."
            )
    largest = _largest_loss(situation, taken)
    if largest is not None and largest.remedy not in tried:
        return f"{largest.change}: {largest.why}."
    if found := _by_cost(situation, taken, tried) or _more_pairs(situation):
        return found
    if largest is not None and largest.remedy is Action.RERANK:
        return f"{largest.change} with a stronger model: {largest.why}."
    return f"No cheap change of '{taken}' is untested. Decide again when data or models change."


class _Loss(NamedTuple):
    """What could recover the larger part of an option's loss, and how much that is."""

    remedy: Action
    change: str
    why: str


def _largest_loss(situation: Situation, taken: str) -> _Loss | None:
    gap = situation.gap if taken == situation.baseline else situation.gaps.get(taken)
    if gap is None or gap.ordering_loss + gap.first_stage_loss <= situation.spec.gain:
        return None
    if gap.ordering_loss >= gap.first_stage_loss:
        adds = f"a perfect order of its top {gap.depth} would add {gap.ordering_loss:.3f}"
        return _Loss(Action.RERANK, f"Rerank '{taken}'", adds)
    other = "BM25" if taken in situation.with_vectors else "a dense model"
    lost = f"{gap.first_stage_loss:.3f} is lost to documents beyond its top {gap.depth}"
    return _Loss(Action.FUSE, f"Fuse '{taken}' with {other}", lost)


def _by_cost(situation: Situation, taken: str, tried: frozenset[str]) -> str | None:
    """Return what could make an option smaller or better, if it was not tested on it."""
    if taken in situation.with_vectors and tried.isdisjoint(_SMALLER):
        return f"Truncate '{taken}': shorter vectors may lose next to nothing."
    if taken in situation.with_vectors and Action.COMPRESS not in tried:
        return f"Quantise '{taken}' to int8: a quarter of the bytes, often at next to no loss."
    if taken in situation.with_weights and Action.FINE_TUNE not in tried:
        return f"Fine-tune '{taken}', if you have about a thousand training pairs."
    return None


def _more_pairs(situation: Situation) -> str | None:
    """Return how many more training pairs would pay off, if a learning curve says so."""
    for curve in situation.curves:
        if curve.enough is not None and curve.enough > curve.largest:
            more = curve.enough - curve.largest
            return f"Collect about {more:,} more training pairs. {reach(curve)}"
        if curve.doubled_low > 0 and curve.doubled >= situation.spec.gain:
            return f"Collect more training pairs. {doubling(curve)}"
    return None
