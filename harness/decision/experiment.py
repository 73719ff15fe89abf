"""Experiment: the cheapest next step that could change the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from harness.decision.answers import ALIKE
from harness.decision.effects import Effect
from harness.decision.preference import (
    BY_COST,
    is_likely,
    is_worthwhile,
    permitted,
    preferred,
    probability_over,
    queries_between,
)
from harness.decision.situation import Action, Failures, Situation
from harness.decision.verdict import Outcome
from harness.decision.wording import REMEDIES, milliseconds, too_close
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
_TRYING = {Action.FUSE: "Fusing", Action.RERANK: "Reranking", Action.FINE_TUNE: "Fine-tuning"}
_MOST = 2  # sentences
_POSSIBLE = 0.2  # probability from which another option is named that may be better
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
    if situation.has_open_pairs and outcome.strength != "recommended":
        queries = "Grade more pairs: harness judge."
    elif outcome.more_queries:
        queries = f"Judge about {more_in_words(outcome.more_queries)} of the same kind"
        about = f"to settle whether '{outcome.candidate}' gains {situation.spec.gain:g} or more"
        queries += f", {about}." if outcome.candidate else "."
    return (
        _excluded_gain(situation, effects, outcome)
        or _open_forgetting(situation, effects, outcome)
        or queries
        or _beyond(situation, effects, outcome)
    )


def _beyond(situation: Situation, effects: list[Effect], outcome: Outcome) -> str:
    """Return what could still change a verdict that rests on enough data, in two sentences."""
    taken = next((each for each in effects if each.option.name == outcome.candidate), None)
    rival = _rival(situation, effects, taken)
    untried, remedy = _untried(situation, outcome)
    name = outcome.candidate or situation.baseline
    tried = {*situation.tried.get(name, ()), remedy}
    for action, trying in _TRYING.items():
        possible = action is not Action.FINE_TUNE or name in situation.with_weights
        if possible and action not in tried and any(e.option.named is action for e in effects):
            untried += f" {trying} '{name}' was not tried."
    nothing = f"No cheap change of '{name}' is untested. Decide again when data or models change."
    told = (rival, untried.strip() or nothing, _budget(situation, taken))
    return " ".join([each for each in told if each][:_MOST])


def _excluded_gain(situation: Situation, effects: list[Effect], outcome: Outcome) -> str | None:
    """Return how an excluded option that would otherwise be chosen could become eligible."""
    sound = [effect for effect in effects if effect.option.excluded and not effect.option.leaked]
    within = [each for each in sound if each.option.excluded == each.option.over_budget]
    if (best := _chosen_if_allowed(situation, effects, outcome, within)) is not None:
        return (
            f"Ask whether the budget can be raised for '{best.option.name}' "
            f"({_ahead(best, effects, outcome)}): {' '.join(best.option.over_budget)}"
        )
    forgetful = [effect for effect in sound if effect.option.forgotten]
    if (best := _chosen_if_allowed(situation, effects, outcome, forgetful)) is not None:
        return f"{_interpolation(situation, best)}."
    harmful = [effect for effect in sound if effect.option.harmful]
    if (best := _chosen_if_allowed(situation, effects, outcome, harmful)) is not None:
        return f"Inspect the queries with severe losses under '{best.option.name}'."
    leaked = [effect for effect in effects if effect.option.leaked]
    if (best := _chosen_if_allowed(situation, effects, outcome, leaked)) is not None:
        name = best.option.name
        return f"Retrain '{name}' without the test queries: the gain may be memorisation."
    return None


def _chosen_if_allowed(
    situation: Situation, effects: list[Effect], outcome: Outcome, excluded: list[Effect]
) -> Effect | None:
    """Return which of some excluded options the rules would choose if none of them were excluded.

    A compression that is recommended gives way to a worthwhile gain alone, not to a probable one.
    """
    named = {each.option.name: each for each in excluded}
    allowed = permitted([_allowed(each) if each.option.name in named else each for each in effects])
    eligible = [each for each in allowed if not each.option.unmeasured]
    spec, is_kept = situation.spec, outcome.candidate == situation.baseline
    best = preferred(situation, eligible, is_worthwhile, level=spec.confidence).effect
    if best is None and (is_kept or outcome.strength != "recommended"):
        best = preferred(situation, eligible, is_likely, level=spec.lean).effect
    return None if best is None else named.get(best.option.name)


def _allowed(effect: Effect) -> Effect:
    option = replace(effect.option, over_budget=(), leaked=(), forgotten=(), harmful=())
    return replace(effect, option=option)


def _ahead(best: Effect, effects: list[Effect], outcome: Outcome) -> str:
    """Return what an option gains over the chosen one, or over the baseline that is kept."""
    for taken in effects:
        if taken.option.name == outcome.candidate:
            gained = signed(best.difference - taken.difference)
            return f"{gained} against '{taken.option.name}'"
    return signed(best.difference)


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


def _rival(situation: Situation, effects: list[Effect], taken: Effect | None) -> str:
    """Return which option may gain the worthwhile over the chosen one, and what would settle it."""
    if taken is None or taken.option.action not in BY_COST:
        return ""
    others = {
        each.option.name: (probability_over(situation, each, taken), each)
        for each in permitted(effects)
        if each is not taken and not each.option.unmeasured
    }
    chance, best = max(others.values(), key=lambda each: each[0], default=(0.0, taken))
    if chance < _POSSIBLE:
        return ""
    might = (
        f"'{best.option.name}' might gain {situation.spec.gain:g} over '{taken.option.name}' "
        f"(P {chance:.2f}"
    )
    measured = f"measured {signed(best.difference - taken.difference)}"
    if not (more := queries_between(situation, best, taken)):
        return f"{might}): {measured}, {too_close(situation)}."
    return f"{might}; {measured}): judge about {more_in_words(more)} to settle whether it does."


def _budget(situation: Situation, taken: Effect | None) -> str:
    """Return the latency budget that would exclude an option slower than the baseline."""
    if taken is None or situation.budgets.query_ms_p95 is not None:
        return ""
    now, before = taken.option.cost.query_ms_p95, situation.baseline_cost.query_ms_p95
    if not now or not before or now <= ALIKE * before:
        return ""
    return f"A p95 budget below {milliseconds(now)} ms would exclude '{taken.option.name}'."


def _untried(situation: Situation, outcome: Outcome) -> tuple[str, Action | None]:
    """Return what was not tested on the option that the verdict chooses, and its kind of change.

    The cheapest first; "" where nothing cheap is left.
    Another model is named where its published scores are better; else what a diagnosis measured,
    what the larger part of the loss asks for, smaller vectors, and training.
    """
    if situation.untested:
        add = f"Add '{situation.untested[0]}', whose published scores are better, as a candidate."
        return add, None
    taken = outcome.candidate or situation.baseline
    tried = situation.tried.get(taken, frozenset())
    found = situation.failures
    if taken != situation.baseline:
        found = found.others.get(taken, Failures())
    for each in found.recoverable:
        if each.points >= situation.spec.gain and REMEDIES.get(each.lever) not in tried:
            return (
                f"{_LEVERS[each.lever].format(taken)}: the diagnosis of '{taken}' measured "
                f"{signed(each.points)} for it ({'; '.join(each.reasons)})."
            ), REMEDIES.get(each.lever)
    largest = _largest_loss(situation, taken)
    if largest is not None and largest.remedy not in tried:
        return f"{largest.change} was not tried: {largest.why}.", largest.remedy
    if (cheap := _by_cost(situation, taken, tried)) is not None:
        return cheap
    pairs = _more_pairs(situation) or ""
    if not pairs and largest is not None and largest.remedy is Action.RERANK:
        return f"A stronger reranker on '{taken}' may help: {largest.why}.", None
    return pairs, None


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
        adds = (
            f"a perfect reranker of its top {gap.depth} would add {gap.ordering_loss:.3f} "
            f"{situation.metric}"
        )
        return _Loss(Action.RERANK, f"A reranker on '{taken}'", adds)
    other = "BM25" if taken in situation.with_vectors else "a dense model"
    lost = (
        f"{gap.first_stage_loss:.3f} {situation.metric} is lost to documents beyond its top "
        f"{gap.depth}"
    )
    return _Loss(Action.FUSE, f"A fusion of '{taken}' with {other}", lost)


def _by_cost(situation: Situation, taken: str, tried: frozenset[str]) -> tuple[str, Action] | None:
    """Return what could make an option smaller or better, if it was not tested on it."""
    if taken in situation.with_vectors and tried.isdisjoint(_SMALLER):
        return f"Truncate '{taken}': shorter vectors may lose next to nothing.", Action.TRUNCATE
    if taken in situation.with_vectors and Action.COMPRESS not in tried:
        text = f"Quantise '{taken}' to int8: a quarter of the bytes, often at next to no loss."
        return text, Action.COMPRESS
    if taken in situation.with_weights and Action.FINE_TUNE not in tried:
        text = f"Fine-tune '{taken}', if you have about a thousand training pairs."
        return text, Action.FINE_TUNE
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
