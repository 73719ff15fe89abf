"""Soundness: are judgements and pipeline whole, so that scores can be believed at all?"""

from __future__ import annotations

from collections.abc import Sequence

from harness.decision.choice import is_worthwhile, preferred
from harness.decision.effects import Effect
from harness.decision.holes import Pair, to_judge
from harness.decision.situation import Action, Situation
from harness.decision.verdict import Outcome, Rule, ToJudge
from harness.decision.wording import advice, contradicted, judged, told, turned
from harness.hashing import digest

_FEWEST_AGREED = 20
_MOST_MISSING = 0.05
_SHOWN = 3  # options that a verdict names


def check_data(situation: Situation, rules: list[Rule]) -> Outcome | None:
    """Rule 1: does the run have holes, or do independent systems agree against the judgements?"""
    health = situation.health
    if health.missing > _MOST_MISSING:
        text = (
            f"'{situation.baseline}' returns nothing for {health.missing:.0%} of the judged "
            f"queries (limit {_MOST_MISSING:.0%})."
        )
        rules.append(Rule(name="data", decided=True, evidence=text))
        return Outcome(Action.FIX_PIPELINE, None, "recommended", f"Fix the pipeline first: {text}")
    found = health.contradiction
    if found is None:
        text = "Without a lexical and a dense candidate the judgements cannot be checked."
        rules.append(Rule(name="data", decided=False, evidence=text))
        return None
    if found.agreed < _FEWEST_AGREED:
        text = (
            "To check the judgements, a lexical and a dense system must agree on the first "
            f"document of {_FEWEST_AGREED} queries; they do on {found.agreed}."
        )
        rules.append(Rule(name="data", decided=False, evidence=text))
        return None
    text, low = contradicted(found, situation.spec.wrong_labels)
    decided = low > situation.spec.wrong_labels
    rules.append(Rule(name="data", decided=decided, evidence=text))
    if not decided:
        return None
    sentence = (
        f"Fix the data first: about {found.contradicted / found.agreed:.0%} of the judgements look "
        "wrong, and scores against wrong judgements decide nothing."
    )
    return Outcome(Action.FIX_DATA, None, "recommended", sentence)


def check_unjudged(situation: Situation, usable: list[Effect], rules: list[Rule]) -> Outcome | None:
    """Rule 1, of unjudged documents: could they turn the sign of a difference that matters?

    That of the option which would be recommended matters, and where there is none, that of every
    option that may be taken, since keeping the baseline rests on them.
    """
    if not any(effect.option.holes for effect in usable):
        return None
    chosen = preferred(situation, usable, is_worthwhile, level=situation.spec.confidence).effect
    concerned = usable if chosen is None else [chosen]
    suspect = [effect for effect in concerned if could_turn(effect)]
    text = " ".join([judged(situation, usable), *(turned(effect) for effect in suspect)])
    rules.append(Rule(name="unjudged", decided=bool(suspect), evidence=text))
    if not suspect:
        return None
    names = [effect.option.name for effect in suspect]
    asked = [
        ToJudge(collection=name, file=_file(situation, place), documents=len(pairs), options=names)
        for place, name in enumerate(situation.collections)
        if (pairs := queue(situation, place, names))
    ]
    n, files = sum(each.documents for each in asked), " and ".join(each.file for each in asked)
    return Outcome(
        Action.FIX_DATA,
        None,
        "recommended",
        f"Judge these {n:,} documents first: {files}.",
        warnings=tuple(turned(effect) for effect in suspect[:_SHOWN]),
        to_judge=tuple(asked),
    )


def could_turn(effect: Effect) -> bool:
    """Tell whether plausible relevance of unjudged documents turns the sign of a difference."""
    shift = effect.shift
    return shift != 0 and effect.difference * (effect.difference + shift) <= 0


def queue(situation: Situation, place: int, names: Sequence[str]) -> list[Pair]:
    """Return the documents of the collection at a place to judge first, for some options."""
    open_ones = [option.holes[place].queue for option in situation.options if option.name in names]
    seed = int(digest("to judge", situation.seed, situation.collections[place]), 16)
    return to_judge(open_ones, seed=seed)


def _file(situation: Situation, place: int) -> str:
    name = situation.collections[place]
    return situation.queues[place] if situation.queues else f"to-judge.{name}.csv"


def check_pipeline(situation: Situation, usable: list[Effect], rules: list[Rule]) -> Outcome | None:
    """Rule 1, second half: is the baseline run as its model wants to be run?"""
    fixes = [effect for effect in usable if effect.option.action is Action.FIX_PIPELINE]
    good = [effect for effect in fixes if is_worthwhile(situation, effect)]
    mistakes = " ".join(situation.health.pipeline)
    if good:
        best = max(good, key=lambda effect: effect.difference)
        text = f"The same weights, run otherwise: {told(situation, best)}."
        rules.append(Rule(name="pipeline", decided=True, evidence=text))
        sentence = f"{advice(best)} does. {text}"
        return Outcome(Action.FIX_PIPELINE, best.option.name, "recommended", sentence)
    if mistakes and not fixes:
        rules.append(Rule(name="pipeline", decided=True, evidence=mistakes))
        sentence = f"Fix the pipeline first: {mistakes}"
        return Outcome(Action.FIX_PIPELINE, None, "recommended", sentence)
    text = mistakes or "No mistake is known in how the baseline is run."
    rules.append(Rule(name="pipeline", decided=False, evidence=text))
    return None
