"""Answers: what a verdict says about each kind of change and each option, and its price."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.decision.compression import Shortening, is_larger, shortenings, to_take
from harness.decision.effects import Effect, flips_of
from harness.decision.preference import (
    BY_COST,
    FEWEST_TO_RECOMMEND,
    hopeful,
    is_worthwhile,
    permitted,
    probability_over,
)
from harness.decision.situation import Action, Option, OptionCost, Situation
from harness.decision.verdict import KindAnswer, OnCollection, OptionVerdict, Outcome, Reply
from harness.decision.wording import KINDS, lost_at_most, milliseconds, probability_in_words
from harness.providers.table import money
from harness.statistics.families import max_t
from harness.statistics.verdicts import signed

_NAMES = {  # of costs, in a table
    "p95 latency": "latency",
    "index size": "index",
    "monthly cost": "monthly cost",
}
ALIKE = 1.1  # times: a cost that differs by less is called the same
_NOISE = 1.5  # times: latencies of models of one shape, timed at different moments, differ so much
_NAMED = 2  # candidates in a verdict beside the chosen one


@dataclass(frozen=True)
class Ruling:
    """A situation with its effects and the outcome of the rules."""

    situation: Situation
    effects: list[Effect]
    outcome: Outcome

    @cached_property
    def taken(self) -> Effect | None:
        """The chosen option; None where it is the baseline, or nothing is decided."""
        named = [each for each in self.effects if each.option.name == self.outcome.candidate]
        return named[0] if named else None

    @cached_property
    def kept(self) -> str:
        """The candidate whose vectors are searched under the verdict: chosen, else the baseline.

        A chosen compression of the baseline keeps the baseline's vectors.
        """
        if self.taken is None or self.taken.option.action not in BY_COST:
            return self.situation.baseline
        return self.taken.option.name

    @cached_property
    def tested(self) -> dict[str, Shortening]:
        """The compressions that were tested against their own full vectors, by name."""
        options = {option.name: option for option in self.situation.options}
        fulls = dict.fromkeys(option.shortens for option in options.values() if option.shortens)
        return {
            each.option.name: each
            for full in fulls
            for each in shortenings(self.situation, options.get(full))
        }

    @cached_property
    def shortest(self) -> Shortening | None:
        """The compression that the verdict chooses, alone or with the chosen option, or None."""
        cost = self.cost_of(self.kept)
        mine = [each for each in self.tested.values() if each.option.shortens == self.kept]
        return to_take(mine, cost)

    def kind(self, option: Option) -> Action:
        """Return the kind of change that an option answers for.

        A compression beside its full vectors is one, whatever else changes with the model, and so
        is one that is excluded itself.
        """
        full = {
            each.option.name
            for each in (self.effects if option.excluded else permitted(self.effects))
        }
        is_beside = option.shortens in full and option.action in BY_COST
        if not is_beside:
            return option.named
        if option.indexed:
            return Action.INDEX
        return Action.COMPRESS if option.series else Action.TRUNCATE

    def cost_of(self, name: str) -> OptionCost:
        """Return what a candidate costs."""
        costs = {option.name: option.cost for option in self.situation.options}
        return costs.get(name, self.situation.baseline_cost)


SAME_COSTS = (  # under a table of prices
    f"Same: less than {ALIKE - 1:.0%} apart; latencies of models of one size, less than "
    f"{_NOISE - 1:.0%}."
)


def price(ruling: Ruling) -> str:
    """Return the gain and cost of the chosen option, in one sentence; "" without one."""
    situation, taken = ruling.situation, ruling.taken
    if taken is None:
        return ""
    gain = f"{signed(taken.difference)} {situation.metric}"
    if taken.option.action not in BY_COST and ruling.shortest is not None:
        loss = lost_at_most(ruling.shortest)
        gain = f"{loss[0].upper()}{loss[1:]}"
    count = len(situation.collections)
    mean = f" (mean of {count} collections)" if count > 1 else ""
    budgets = situation.budgets.model_dump().values()
    limits = (
        "within the budgets" if any(each is not None for each in budgets) else "no budget is set"
    )
    if situation.baseline_over_budget:
        limits = "the baseline exceeds a budget"
    costs = costs_in_words(situation.baseline_cost, taken.option.cost)
    return f"{gain}{mean} {costs}; {limits}."


def costs_in_words(old: OptionCost, new: OptionCost) -> str:
    """Return the costs of an option in units of the baseline's, for a sentence.

    A latency measured on a busy machine is not comparable, and the phrase says so.

    >>> costs_in_words(OptionCost(query_ms_p95=17.5), OptionCost(query_ms_p95=1194.0))
    'for 68 times the p95 latency (17.5 to 1,190 ms)'
    >>> costs_in_words(OptionCost(money_per_month=8.0), OptionCost(money_per_month=4.0, busy=True))
    'at 0.5 times the monthly cost (latency not compared: busy machine)'
    >>> billed = OptionCost(query_ms_p95=240.0, usd_per_million_queries=0.4)
    >>> costs_in_words(OptionCost(query_ms_p95=20.0), billed)
    'for 12 times the p95 latency (20.0 to 240 ms) and 0.4 USD for a million queries'
    """
    ratios, bills = _ratios(old, new), _bills(old, new)
    units = {unit: unit for unit in ratios}
    if old.query_ms_p95 and new.query_ms_p95:
        both = f"{milliseconds(old.query_ms_p95)} to {milliseconds(new.query_ms_p95)}"
        units["p95 latency"] = f"p95 latency ({both} ms)"
    more = [f"{times(each)} the {units[unit]}" for unit, each in ratios.items() if each > ALIKE]
    less = [f"{times(each)} the {units[unit]}" for unit, each in ratios.items() if each < 1 / ALIKE]
    if bills is not None:
        before, now = bills
        rather = f" instead of {money(before)}" if before else ""
        bill = f"{money(now)}{rather} for a million queries"
        more += [bill] if now > ALIKE * before else []
        less += [bill] if ALIKE * now < before else []
    same = [f"the same {unit}" for unit in ratios] if not more and not less else []
    parts = [
        f"{word} {' and '.join(said)}"
        for word, said in (("for", more), ("at", less), ("at", same))
        if said
    ]
    known = "p95 latency" in ratios
    return f"{', '.join(parts)}{'' if known else f' ({_untimed(old, new)})'}".strip()


def _short_costs(old: OptionCost, new: OptionCost) -> str:
    """Return the same for a table: ``68x latency, same index, 0.4 USD per million queries``."""
    ratios = _ratios(old, new)
    listed = [
        f"{_multiple(ratios[unit])} {_NAMES[unit]}" if unit in ratios else "latency n/a"
        for unit in ("p95 latency", *(unit for unit in ratios if unit != "p95 latency"))
    ]
    bills = _bills(old, new)
    listed += [] if bills is None else [f"{money(bills[1])} per million queries"]
    return ", ".join(listed)


def _multiple(ratio: float) -> str:
    is_same = 1 / ALIKE <= ratio <= ALIKE
    return (
        "same" if is_same else f"{_rounded(ratio)}x" if ratio >= 0.1 else f"1/{_rounded(1 / ratio)}"
    )


def _ratios(old: OptionCost, new: OptionCost) -> dict[str, float]:
    """Return the costs that both have, as multiples of the old ones."""
    costs = {
        "p95 latency": (old.query_ms_p95, new.query_ms_p95),
        "index size": (old.bytes_per_document, new.bytes_per_document),
        "monthly cost": (old.money_per_month, new.money_per_month),
    }
    found = {unit: now / before for unit, (before, now) in costs.items() if before and now}
    shapes = [(each.parameters, each.bytes_per_document) for each in (old, new)]
    is_noise = shapes[0] == shapes[1] and 1 / _NOISE < found.get("p95 latency", 0.0) < _NOISE
    return found | {"p95 latency": 1.0} if is_noise and old.parameters else found


def _bills(old: OptionCost, new: OptionCost) -> tuple[float, float] | None:
    """Return what providers bill for a million queries, before and now; None where none bills."""
    before, now = old.usd_per_million_queries or 0.0, new.usd_per_million_queries or 0.0
    return (before, now) if before or now else None


def _untimed(old: OptionCost, new: OptionCost) -> str:
    is_busy = old.busy or new.busy
    return "latency not compared: busy machine" if is_busy else "latency not measured"


def times(ratio: float) -> str:
    """Return a ratio with at most three significant digits.

    >>> times(68.23), times(1.5), times(345.2), times(0.53), times(0.001)
    ('68 times', '1.5 times', '345 times', '0.53 times', '1/1,000 of')
    """
    return f"1/{_rounded(1 / ratio)} of" if ratio < 0.1 else f"{_rounded(ratio)} times"


def _rounded(ratio: float) -> str:
    digits = 2 if ratio < 100 else 3
    value = float(f"{ratio:.{digits}g}")
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def answers(ruling: Ruling) -> list[KindAnswer]:
    """Return one answer for each kind of change in the suite, the cheapest kind first."""
    found = []
    for action in KINDS:
        of_kind = [each for each in ruling.effects if ruling.kind(each.option) is action]
        if of_kind:
            found.append(_answer(ruling, action, _best(ruling, of_kind)))
    return found


def answered(ruling: Ruling, found: list[KindAnswer]) -> str:
    """Return the verdict with a reply for every kind of change that it does not choose.

    One kind alone is the question of the suite, and its reply comes first.
    """
    verdict = _with_others(ruling)
    replies: dict[str, list[str]] = {}
    part = ruling.taken.option.action if ruling.taken else None  # such as the training of a fusion
    for each in found:
        if each.action is part:
            continue
        if each.reply in {"open", "no"}:
            replies.setdefault(each.reply, []).append(str(each.action))
    if not replies:
        return verdict
    if len(found) == 1:
        asked = found[0].action.capitalize()
        lead, _, task = verdict.partition("Undecided: ")
        if task and not lead:
            return f"{asked}: undecided. {task[0].upper()}{task[1:]}"
        return f"{asked}: {found[0].reply}. {verdict}"
    said = " ".join(
        f"{', '.join(replies[reply]).capitalize()}: {reply}."
        for reply in sorted(replies, reverse=True)  # what is open first
    )
    is_first = _is_fix(ruling) and ruling.outcome.candidate is None
    return f"{said} {verdict}" if is_first else f"{verdict} {said}"


def _with_others(ruling: Ruling) -> str:
    """Return the verdict with the first candidates of the same kind that it does not choose."""
    taken, sentence = ruling.taken, ruling.outcome.sentence
    if taken is None or _is_fix(ruling) or (kind := ruling.kind(taken.option)) not in BY_COST:
        return sentence
    others = [
        f"'{each.option.name}'"
        for each in ruling.effects
        if each is not taken and ruling.kind(each.option) is kind
    ]
    if not others:
        return sentence
    to = "to " if kind is Action.SWITCH else ""
    return f"{sentence.removesuffix('.')}, not {to}{' or '.join(others[:_NAMED])}."


def untimed(ruling: Ruling) -> str:
    """Return a note for a verdict without latency: that of a busy machine does not compare."""
    is_busy = ruling.taken is not None and (
        ruling.situation.baseline_cost.busy or ruling.taken.option.cost.busy
    )
    return " Latency was not measured (busy machine)." if is_busy else ""


def reranked(ruling: Ruling, found: list[KindAnswer]) -> list[str]:
    """Return what reranking gains beside the verdict, where no latency says what it costs."""
    taken = ruling.taken
    names = {each.candidate for each in found if each.action is Action.RERANK}
    return [
        f"In quality alone, reranking gains {signed(each.difference)} with '{each.option.name}', "
        f"less than '{taken.option.name}' ({signed(taken.difference)})."
        for each in ruling.effects
        if taken and untimed(ruling) and each.option.name in names
        if each.difference < taken.difference
    ]


def _best(ruling: Ruling, effects: list[Effect]) -> Effect:
    """Return the option that answers for its kind: chosen, else passed, eligible, best mean."""

    def order(effect: Effect) -> tuple[bool, bool, bool, bool, float]:
        option = effect.option
        tested = ruling.tested.get(option.name)
        return (
            option.name in _names_taken(ruling),
            option.shortens is None or option.shortens == ruling.kept,
            tested is not None and tested.outcome == "passes",
            not option.excluded and not option.unmeasured,
            effect.difference,
        )

    return max(effects, key=order)


def _names_taken(ruling: Ruling) -> set[str]:
    """Return what the verdict chooses: an option, a compression of it, or both."""
    names = {ruling.taken.option.name} if ruling.taken else set()
    if ruling.outcome.strength == "recommended" and ruling.outcome.candidate and ruling.shortest:
        names.add(ruling.shortest.option.name)
    return names


def _answer(ruling: Ruling, action: Action, effect: Effect) -> KindAnswer:
    reply, name = _reply(ruling, effect), effect.option.name
    tested = ruling.tested.get(name)
    seen = f"{signed(effect.difference)} with '{name}'"
    for full in ruling.effects if action not in BY_COST else ():
        if full.option.name == effect.option.shortens:
            loss = signed(effect.difference - full.difference)
            seen = f"{loss} with '{name}' against '{full.option.name}'"
    why = why_not(ruling, effect)
    if reply == "yes" and tested is not None:
        why = lost_at_most(tested).partition(" (")[0]
    elif reply == "probably":
        why = f"P(gain) {probability_in_words(effect.p_adjusted)}"
    sentence = f"{KINDS[action]}: {reply}, {seen}{'; ' if why else ''}{why}."
    return KindAnswer(action=action, reply=reply, candidate=name, sentence=sentence)


def _reply(ruling: Ruling, effect: Effect) -> Reply:
    if effect.option.name in _names_taken(ruling):
        return "yes" if ruling.outcome.strength == "recommended" else "probably"
    if effect.option.excluded:
        return "no"
    if ruling.outcome.action is Action.FIX_DATA and not ruling.outcome.to_judge:
        return "open"  # wrong judgements rule nothing out
    if ruling.kind(effect.option) not in BY_COST:
        return "open" if _may_shorten(ruling, effect) else "no"
    open_still = bool(hopeful(ruling.situation, [effect])) or _is_turning(ruling, effect)
    undecided = ruling.taken is None or effect.option.unmeasured or _is_fix(ruling)
    return "open" if open_still and undecided else "no"


def _may_shorten(ruling: Ruling, effect: Effect) -> bool:
    """Tell whether a compression may still pass, of vectors that are kept or may be."""
    option, tested = effect.option, ruling.tested.get(effect.option.name)
    full = [each for each in ruling.effects if each.option.name == option.shortens]
    if option.shortens != ruling.kept and not (
        _is_fix(ruling) and full and _reply(ruling, full[0]) == "open"
    ):
        return False
    if _is_turning(ruling, effect):
        return True
    if tested is None:
        likely_fails = _p_harm(ruling, effect) >= ruling.situation.spec.confidence
        return bool(option.unmeasured) and not likely_fails
    return tested.outcome == "open" or (_is_fix(ruling) and tested.outcome == "passes")


def _is_turning(ruling: Ruling, effect: Effect) -> bool:
    """Tell whether the documents that are to be judged first could turn an option's difference."""
    return bool(ruling.outcome.to_judge) and effect.could_turn


def _is_fix(ruling: Ruling) -> bool:
    """Tell whether data or pipeline come first, so that other options stay open."""
    return ruling.outcome.action in {Action.FIX_DATA, Action.FIX_PIPELINE}


def why_not(ruling: Ruling, effect: Effect) -> str:
    """Return why an option is not chosen, in a phrase; "" where it is."""
    if effect.option.name in _names_taken(ruling):
        return ""
    if ruling.kind(effect.option) in BY_COST:
        against = _behind(ruling, effect) or _unproven(ruling, effect)
    else:
        against = _not_shortened(ruling, effect)
    if _is_turning(ruling, effect) and not effect.option.excluded:
        return f"possibly {signed(effect.difference + effect.shift)} once judged"
    if against and not effect.option.excluded and _reply(ruling, effect) == "no":
        return against
    return _ineligible(ruling, effect, against) or against


def _ineligible(ruling: Ruling, effect: Effect, against: str) -> str:
    """Return why an option is excluded or not eligible yet; "" where it is eligible.

    Where a budget alone excludes it, also what else speaks `against` it.
    """
    option = effect.option
    over = "; ".join(option.exceeded)
    if over and option.excluded == option.over_budget and ruling.kind(option) in BY_COST:
        without = "it" if len(option.exceeded) == 1 else "them"
        over += f"; without {without} {against}" if against else ""
    reasons = (
        (over, option.over_budget),
        ("was trained on test queries", option.leaked),
        ("forgets too much", option.forgotten),
        ("too many severe losses", option.harmful),
        ("a budget on it is not measured", option.unmeasured),
    )
    return next((why for why, found in reasons if found), "")


def _behind(ruling: Ruling, effect: Effect) -> str:
    """Return why the chosen option is preferred to another; "" where nothing says so."""
    gain, taken = ruling.situation.spec.gain, ruling.taken
    if effect.ceiling < gain:
        return f"gains at most {signed(effect.ceiling)}" if effect.ceiling > 0 else "scores lower"
    if taken is None or taken.option.action not in BY_COST or _is_fix(ruling):
        return ""
    if taken.difference >= effect.difference:
        less = taken.difference - effect.difference
        if less < 0.0005:  # which three digits show as 0
            return f"scores no higher than '{taken.option.name}'{_cheaper(effect, taken)}"
        sure = float((effect.draws < taken.draws).mean()) >= ruling.situation.spec.confidence
        return (
            f"scores {less:.3f} lower than '{taken.option.name}'"
            f"{'' if sure else ' (not significant)'}{_cheaper(effect, taken)}"
        )
    spec, over = ruling.situation.spec, probability_over(ruling.situation, effect, taken)
    needed = spec.confidence if ruling.outcome.strength == "recommended" else spec.lean
    if over >= needed:  # and something else excludes it
        return f"a gain of {gain:g} over '{taken.option.name}' (P {probability_in_words(over)})"
    return (
        f"gain over '{taken.option.name}' unproven (P {probability_in_words(over)}; {needed:g} "
        "needed)"
    )


def _unproven(ruling: Ruling, effect: Effect) -> str:
    """Return what an option lacks to be chosen."""
    situation = ruling.situation
    if effect.option.cautions:
        return "an open question remains"
    if situation.n_queries < FEWEST_TO_RECOMMEND:
        return f"{situation.n_queries} queries are too few"
    if is_worthwhile(situation, effect):
        return "data and pipeline come first" if _is_fix(ruling) else "a worthwhile gain"
    chance = probability_in_words(effect.p_adjusted)
    return f"P(gain) {chance}, {situation.spec.confidence:g} needed"


def _cheaper(effect: Effect, taken: Effect) -> str:
    """Return how much higher an option's latency is than the chosen one's, to end a phrase."""
    mine, its = effect.option.cost.query_ms_p95, taken.option.cost.query_ms_p95
    if not mine or not its or its * ALIKE >= mine or effect.option.over_budget:
        return ""
    return f", at {times(mine / its)} its latency"


def _not_shortened(ruling: Ruling, effect: Effect) -> str:
    """Return why a compression is not chosen."""
    option, spec = effect.option, ruling.situation.spec
    tested = ruling.tested.get(option.name)
    if tested is None:
        return _milder(ruling, option)
    is_severe = tested.low > -spec.margin
    share, cap = f"{tested.severe_upper:.1%}", f"{spec.severe_losses:.0%}"
    if tested.outcome == "fails":
        severe = f"up to {share} of queries lose 0.5 or more (cap {cap})"
        return severe if is_severe else f"loses too much (margin {spec.margin:g})"
    if tested.outcome == "open":
        severe = f"severe losses on up to {share} of queries not excluded (cap {cap})"
        loss = probability_in_words(chance := _p_harm(ruling, effect))
        likely = "probably loses" if chance >= 0.5 else "may lose"
        return severe if is_severe else f"{likely} more than {spec.margin:g} (P {loss})"
    why = f"'{ruling.kept}' is chosen"
    if option.shortens == ruling.kept:
        saves = not is_larger(tested, ruling.cost_of(ruling.kept)) and ruling.shortest
        why = f"'{saves.option.name}' is smaller" if saves else "saves too little"
    return f"loses little, but {why}"


def _milder(ruling: Ruling, option: Option) -> str:
    """Return which compression of the same series stopped the tests before an option."""
    for each in ruling.tested.values():
        mine = each.option
        if (mine.shortens, mine.series) == (option.shortens, option.series):
            if each.outcome == "fails":
                return f"'{mine.name}' already loses too much"
            if each.outcome == "open":
                return f"whether '{mine.name}' loses too much is open"
    return "not tested"


def _p_harm(ruling: Ruling, effect: Effect) -> float:
    """Return the probability that a compression loses more than the margin to its full vectors."""
    draws = effect.draws
    for full in ruling.effects:
        if full.option.name == effect.option.shortens:
            draws = draws - full.draws
    return float((draws < -ruling.situation.spec.margin).mean())


def failed_gates(ruling: Ruling) -> list[str]:
    """Return which gates of the suite on costs the chosen candidate would fail, in sentences."""
    chosen = [each for each in ruling.situation.options if each.name in _names_taken(ruling)]
    if ruling.shortest is not None and ruling.shortest.option in chosen:
        chosen = [ruling.shortest.option]
    return [f"'{each.name}' would fail {text}" for each in chosen for text in each.failed_gates]


def by_collection(ruling: Ruling) -> list[OnCollection]:
    """Return one option's difference on each of several collections; none where there is one.

    The option is the chosen one, else the most promising eligible one.
    """
    situation, shown = ruling.situation, _shown(ruling)
    if shown is None or len(situation.collections) == 1:
        return []
    found = []
    at = [option.name for option in situation.options].index(shown.option.name)
    for place, name in enumerate(situation.collections):
        columns = np.stack([option.differences[place] for option in situation.options], axis=1)
        clusters = situation.clusters_of(place)
        family = max_t(columns, seed=flips_of(situation, name), clusters=clusters)
        found.append(
            OnCollection(
                candidate=shown.option.name,
                collection=name,
                n=len(columns),
                difference=float(family.difference[at]),
                low=max(-1.0, float(family.low[at])),
                high=min(1.0, float(family.high[at])),
            )
        )
    return found


def disagreement(ruling: Ruling) -> str:
    """Return a note if the option of `by_collection` likely loses on some collections, not all."""
    shown = _shown(ruling)
    losing = len(shown.losing) if shown else 0
    return " Collections disagree." if 0 < losing < len(ruling.situation.collections) else ""


def _shown(ruling: Ruling) -> Effect | None:
    usable = permitted(ruling.effects)
    return ruling.taken or (usable[0] if usable else None)


def option_verdict(ruling: Ruling, effect: Effect) -> OptionVerdict:
    """Return what choosing an option would mean, with its price and why it is not chosen."""
    cost, why = effect.option.cost, why_not(ruling, effect)
    tested = ruling.tested.get(effect.option.name)
    if why and tested and effect.option.shortens != ruling.situation.baseline:
        why = f"{signed(tested.difference)} against '{effect.option.shortens}', {why}"
    return OptionVerdict(
        candidate=effect.option.name,
        action=ruling.kind(effect.option),
        reply=_reply(ruling, effect),
        difference=effect.difference,
        low=effect.low,
        high=effect.high,
        p_worthwhile=effect.p_worthwhile,
        p_adjusted=effect.p_adjusted,
        p_harm=effect.p_harm,
        query_ms_p95=cost.query_ms_p95,
        bytes_per_document=cost.bytes_per_document,
        training_minutes=cost.training_minutes,
        money_per_month=cost.money_per_month,
        excluded=" ".join(effect.option.excluded),
        migration=effect.option.migration,
        price=_short_costs(ruling.situation.baseline_cost, cost),
        why_not=why,
    )
