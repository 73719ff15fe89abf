"""Preference: which options may be taken, which gain enough, and which of them is preferred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from harness.decision.effects import Effect
from harness.decision.situation import Action, Situation
from harness.decision.wording import KINDS, gain_in_words, probability_in_words
from harness.statistics.inferiority import queries_for_non_inferiority, queries_for_sign
from harness.statistics.power import queries_for_effect
from harness.statistics.unseen import skewness

# 50 queries are the usual minimum for trusting a comparison (Voorhees & Buckley 2002).
FEWEST_TO_RECOMMEND = 50
FEWEST_TO_LEAN = 20
OUT_OF_REACH = 20_000  # queries that nobody collects to settle a difference this small
_LEAST_ALPHA = 1e-4  # of the interval of a handful of queries, which has no end
# A costlier kind of change is taken only where it is better than a cheaper one: nothing new, then
# re-embedding once, then two searches a query, then a second model a query, then training.
BY_COST = (Action.FIX_PIPELINE, Action.SWITCH, Action.FUSE, Action.RERANK, Action.FINE_TUNE)


class Preference(NamedTuple):
    """The option that is preferred, or None, and the steps to it as sentences."""

    effect: Effect | None
    steps: list[str]


def permitted(effects: Sequence[Effect]) -> list[Effect]:
    """Return the options that may be taken: not excluded, no compression beside its full vectors.

    A compression of a model whose full vectors are beyond a budget stands for the model.
    """
    allowed = [effect for effect in effects if not effect.option.excluded]
    full = {effect.option.name for effect in allowed}
    return [
        effect
        for effect in allowed
        if effect.option.action in BY_COST and effect.option.shortens not in full
    ]


def is_worthwhile(situation: Situation, effect: Effect) -> bool:
    """Tell whether a gain is worthwhile with the asked confidence, and not by chance among all.

    The chance is that of the best of all options. One with a caution is leaned to at most.
    """
    certain = effect.p_adjusted >= situation.spec.confidence and effect.low > 0
    enough = situation.n_queries >= FEWEST_TO_RECOMMEND
    return certain and enough and not effect.option.cautions


def is_likely(situation: Situation, effect: Effect) -> bool:
    """Tell whether a gain is probable enough, for the best of all options, to lean towards it."""
    likely = effect.p_adjusted >= situation.spec.lean
    return likely and situation.n_queries >= FEWEST_TO_LEAN


def preferred(
    situation: Situation,
    effects: Sequence[Effect],
    good_enough: Callable[[Situation, Effect], bool],
    *,
    level: float,
) -> Preference:
    """Return the best option of the cheapest kind that is good enough, unless a costlier is better.

    Args:
        situation: of the effects.
        effects: of the eligible options.
        good_enough: what an option must pass.
        level: probability with which a costlier kind must gain the worthwhile over the cheaper.
    """
    chosen: Effect | None = None
    steps: list[str] = []
    for action in BY_COST:
        of_kind = [
            effect
            for effect in effects
            if effect.option.action is action and good_enough(situation, effect)
        ]
        if not of_kind:
            continue
        best = max(of_kind, key=lambda effect: effect.difference)
        if chosen is None:
            steps.append(f"{KINDS[action]}: {gain_in_words(situation, best)}.")
            chosen = best
            continue
        better = probability_over(situation, best, chosen)
        takes = better >= level
        steps.append(
            f"{KINDS[action]} (a costlier kind of change): P(gain of '{best.option.name}' over "
            f"'{chosen.option.name}') {probability_in_words(better)}; {level:g} needed."
        )
        chosen = best if takes else chosen
    return Preference(chosen, steps)


def probability_over(situation: Situation, effect: Effect, other: Effect) -> float:
    """Return the posterior probability that one option gains the worthwhile over another."""
    return float((effect.draws - other.draws >= situation.spec.gain).mean())


def hopeful(situation: Situation, effects: Sequence[Effect]) -> list[Effect]:
    """Return the options whose gain may still be worthwhile."""
    return [effect for effect in effects if effect.ceiling >= situation.spec.gain]


def queries_to_judge(situation: Situation, effect: Effect) -> int:
    """Return the queries that tell an option's gain from the worthwhile one, among all options.

    The gain is taken for `likely`, not for the difference seen, which is that of the best of all
    options. One within half the worthwhile gain of it would take any number; half is assumed then,
    and where so many were asked already it is 0: queries alone do not settle it.
    """
    gain = situation.spec.gain
    sd, alpha = effect.sd, max(1 - effect.confidence, _LEAST_ALPHA)
    inflation = effect.design_effect
    distance = max(abs(effect.likely - gain), gain / 2)
    needed = queries_for_effect(sd, distance, alpha=alpha, design_effect=inflation)
    if effect.likely < gain:  # until a rare gain that nobody saw no longer matters
        unseen = queries_for_non_inferiority(
            sd, gain, difference=distance - gain, design_effect=inflation
        )
    else:  # or a rare loss
        unseen = queries_for_sign(
            sd,
            gain + distance,
            beyond=gain,
            alpha=alpha,
            skewness=min(float(skewness(part)) for part in effect.option.differences),
            design_effect=inflation,
        )
    return max(0, max(needed, unseen, FEWEST_TO_RECOMMEND) - situation.n_queries)


def queries_between(situation: Situation, effect: Effect, other: Effect) -> int | None:
    """Return the queries that tell a worthwhile gain of one option over another.

    None beyond reach, and where the gain measured lies within half the worthwhile one of it.
    """
    pairs = zip(effect.option.differences, other.option.differences, strict=True)
    sd = max(float((mine - its).std()) for mine, its in pairs)
    gain = situation.spec.gain
    distance = abs(effect.difference - other.difference - gain)
    if distance < gain / 2:
        return None
    inflation = max(effect.design_effect, other.design_effect)
    more = queries_for_effect(sd, distance, design_effect=inflation) - situation.n_queries
    return more if 0 < more <= max(OUT_OF_REACH, 100 * situation.n_queries) else None
