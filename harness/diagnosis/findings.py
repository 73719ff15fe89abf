"""Findings: every reason looked for, contrasted, tried, and told in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.diagnosis.contrast import Contrast, adjusted_odds, contrast
from harness.diagnosis.effect import FEWEST, Excess, effect
from harness.diagnosis.reasons.catalogue import REASONS
from harness.diagnosis.reasons.signs import Proof, Reason, Signs, Trial
from harness.diagnosis.subject import Subject
from harness.diagnosis.values import Counterfactual, Finding, Status, proven_first
from harness.progress import duration
from harness.stage import Context
from harness.statistics import mean_interval, paired
from harness.statistics.families import holm

_LEVEL = 0.05
MANY = 20  # failed queries with and without a reason, so that a trial can prove or refute it alone
_MOST_SECONDS = 300.0


@dataclass(frozen=True, eq=False)
class Case:
    """A reason that shows somewhere, with its counterfactual.

    Attributes:
        trial: None where there is none, or it would take too long.
    """

    reason: Reason
    signs: Signs
    trial: Trial | None


class Look(NamedTuple):
    """What the detectors saw, before anything is encoded.

    Attributes:
        cases: reasons that show somewhere.
        warnings: counterfactuals that are left out, each a sentence.
    """

    cases: list[Case]
    warnings: list[str]


def look_for_reasons(subject: Subject) -> Look:
    """Let every detector look at a candidate, and prepare the counterfactuals."""
    cases, warnings = [], []
    for reason in REASONS:
        signs = reason.detect(subject)
        if signs is None or not (signs.shows & signs.eligible).any():
            continue
        trial = None if reason.trial is None else reason.trial(subject, signs)
        if trial is not None and (too_long := _seconds(subject, trial)) > _MOST_SECONDS:
            warnings.append(
                f"{reason.title.lower()}: the counterfactual was not tried; it would encode for "
                f"about {duration(too_long)}, got a limit of {duration(_MOST_SECONDS)}."
            )
            trial = None
        if not (reason.whole and trial is None):
            cases.append(Case(reason, signs, trial))
    return Look(cases, warnings)


def _seconds(subject: Subject, trial: Trial) -> float:
    works = [encode.work(subject.store) for encode in trial.encodes]
    return sum(work.seconds or 0.0 for work in works)


def explain(subject: Subject, cases: Sequence[Case], context: Context) -> list[Finding]:
    """Try the counterfactuals and put the findings together, the best proven first."""
    trials = [_try(case, context) for case in cases]
    tables = [
        _matched(case, tried, subject.seed) if case.reason.whole else _of_misses(case.signs)
        for case, tried in zip(cases, trials, strict=True)
    ]
    alone = [_p_alone(case, tried) for case, tried in zip(cases, trials, strict=True)]
    adjusted = holm(np.array([*(table.p for table in tables), *alone], dtype=np.float64))
    usual = [not case.reason.whole for case in cases]
    tags = [case.signs.shows[subject.findable] for case in cases if not case.reason.whole]
    ratios = iter(adjusted_odds(tags, subject.missed[subject.findable]) if tags else [])
    findings = [
        _finding(
            subject, case, tried, table, (float(p), float(p_alone)), next(ratios) if use else None
        )
        for case, tried, table, p, p_alone, use in zip(
            cases,
            trials,
            tables,
            adjusted[: len(cases)],
            adjusted[len(cases) :],
            usual,
            strict=True,
        )
    ]
    kept = [found for found in findings if found.misses_with or found.status == "confirmed"]
    return proven_first(kept)


def _of_misses(signs: Signs) -> Contrast:
    """Compare misses and hits among the queries where a reason could show."""
    return contrast(signs.failed[signs.eligible], signs.shows[signs.eligible])


class Tried(NamedTuple):
    """The best of a counterfactual's variants.

    The interval of its gain is widened for the number of variants (Bonferroni).
    """

    proof: Proof
    effect: Excess
    variants: int


def _try(case: Case, context: Context) -> Tried | None:
    if case.trial is None:
        return None
    for encode in case.trial.encodes:
        encode.run(context)
    proofs = [proof for proof in case.trial.judge() if len(proof.rows)]
    if not proofs:
        return None
    measured = [(proof, _effect(case, proof, variants=len(proofs))) for proof in proofs]
    best, found = max(measured, key=lambda each: each[1].gain.mean)
    return Tried(best, found, len(proofs))


def _effect(case: Case, proof: Proof, *, variants: int) -> Excess:
    """Return what a change does; a change to the whole candidate has no control."""
    found = effect(case.signs, proof, confidence=1 - _LEVEL / variants)
    if not case.reason.whole:
        return found._replace(p=min(1.0, found.p * variants))
    return found._replace(gain=mean_interval(proof.gains, confidence=1 - _LEVEL / variants))


def _p_alone(case: Case, tried: Tried | None) -> float:
    """Return p of a trial that may confirm a reason without the contrast; 1 for all others.

    A symptom is proven by what its trial gains over all queries, which no failure chose.
    """
    if tried is None or tried.proof.unmoved is not None:
        return 1.0
    found, gains = tried.effect, tried.proof.gains
    if case.reason.alone and min(found.failed, found.control_failed) >= MANY:
        return found.p
    if case.reason.symptom and len(gains) >= MANY and gains.mean() > 0:
        return min(1.0, float(paired(gains[:, None], seed=0).p[0]) * tried.variants)
    return 1.0


def _matched(case: Case, tried: Tried | None, seed: int) -> Contrast:
    """Return the contrast of a change to the whole candidate: what gains, against what loses.

    The odds ratio is that of matched pairs, queries that gain to queries that lose; p tests the
    mean gain by sign flips.
    """
    if tried is None:
        raise TypeError(f"{case.reason.key} needs a counterfactual")
    proof = tried.proof
    missed = case.signs.failed[proof.rows]
    better, worse = int((proof.gains > 0).sum()), int((proof.gains < 0).sum())
    half = 1.96 * np.sqrt(1 / (better + 0.5) + 1 / (worse + 0.5))
    log = np.log((better + 0.5) / (worse + 0.5))
    p = float(paired(proof.gains[:, None], seed=seed).p[0]) * tried.variants
    return Contrast(
        chosen=int(missed.sum()),
        chosen_with=int(proof.recovered.sum()),
        others=int((~missed).sum()),
        others_with=int((proof.gains[~missed] < 0).sum()),
        odds_ratio=float(np.exp(log)),
        low=float(np.exp(log - half)),
        high=float(np.exp(log + half)),
        p=min(p, 1.0),
    )


def _finding(
    subject: Subject,
    case: Case,
    tried: Tried | None,
    table: Contrast,
    p_values: tuple[float, float],
    adjusted: float | None,
) -> Finding:
    reason, signs = case.reason, case.signs
    rows = signs.failures
    if reason.whole and tried is not None:
        rows = tried.proof.rows[tried.proof.recovered]
    made = None if tried is None else _counterfactual(tried)
    recoverable = None
    if tried is not None and tried.proof.unmoved is None:
        share = 1.0 if reason.whole else float(signs.flagged.mean())
        recoverable = tried.effect.gain.mean * share
    ids = subject.collection.query_ids
    p_adjusted, p_alone = p_values
    status = _status(case, table, p_adjusted, p_alone, tried)
    return Finding(
        reason=reason.key,
        title=reason.title,
        sentence=_sentence(
            subject,
            reason,
            table,
            p_adjusted,
            made,
            recoverable,
            None if signs.at_work is None else len(rows),
        )
        + _by_trial_alone(status, p_adjusted),
        lever=reason.lever,
        misses=table.chosen,
        misses_with=table.chosen_with,
        hits=table.others,
        hits_with=table.others_with,
        odds_ratio=table.odds_ratio,
        low=table.low,
        high=table.high,
        p_adjusted=p_adjusted,
        adjusted_odds_ratio=adjusted,
        status=status,
        recoverable=recoverable,
        counterfactual=made,
        queries=[ids[row] for row in rows],
        evidence={ids[row]: _evidence(case, tried, int(row)) for row in rows},
    )


def _evidence(case: Case, tried: Tried | None, row: int) -> str:
    if case.reason.whole and tried is not None:
        return f"Found with another prompt: {tried.proof.change}."
    return case.signs.evidence(row)


def _status(
    case: Case, table: Contrast, p_adjusted: float, p_alone: float, tried: Tried | None
) -> Status:
    """Weigh the contrast and the trial of a reason.

    Confirmed takes both; or a trial alone, its p adjusted together with all contrasts, that mends
    nothing but the texts that show the reason, on `MANY` failed queries with and without it. Of a
    symptom the trial has to gain over all queries in the place of the contrast.
    """
    reason, differs = case.reason, p_adjusted < _LEVEL
    more_often = differs and table.odds_ratio > 1
    by_contrast: Status = "supported" if more_often and not reason.symptom else "not significant"
    if reason.whole:
        gains = tried is not None and tried.effect.gain.low > 0
        return "confirmed" if gains and differs else "not significant"
    if tried is None or (differs and not more_often):
        return by_contrast
    found, unmoved = tried.effect, tried.proof.unmoved
    if unmoved is not None:
        proven: Status = "confirmed" if 2 * unmoved >= len(tried.proof.rows) else "refuted"
        return proven if more_often else by_contrast
    if found.gain.low > 0 and found.recovered:
        special = found.p < _LEVEL or found.control_failed < FEWEST
        is_proven = (more_often and not reason.symptom) or p_alone < _LEVEL
        if is_proven and special:
            return "confirmed"
    return "refuted" if _is_refuted(found) else by_contrast


def _is_refuted(found: Excess) -> bool:
    """Tell whether a change recovers nothing, or no more than of the failed ones without reason."""
    if found.failed < FEWEST:
        return False
    if not found.recovered:
        return True
    enough = min(found.failed, found.control_failed) >= MANY
    others = found.control_recovered / max(found.control_failed, 1)
    return enough and found.recovered / found.failed <= others


def _counterfactual(tried: Tried) -> Counterfactual:
    found = tried.effect
    return Counterfactual(
        change=tried.proof.change,
        tried=found.tried,
        failed=found.failed,
        recovered=found.recovered,
        gain=found.gain.mean,
        low=max(-1.0, found.gain.low),
        high=min(1.0, found.gain.high),
        control_failed=found.control_failed,
        control_recovered=found.control_recovered,
        unmoved=tried.proof.unmoved,
    )


def _sentence(
    subject: Subject,
    reason: Reason,
    table: Contrast,
    p_adjusted: float,
    tried: Counterfactual | None,
    recoverable: float | None,
    at_work: int | None,
) -> str:
    if reason.whole and tried is not None:
        return _sentence_of_change(subject, table, tried)
    failure = reason.failure.format(k=subject.k)
    told = (
        f"In {_share(table.chosen_with, table.chosen)} failed queries ({failure}), against "
        f"{_share(table.others_with, table.others)} others, {reason.says.format(k=subject.k)}: "
        f"odds ratio {table.odds_ratio:.1f} [{table.low:.1f}, {table.high:.1f}], "
        f"p {_p(p_adjusted)} over all reasons."
    )
    if at_work is not None:
        told += f" Its harm shows in the results of {at_work:,}."
    if tried is None:
        return told
    if tried.unmoved is not None:
        return f"{told} Tried ({tried.change}): so for {_share(tried.unmoved, tried.failed)}."
    told += f" Tried ({tried.change}): {_share(tried.recovered, tried.failed)} recover"
    if tried.control_failed:
        others = _share(tried.control_recovered, tried.control_failed)
        told += f", against {others} failed ones without this reason"
    return (
        f"{told}; {subject.metric} {tried.gain:+.3f} [{tried.low:+.3f}, {tried.high:+.3f}] over "
        f"the {tried.tried:,} queries with it, beyond what the change gives the others; "
        f"{recoverable:+.3f} over all {subject.n_queries:,}."
    )


def _by_trial_alone(status: Status, p_adjusted: float) -> str:
    """Return what a reader must know of a reason that the contrast alone would not show."""
    if status != "confirmed" or p_adjusted < _LEVEL:
        return ""
    return " The trial confirms it; the contrast with queries that succeed alone would not."


def _sentence_of_change(subject: Subject, table: Contrast, tried: Counterfactual) -> str:
    return (
        f"Tried ({tried.change}) on {tried.tried:,} queries: "
        f"{_share(table.chosen_with, table.chosen)} failed ones recover, "
        f"{_share(table.others_with, table.others)} others lose; "
        f"{subject.metric} {tried.gain:+.3f} [{tried.low:+.3f}, {tried.high:+.3f}]."
    )


def _share(count: int, of: int) -> str:
    """Return a count with its total and share.

    >>> _share(61, 84), _share(0, 0)
    ('61 of 84 (73 %)', 'none of 0')
    """
    return f"{count:,} of {of:,} ({count / of:.0%})".replace("%", " %") if of else "none of 0"


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"
