"""Findings: every reason looked for, contrasted, tried, and told in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harness.arrays import Flags, Values
from harness.diagnosis.contrast import Contrast, adjusted_odds, contrast
from harness.diagnosis.reasons import REASONS
from harness.diagnosis.reasons.reason import MOST_SECONDS, Proof, Reason, Signs, TooLongError
from harness.diagnosis.subject import Subject
from harness.diagnosis.values import Counterfactual, Finding, Status, odds_in_words, proven_first
from harness.progress import duration
from harness.stage import Context
from harness.statistics import Interval, mean_interval, paired
from harness.statistics.distributions import t_quantile
from harness.statistics.families import holm
from harness.statistics.verdicts import signed

_LEVEL = 0.05
MANY = 20  # failed queries with and without a reason, so that a trial can prove or refute it alone
_FEWEST = 5  # queries of a control, at least


class ExcessEffect(NamedTuple):
    """What a change does to queries that show a reason, beyond what it does to others.

    Queries that are chosen because they failed improve under almost any change (regression to the
    mean), so the failed ones that show a reason are compared with failed ones that do not, and the
    others with others.

    Attributes:
        proof: of the best of the change's variants.
        variants: how many were tried; p and the interval allow for them (Bonferroni).
        p: that the change recovers those that show it no more often than the control, Fisher's
            exact test, one-sided; 1 where there are too few of the control to compare.
        found: how many failed and recovered, and the mean gain beyond that of the control; of a
            change to the whole candidate, which has no control, over all.
    """

    proof: Proof
    variants: int
    p: float
    found: Counterfactual


class Case(NamedTuple):
    """A reason that shows somewhere; `effect` is None where no counterfactual was tried."""

    reason: Reason
    signs: Signs
    effect: ExcessEffect | None


def look_for_reasons(subject: Subject, context: Context) -> tuple[list[Case], list[str]]:
    """Let every detector look at a candidate, and try the counterfactuals.

    Returns:
        the reasons that show somewhere, and a sentence for each counterfactual that is left out.
    """
    cases, warnings = [], []
    for reason in REASONS:
        signs = reason.detect(subject)
        if signs is None or not signs.shows.any():
            continue
        proofs: list[Proof] = []
        try:
            if reason.trial is not None:
                proofs = reason.trial(subject, signs, context)
        except TooLongError as error:
            warnings.append(
                f"{reason.title.lower()}: the counterfactual was not tested; encoding would take "
                f"about {duration(error.seconds)}, above the limit of {duration(MOST_SECONDS)}."
            )
        found = best_effect(reason, signs, proofs)
        if found is not None or not reason.whole:
            cases.append(Case(reason, signs, found))
    return cases, warnings


def best_effect(reason: Reason, signs: Signs, proofs: Sequence[Proof]) -> ExcessEffect | None:
    """Return the effect of the variant that gains most; None where nothing was tried."""
    proofs = [proof for proof in proofs if len(proof.rows)]
    confidence = 1 - _LEVEL / max(len(proofs), 1)
    effects = []
    for proof in proofs:
        mine, failed = signs.shows[proof.rows], signs.failed[proof.rows]
        eligible = signs.eligible[proof.rows]
        among = eligible & failed
        table = contrast(mine[among], proof.recovered[among], alternative="greater")
        p = table.p if table.others >= _FEWEST and table.chosen else 1.0
        gain = (
            mean_interval(proof.gains, confidence=confidence)
            if reason.whole
            else _excess(proof.gains, mine, eligible & ~mine, failed, confidence=confidence)
        )
        found = Counterfactual(
            change=proof.change,
            tried=int(mine.sum()),
            failed=table.chosen,
            recovered=table.chosen_with,
            gain=gain.mean,
            low=max(-1.0, gain.low),
            high=min(1.0, gain.high),
            control_failed=table.others,
            control_recovered=table.others_with,
            unmoved=proof.unmoved,
        )
        effects.append(ExcessEffect(proof, len(proofs), min(1.0, p * len(proofs)), found))
    return max(effects, key=lambda each: each.found.gain, default=None)


def _excess(
    gains: Values, mine: Flags, control: Flags, failed: Flags, *, confidence: float
) -> Interval:
    """Return the mean gain of some queries beyond a control that fails as often as they do.

    Failed queries and others are compared apart and put together by their shares (Welch's interval
    of a stratified difference). Nothing is taken off where a control has fewer than `_FEWEST`.
    """
    n = int(mine.sum())
    if n < 2:
        return Interval(float(gains[mine].sum()), -np.inf, np.inf)
    usual = float(gains[mine].var(ddof=1))
    mean, terms = 0.0, []
    for stratum in (failed, ~failed):
        ours, theirs = gains[mine & stratum], gains[control & stratum]
        if not len(ours):
            continue
        share = len(ours) / n
        mean += share * float(ours.mean())
        spread = float(ours.var(ddof=1)) if len(ours) > 1 else usual
        terms.append((share**2 * spread / len(ours), max(len(ours) - 1, 1)))
        if len(theirs) >= _FEWEST:
            mean -= share * float(theirs.mean())
            terms.append((share**2 * float(theirs.var(ddof=1)) / len(theirs), len(theirs) - 1))
    variance = sum(term for term, _ in terms)
    if variance == 0:
        return Interval(mean, mean, mean)
    dof = variance**2 / sum(term**2 / free for term, free in terms)
    half = t_quantile((1 + confidence) / 2, dof) * variance**0.5
    return Interval(mean, mean - half, mean + half)


def explain(subject: Subject, cases: Sequence[Case]) -> list[Finding]:
    """Weigh the reasons of a candidate against each other, the best proven first."""
    tables = [
        _matched(case.signs, case.effect, subject.seed)
        if case.reason.whole and case.effect is not None
        else contrast(case.signs.failed[case.signs.eligible], case.signs.shows[case.signs.eligible])
        for case in cases
    ]
    alone = [_p_alone(case.reason, case.effect) for case in cases]
    adjusted = holm(np.array([*(table.p for table in tables), *alone], dtype=np.float64)).tolist()
    compared = [case for case in cases if not case.reason.whole]
    tags = [case.signs.shows[subject.findable] for case in compared]
    ratios = adjusted_odds(tags, subject.missed[subject.findable]) if tags else []
    fixed = {case.reason.key: ratio for case, ratio in zip(compared, ratios, strict=True)}
    found = [
        _finding(subject, case, table, p, p_alone, fixed.get(case.reason.key))
        for case, table, p, p_alone in zip(
            cases, tables, adjusted[: len(cases)], adjusted[len(cases) :], strict=True
        )
    ]
    return proven_first(each for each in found if each.misses_with or each.status == "confirmed")


def _matched(signs: Signs, effect: ExcessEffect, seed: int) -> Contrast:
    """Return the contrast of a change to the whole candidate: what gains, against what loses.

    The odds ratio is that of matched pairs, queries that gain to queries that lose; p tests the
    mean gain by sign flips.
    """
    proof = effect.proof
    missed = signs.failed[proof.rows]
    better, worse = int((proof.gains > 0).sum()), int((proof.gains < 0).sum())
    half = 1.96 * np.sqrt(1 / (better + 0.5) + 1 / (worse + 0.5))
    log = np.log((better + 0.5) / (worse + 0.5))
    return Contrast(
        chosen=int(missed.sum()),
        chosen_with=int(proof.recovered.sum()),
        others=int((~missed).sum()),
        others_with=int((proof.gains[~missed] < 0).sum()),
        odds_ratio=float(np.exp(log)),
        low=float(np.exp(log - half)),
        high=float(np.exp(log + half)),
        p=min(float(paired(proof.gains[:, None], seed=seed).p[0]) * effect.variants, 1.0),
    )


def _p_alone(reason: Reason, effect: ExcessEffect | None) -> float:
    """Return p of a trial that may confirm a reason without the contrast; 1 for all others.

    A symptom is proven by what its trial gains over all queries, which no failure chose.
    """
    if effect is None or effect.proof.unmoved is not None:
        return 1.0
    found, gains = effect.found, effect.proof.gains
    if reason.alone and min(found.failed, found.control_failed) >= MANY:
        return effect.p
    if reason.symptom and len(gains) >= MANY and gains.mean() > 0:
        return min(1.0, float(paired(gains[:, None], seed=0).p[0]) * effect.variants)
    return 1.0


def _finding(
    subject: Subject,
    case: Case,
    table: Contrast,
    p_adjusted: float,
    p_alone: float,
    adjusted: float | None,
) -> Finding:
    reason, signs, effect = case
    rows, evidence = signs.failures, signs.evidence
    made = recoverable = None
    if effect is not None:
        proof, made = effect.proof, effect.found
        if proof.unmoved is None:
            recoverable = made.gain * (1.0 if reason.whole else float(signs.shows.mean()))
        if reason.whole:
            rows = proof.rows[proof.recovered]
            told = f"Found with another prompt: {proof.change}."

            def evidence(_row: int) -> str:
                return told

    ids = subject.collection.query_ids
    status = _status(case, table, p_adjusted, p_alone)
    sentence = _sentence(subject, reason, table, p_adjusted, made, recoverable, signs)
    if status == "confirmed" and p_adjusted >= _LEVEL:
        sentence += " The test of the change confirms it; the contrast with hits alone would not."
    return Finding(
        reason=reason.key,
        title=reason.title,
        sentence=sentence,
        lever=reason.remedy(subject),
        misses=table.chosen,
        misses_with=table.chosen_with,
        hits=table.others,
        hits_with=table.others_with,
        odds_ratio=table.odds_ratio,
        low=table.low,
        high=table.high,
        p_adjusted=p_adjusted,
        adjusted_odds_ratio=adjusted,
        failure=reason.failure.format(k=subject.k),
        status=status,
        recoverable=recoverable,
        counterfactual=made,
        queries=[ids[row] for row in rows],
        evidence={ids[row]: evidence(int(row)) for row in rows},
    )


def _status(case: Case, table: Contrast, p_adjusted: float, p_alone: float) -> Status:
    """Weigh the contrast and the trial of a reason.

    Confirmed takes both; or a trial alone, its p adjusted together with all contrasts, that mends
    nothing but the texts that show the reason, on `MANY` failed queries with and without it. Of a
    symptom the trial has to gain over all queries in the place of the contrast.
    """
    reason, _, effect = case
    differs = p_adjusted < _LEVEL
    more_often = differs and table.odds_ratio > 1
    if reason.whole:
        gains = effect is not None and effect.found.low > 0
        return "confirmed" if gains and differs else "not significant"
    by_contrast: Status = "not significant"
    if differs and not more_often:
        by_contrast = "more frequent among hits"
    elif differs:
        by_contrast = "associated" if reason.symptom else "supported"
    if effect is None or (differs and not more_often):
        return by_contrast
    found = effect.found
    if found.unmoved is not None:
        proven: Status = "confirmed" if 2 * found.unmoved >= len(effect.proof.rows) else "refuted"
        return proven if more_often else by_contrast
    if found.low > 0 and found.recovered:
        special = effect.p < _LEVEL or found.control_failed < _FEWEST
        is_proven = (more_often and not reason.symptom) or p_alone < _LEVEL
        if is_proven and special:
            return "confirmed"
    return "refuted" if _is_refuted(found) else by_contrast


def _is_refuted(found: Counterfactual) -> bool:
    """Tell whether a change recovers nothing, or no more than of the failed ones without reason."""
    if found.failed < _FEWEST:
        return False
    if not found.recovered:
        return True
    enough = min(found.failed, found.control_failed) >= MANY
    others = found.control_recovered / max(found.control_failed, 1)
    return enough and found.recovered / found.failed <= others


def _sentence(
    subject: Subject,
    reason: Reason,
    table: Contrast,
    p_adjusted: float,
    tried: Counterfactual | None,
    recoverable: float | None,
    signs: Signs,
) -> str:
    if reason.whole and tried is not None:
        return (
            f"Tested ({tried.change}) on {tried.tried:,} queries: "
            f"{_share(table.chosen_with, table.chosen)} misses recover, "
            f"{_share(table.others_with, table.others)} others lose; "
            f"{subject.metric} {signed(tried.gain)} [{signed(tried.low)}, {signed(tried.high)}]."
        )
    failure = reason.failure.format(k=subject.k)
    told = (
        f"In {_share(table.chosen_with, table.chosen)} misses ({failure}), against "
        f"{_share(table.others_with, table.others)} others, {reason.says.format(k=subject.k)}: "
        f"odds ratio {odds_in_words(table.odds_ratio, table.low, table.high)} for this reason "
        f"alone, p {'<0.001' if p_adjusted < 0.001 else f'{p_adjusted:.3f}'} over all reasons."
    )
    if signs.at_work is not None:
        seen = f"{len(signs.failures):,}" if len(signs.failures) else "none"
        told += f" In {seen} of these misses {reason.harm}."
    if tried is None:
        return told
    if tried.unmoved is not None:
        return f"{told} Tested: {tried.change} in {_share(tried.unmoved, tried.failed)}."
    told += f" Tested ({tried.change}): {_share(tried.recovered, tried.failed)} recover"
    if tried.control_failed:
        others = _share(tried.control_recovered, tried.control_failed)
        told += f", against {others} misses without this reason"
    if tried.tried < _FEWEST:
        return f"{told}. Too few to estimate the gain."
    return (
        f"{told}; {subject.metric} {signed(tried.gain)} [{signed(tried.low)}, "
        f"{signed(tried.high)}] on the {tried.tried:,} queries with it, beyond the change's gain "
        f"on the others; {signed(recoverable or 0.0)} over all {subject.n_queries:,}."
    )


def _share(count: int, of: int) -> str:
    """Return a count with its total and share.

    >>> _share(61, 84), _share(0, 0)
    ('61 of 84 (73%)', 'none of 0')
    """
    return f"{count:,} of {of:,} ({count / of:.0%})" if of else "none of 0"
