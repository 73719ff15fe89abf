"""Soundness: are judgements and pipeline whole, so that scores can be believed at all?"""

from __future__ import annotations

from harness.decision.choice import is_worthwhile
from harness.decision.effects import Effect
from harness.decision.situation import Action, Situation
from harness.decision.verdict import Outcome, Rule
from harness.decision.wording import advice, contradicted, told

_FEWEST_AGREED = 20
_MOST_MISSING = 0.05


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
        text = "Without a lexical and a dense candidate the judgements can not be checked."
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
