"""Rules: turn a situation into a decision by written rules, each of which prints its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.decision.answers import (
    Ruling,
    answered,
    answers,
    by_collection,
    disagreement,
    failed_gates,
    option_verdict,
    price,
    reranked,
    untimed,
)
from harness.decision.compression import Shortening, shortenings, to_take, with_cap
from harness.decision.effects import Effect, measure
from harness.decision.experiment import cheapest_experiment
from harness.decision.holes import Pair, to_judge
from harness.decision.preference import (
    FEWEST_TO_RECOMMEND,
    OUT_OF_REACH,
    hopeful,
    is_likely,
    is_worthwhile,
    permitted,
    preferred,
    queries_to_judge,
)
from harness.decision.situation import Action, Situation
from harness.decision.verdict import Decision, Outcome, Rule, ToJudge
from harness.decision.wording import (
    advice,
    bills,
    compression_test,
    contradicted,
    failures,
    forecasts,
    gain_in_words,
    headroom,
    judged,
    names,
    not_open,
    opened,
    probability_in_words,
    saving,
    severe,
    shortened,
    too_close,
    turned,
    unmeasured,
)
from harness.errors import counted, sufficing
from harness.hashing import digest
from harness.results.chunk_sizes import chunk_size_in_words
from harness.results.training import forgetting_in_words
from harness.statistics.verdicts import more_in_words, signed

_FEWEST_AGREED = 20
_MOST_MISSING = 0.05
_SHOWN = 3  # options that a verdict names
_FEW_JUDGED = 0.2  # share of the first results


def decide(situation: Situation, *, suite: str) -> Decision:
    """Apply the rules in order; the first that decides gives the verdict.

    1. Judgements or pipeline are broken, or unjudged documents could turn the difference that the
       verdict rests on: fix them first, nothing else can be trusted.
    2. Options that exceed a budget, were trained on test queries, forget more than is accepted, or
       have more severe losses than `severe_losses_any_change`, where it is set, are excluded. One
       with a budget on something unmeasured is not eligible; where it would be recommended, the
       verdict is to measure it.
    3. An option whose gain is worthwhile with the required confidence, adjusted for picking the
       best of all options, is recommended; a costlier kind of change only where it is better than
       the cheaper.
    4. A compression that provably loses nothing that matters is recommended, of the option that is
       recommended or else of the baseline: the one with the fewest bytes, or, where none saves
       bytes, the index that answers in the least time, at most nine tenths of the full vectors'.
    5. The baseline is kept where no option can still be worthwhile, or none is eligible.
    6. Else a probable option gets a weak recommendation, or it is undecided.

    Fewer than 50 queries recommend nothing, and fewer than 20 not even weakly; a sample of the
    suite recommends nothing.
    """
    situation = with_cap(situation)
    effects = measure(situation)
    usable = permitted(effects)
    eligible = [effect for effect in usable if not effect.option.unmeasured]
    rules: list[Rule] = []
    outcome = (
        check_data(situation, rules)
        or check_unjudged(situation, effects, rules)
        or check_pipeline(situation, eligible, rules)
    )
    if outcome is None:
        _bars(situation, effects, rules)
        chosen = _improvement(situation, eligible, rules)
        shorter = _compression(situation, chosen, rules)
        outcome = (
            _take(chosen, shorter)
            or _measure_first(situation, usable)
            or _shorten(situation, shorter)
            or _keep(situation, usable, shorter, rules)
            or _lean(situation, eligible, rules)
            or _undecided(situation, usable, shorter)
        )
    if evidence := failures(situation, usable, outcome.candidate):
        rules.append(Rule(name="failures", decided=False, evidence=evidence))
    if situation.sampled:
        outcome = _on_a_sample(outcome)
    outcome = _by_grades(situation, outcome, rules)
    ruling = Ruling(situation, effects, outcome)
    replies = answers(ruling)
    warned = [
        *_warnings(situation, effects, outcome),
        *failed_gates(ruling),
        *reranked(ruling, replies),
    ]
    leads = _depends_on_unjudged(situation, outcome)
    noted = [line for line in leads if not any(line in each for each in warned)]
    if leads:
        where = "note below" if leads == noted else "warning above"
        rules = [_with_lead(rule, where) for rule in rules]
    return Decision(
        suite=suite,
        baseline=situation.baseline,
        metric=situation.metric,
        n=situation.n_queries,
        gain=situation.spec.gain,
        margin=situation.spec.margin,
        action=outcome.action,
        candidate=outcome.candidate,
        strength=outcome.strength,
        sentence=answered(ruling, replies) + disagreement(ruling) + untimed(ruling),
        price=outcome.price or price(ruling),
        answers=replies,
        by_collection=by_collection(ruling),
        rules=rules,
        options=[option_verdict(ruling, effect) for effect in effects],
        more_queries=outcome.more_queries,
        experiment=cheapest_experiment(situation, effects, outcome),
        published=list(situation.published),
        notes=[
            *chunk_size_in_words(situation.chunk_sizes, outcome.candidate or situation.baseline),
            *noted,
            *situation.health.notes,
            *bills(situation),
        ],
        warnings=warned,
        to_judge=list(outcome.to_judge),
    )


def _with_lead(rule: Rule, where: str) -> Rule:
    """Return the rule on unjudged documents with where it is said what would end the lead."""
    if rule.name != "unjudged" or rule.decided:
        return rule
    text = f"{rule.evidence} The {where} says how many relevant ones would end the lead."
    return Rule(name=rule.name, decided=False, evidence=text)


def _on_a_sample(outcome: Outcome) -> Outcome:
    """Return what was decided on a sample, which recommends nothing by itself."""
    told = "Decided on a sample. Run the full suite, without --limit, before acting."
    return outcome._replace(
        strength="weak" if outcome.strength == "recommended" else outcome.strength,
        sentence=outcome.sentence.replace("(recommended)", "(weak recommendation)"),
        warnings=(told, *outcome.warnings),
    )


def _by_grades(situation: Situation, outcome: Outcome, rules: list[Rule]) -> Outcome:
    """Return the outcome with what it is estimated from; a model's grades alone recommend nothing.

    Where people graded too, it is said if the model alone would have decided otherwise.
    """
    found = {
        name: each
        for name, each in zip(situation.collections, situation.grades, strict=False)
        if each is not None
    }
    if not found:
        return outcome
    sources = [f"{name} is estimated from grades: {each.source}." for name, each in found.items()]
    rules.append(Rule(name="grades", decided=False, evidence=" ".join(sources)))
    told = list(sources)
    if not all(each.by_people for each in found.values()):
        told.append("A model's grades alone recommend nothing. Grade pairs: harness judge.")
        outcome = outcome._replace(
            strength="weak" if outcome.strength == "recommended" else outcome.strength,
            sentence=outcome.sentence.replace("(recommended)", "(weak recommendation)"),
        )
    elif any(each.alone for each in found.values()):
        alone = decide(_by_the_model(situation), suite="")
        if (alone.action, alone.candidate) != (outcome.action, outcome.candidate):
            told.append(f"By the model's grades alone: {alone.sentence}")
    return outcome._replace(warnings=(*told, *outcome.warnings))


def _by_the_model(situation: Situation) -> Situation:
    """Return the situation as if the model's grades were true, where there are any."""
    options = tuple(
        replace(
            option,
            by_seed=(),
            differences=tuple(
                each.alone.get(option.name, values) if each is not None else values
                for values, each in zip(option.differences, situation.grades, strict=True)
            ),
        )
        for option in situation.options
    )
    return replace(situation, options=options, grades=())


def _warnings(situation: Situation, effects: list[Effect], outcome: Outcome) -> list[str]:
    """Return what to know before acting: severe losses, open points."""
    lines = [*outcome.warnings, *_few_judged(situation, effects, outcome)]
    for effect in effects:
        if effect.option.name == outcome.candidate:
            lines += [severe(situation, effect)] if effect.severe else []
    if outcome.candidate == situation.baseline:
        lines += [f"'{situation.baseline}': {text}" for text in situation.baseline_unmeasured]
    told_of = {outcome.candidate, outcome.to_measure}
    told_of |= {name for each in outcome.to_judge for name in each.options}
    others = [each for each in permitted(effects) if each.option.name not in told_of]
    lines += [turned(effect) for effect in others if effect.could_turn]
    lines += [
        unmeasured(effect)
        for effect in others
        if effect.option.unmeasured and effect.p_worthwhile >= situation.spec.lean
    ]
    return lines


def check_data(situation: Situation, rules: list[Rule]) -> Outcome | None:
    """Rule 1: does the run miss queries, or do independent systems contradict the judgements?"""
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
        text = "The judgements are not checked: that needs a lexical and a dense candidate."
        if any(situation.estimated):
            text = "The grades are not checked: nothing else is judged."
        rules.append(Rule(name="data", decided=False, evidence=text))
        return None
    if found.agreed < _FEWEST_AGREED:
        text = (
            "The judgements are not checked: a lexical and a dense system agree on the first "
            f"document of {found.agreed} queries (minimum {_FEWEST_AGREED})."
        )
        rules.append(Rule(name="data", decided=False, evidence=text))
        return None
    text, low = contradicted(found, situation.spec.wrong_labels)
    decided = low > situation.spec.wrong_labels
    text = f"The judgements look {'wrong' if decided else 'sound'}. {text}"
    rules.append(Rule(name="data", decided=decided, evidence=text))
    if not decided:
        return None
    share = found.contradicted / found.agreed
    return Outcome(
        Action.FIX_DATA,
        None,
        "recommended",
        f"Fix the data first: about {share:.0%} of the judgements look wrong.",
        "Scores against wrong judgements cannot decide.",
    )


def check_unjudged(
    situation: Situation, effects: list[Effect], rules: list[Rule]
) -> Outcome | None:
    """Rule 1, unjudged documents: could they reverse a difference that matters?

    That of the option that would be recommended matters; where there is none, that of every
    eligible option, since keeping the baseline rests on them.
    """
    usable = permitted(effects)
    if not any(effect.option.holes for effect in usable):
        return None
    chosen = preferred(situation, usable, is_worthwhile, level=situation.spec.confidence).effect
    concerned = usable if chosen is None else [chosen]
    suspect = [effect for effect in concerned if effect.could_turn]
    turning = [each for each in effects if each.could_turn and not each.option.excluded]
    result = opened(turning) if suspect else not_open(concerned)
    if suspect and (still := [each for each in hopeful(situation, usable) if not each.could_turn]):
        result += f" As judged, a worthwhile gain is still possible for {names(still)}."
    text = f"{result} As it is, {judged(situation, usable)}."
    rules.append(Rule(name="unjudged", decided=bool(suspect), evidence=text))
    if not suspect:
        return None
    options = [effect.option.name for effect in suspect]
    files = situation.queues or [f"to-judge.{name}.csv" for name in situation.collections]
    asked = [
        ToJudge(collection=name, file=file, documents=len(pairs), options=options)
        for place, (name, file) in enumerate(zip(situation.collections, files, strict=True))
        if (pairs := queue(situation, place, options))
    ]
    n, listed = sum(each.documents for each in asked), " and ".join(each.file for each in asked)
    return Outcome(
        Action.FIX_DATA,
        None,
        "recommended",
        f"Judge {'this document' if n == 1 else f'these {n:,} documents'} first: {listed}.",
        "Unjudged documents could reverse the difference that decides.",
        warnings=tuple(turned(effect) for effect in suspect[:_SHOWN]),
        to_judge=tuple(asked),
    )


def queue(situation: Situation, place: int, names: Sequence[str]) -> list[Pair]:
    """Return the documents of the collection at a place to judge first, for some options."""
    open_ones = [option.holes[place].queue for option in situation.options if option.name in names]
    seed = int(digest("to judge", situation.seed, situation.collections[place]), 16)
    return to_judge(open_ones, seed=seed)


def check_pipeline(situation: Situation, usable: list[Effect], rules: list[Rule]) -> Outcome | None:
    """Rule 1, second half: is the baseline's model run as intended?"""
    fixes = [effect for effect in usable if effect.option.action is Action.FIX_PIPELINE]
    good = [effect for effect in fixes if is_worthwhile(situation, effect)]
    mistakes = " ".join(situation.health.pipeline)
    if good:
        best = max(good, key=lambda effect: effect.difference)
        text = f"The same weights, run differently: {gain_in_words(situation, best)}."
        rules.append(Rule(name="pipeline", decided=True, evidence=text))
        sentence = f"{advice(best)} does (recommended)."
        return Outcome(Action.FIX_PIPELINE, best.option.name, "recommended", sentence)
    if mistakes and not fixes:
        rules.append(Rule(name="pipeline", decided=True, evidence=mistakes))
        sentence = f"Fix the pipeline first: {mistakes}"
        return Outcome(Action.FIX_PIPELINE, None, "recommended", sentence)
    text = mistakes or "Baseline set-up: no known problem (prompt, pooling, length)."
    rules.append(Rule(name="pipeline", decided=False, evidence=text))
    return None


def _bars(situation: Situation, effects: list[Effect], rules: list[Rule]) -> None:
    """Rule 2: what is excluded, whatever it scores, and what is not eligible yet.

    For trained models: what do they lose on general collections?
    """
    about = [(situation.baseline, situation.baseline_over_budget)]
    about += [(effect.option.name, effect.option.excluded) for effect in effects]
    about += [(situation.baseline, situation.baseline_unmeasured)]
    about += [(effect.option.name, effect.option.unmeasured) for effect in effects]
    limited = any(limit is not None for limit in situation.budgets.model_dump().values())
    otherwise = "Nothing exceeds a budget" if limited else "The suite sets no budgets"
    alike: dict[str, list[str]] = {}
    for name, said in about:
        alike.setdefault(" ".join(said), []).append(f"'{name}'")
    text = " ".join(f"{', '.join(named)}: {said}" for said, named in alike.items() if said)
    count = len({name for name, said in about if said})
    verb = "is" if count == 1 else "are"
    text = (
        f"{counted(count, 'candidate')} {verb} excluded or not eligible. {text}"
        if text
        else f"{otherwise}; no option is known to be trained on the test queries."
    )
    rules.append(Rule(name="budgets", decided=False, evidence=text))
    if any(option.trained for option in situation.options):
        text = " ".join(forgetting_in_words(each) for each in situation.forgetting) or (
            'Not measured: no collection has role = "general", on which a trained model is '
            "compared with its parent."
        )
        rules.append(Rule(name="forgetting", decided=False, evidence=text))


def _improvement(situation: Situation, usable: list[Effect], rules: list[Rule]) -> Effect | None:
    """Rule 3: the cheapest kind of change that is worthwhile, unless a costlier one is better."""
    chosen, steps = preferred(situation, usable, is_worthwhile, level=situation.spec.confidence)
    if chosen is not None:
        steps.insert(0, f"The gain of '{chosen.option.name}' is worthwhile.")
    if chosen is None and situation.n_queries < FEWEST_TO_RECOMMEND:
        steps.append(
            f"With {situation.n_queries} queries nothing is recommended (minimum "
            f"{FEWEST_TO_RECOMMEND})."
        )
    elif chosen is None:
        steps.append(
            f"No eligible option gains {situation.spec.gain:g} with probability "
            f"{situation.spec.confidence:g} and an interval above 0."
        )
    taken = chosen.option.name if chosen else situation.baseline
    evidence = " ".join([*steps, *headroom(situation, taken), *forecasts(situation)])
    rules.append(Rule(name="improvement", decided=chosen is not None, evidence=evidence))
    return chosen


def _compression(
    situation: Situation, chosen: Effect | None, rules: list[Rule]
) -> list[Shortening]:
    """Rule 4: the compressions from mild to strong, up to the first that does not pass."""
    tested = shortenings(situation, chosen.option if chosen else None)
    full = chosen.option.cost if chosen else situation.baseline_cost
    text = " ".join(compression_test(situation, each) + saving(each, full) for each in tested)
    passed = to_take(tested, full) is not None
    if tested:
        rules.append(Rule(name="compression", decided=passed and chosen is None, evidence=text))
    return tested


def _take(chosen: Effect | None, shorter: list[Shortening]) -> Outcome | None:
    if chosen is None:
        return None
    last = to_take(shorter, chosen.option.cost)
    beside = f", {shortened(last.option, beside=True)}" if last else ""
    sentence = f"{advice(chosen)}{beside} (recommended)."
    return Outcome(chosen.option.named, chosen.option.name, "recommended", sentence)


def _measure_first(situation: Situation, usable: list[Effect]) -> Outcome | None:
    """Return what to measure where an option that would be recommended may exceed a budget."""
    best = preferred(situation, usable, is_worthwhile, level=situation.spec.confidence).effect
    if best is None or not best.option.unmeasured:
        return None
    return Outcome(
        Action.UNDECIDED,
        None,
        "none",
        f"Undecided: measure '{best.option.name}' first.",
        f"It gains {signed(best.difference)} {situation.metric}, but may exceed a budget.",
        warnings=best.option.unmeasured,
        to_measure=best.option.name,
    )


def _shorten(situation: Situation, shorter: list[Shortening]) -> Outcome | None:
    last = to_take(shorter, situation.baseline_cost)
    if last is None:
        return None
    sentence = f"{shortened(last.option)} (recommended)."
    return Outcome(last.option.action, last.option.name, "recommended", sentence)


def _keep(
    situation: Situation, usable: list[Effect], shorter: list[Shortening], rules: list[Rule]
) -> Outcome | None:
    """Rule 5: can any option still be worthwhile?"""
    against = _against_keeping(situation, usable, shorter)
    if usable:
        best = max(usable, key=lambda effect: effect.ceiling)
        most, name = best.ceiling, best.option.name
        bound = f"gains at most {most:.3f}" if most > 0 else f"loses at least {-most:.3f}"
        which = f"'{name}'" if len(usable) == 1 else f"even '{name}'"
        text = (
            f"No option can gain {situation.spec.gain:g} {situation.metric}: {which} {bound}, with "
            "95% confidence."
        )
    else:
        excluded = any(option.excluded for option in situation.options)
        rest = "Every option is excluded" if excluded else "All options are compressions"
        passed = any(each.outcome == "passes" for each in shorter)
        text = f"{rest}, and no compression {'that passes saves anything' if passed else 'passes'}."
    text = against or text
    rules.append(Rule(name="keep", decided=not against, evidence=text))
    if against:
        return None
    sentence = f"Keep '{situation.baseline}' (recommended)."
    return Outcome(Action.KEEP, situation.baseline, "recommended", sentence, text)


def _against_keeping(
    situation: Situation, usable: list[Effect], shorter: list[Shortening]
) -> str | None:
    if not situation.options:
        return f"There is nothing to compare '{situation.baseline}' with."
    if situation.baseline_over_budget:
        return f"The baseline '{situation.baseline}' itself exceeds a budget."
    if still := hopeful(situation, usable):
        return f"A worthwhile gain is still possible for {names(still)}."
    if is_open := [each for each in shorter if each.outcome == "open"]:
        return f"'{is_open[0].option.name}' may lose too much."
    if usable and situation.n_queries < FEWEST_TO_RECOMMEND:
        return f"{situation.n_queries} queries are too few to rule out the options."
    return None


def _lean(situation: Situation, usable: list[Effect], rules: list[Rule]) -> Outcome | None:
    """Rule 6: is an option probable enough for a weak recommendation?"""
    effect, steps = preferred(situation, usable, is_likely, level=situation.spec.lean)
    if effect is None and situation.baseline_over_budget and usable:
        effect = max(usable, key=lambda effect: effect.difference)
        steps = [f"'{effect.option.name}' scores best among the options within the budgets."]
    if effect is None:
        best = max((effect.p_adjusted for effect in usable), default=0.0)
        count = len(situation.options)
        selected = f", adjusted for picking the best of {count}" if count > 1 else ""
        text = (
            f"No option reaches P(gain) {situation.spec.lean:g}; the highest is "
            f"{probability_in_words(best)}{selected} (n={situation.n_queries:,})."
        )
        rules.append(Rule(name="lean", decided=False, evidence=text))
        return None
    likely = f"'{effect.option.name}' is weakly recommended."
    rules.append(Rule(name="lean", decided=True, evidence=" ".join([likely, *steps])))
    more = None
    if not effect.option.cautions and not situation.has_open_pairs:
        more = queries_to_judge(situation, effect) or None
    sentence = f"{advice(effect)} (weak recommendation)."
    close = () if more or situation.has_open_pairs else (f"The gain is {too_close(situation)}.",)
    return Outcome(
        *(effect.option.named, effect.option.name, "weak", sentence),
        more_queries=more,
        warnings=effect.option.cautions or close,
    )


def _undecided(situation: Situation, usable: list[Effect], shorter: list[Shortening]) -> Outcome:
    """Return what is open, and about how many queries would settle it."""
    reasons, needed = [], []

    def further(more: int) -> str:
        return f" (about {sufficing(more)} more)" if more and not situation.has_open_pairs else ""

    still = hopeful(situation, usable)
    if still:
        needed.append(queries_to_judge(situation, still[0]))
        reasons.append(
            f"A worthwhile gain from '{still[0].option.name}' ({signed(still[0].difference)}) is "
            f"neither shown nor excluded{further(needed[-1])}."
        )
    for each in shorter:
        if each.outcome == "open":
            needed.append(each.more_queries)
            reasons.append(
                f"Whether '{each.option.name}' loses too much is undecided{further(needed[-1])}."
            )
    if situation.options and situation.n_queries < FEWEST_TO_RECOMMEND:
        needed.append(FEWEST_TO_RECOMMEND - situation.n_queries)
    more = max(needed, default=None)
    task = f"judge about {more_in_words(more)}" if more else "add options to compare"
    if more == 0 or (more and more > max(OUT_OF_REACH, 100 * situation.n_queries)):
        task, more = f"the gain is {too_close(situation)}", None
    if situation.has_open_pairs:
        task, more = "grade more pairs with harness judge", None
    sentence = f"Undecided: {task} (n={situation.n_queries:,} now)."
    return Outcome(Action.UNDECIDED, None, "none", sentence, " ".join(reasons), more)


def _leads(situation: Situation, name: str) -> list[str]:
    """Return how many unjudged documents would end the lead of an option over the baseline."""
    return list(situation.failures.reversals.get((name, situation.baseline), ()))


def _few_judged(situation: Situation, effects: list[Effect], outcome: Outcome) -> list[str]:
    """Return a warning where hardly any of the results that the verdict rests on are judged."""
    usable = permitted(effects)
    chosen = [each for each in usable if each.option.name == outcome.candidate] or usable
    shares = [share for each in chosen for hole in each.option.holes for share in hole.judged]
    if outcome.to_judge or not shares or min(shares) >= _FEW_JUDGED:
        return []
    leads = _depends_on_unjudged(situation, outcome)[:1]
    return [" ".join([f"Only {judged(situation, chosen)}.", *leads])]


def _depends_on_unjudged(situation: Situation, outcome: Outcome) -> list[str]:
    """Return how far the verdict depends on unjudged documents.

    Choosing a candidate rests on its lead over the baseline, keeping the baseline on its own leads.
    """
    if outcome.candidate is None or outcome.action is Action.FIX_PIPELINE:
        return []
    if outcome.candidate != situation.baseline:
        return _leads(situation, outcome.candidate)
    found = situation.failures.reversals
    mine = [sentences for (better, _), sentences in found.items() if better == situation.baseline]
    return [sentence for sentences in mine for sentence in sentences]
