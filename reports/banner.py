"""Banner: the verdict of a decision as markup, the same on the page and in the app."""

from __future__ import annotations

from markupsafe import Markup

from harness.decision.verdict import Decision
from harness.statistics.verdicts import more_in_words

_STRENGTHS = {"recommended": "recommended", "leaning": "leaning", "none": "no recommendation"}
_FACTS = 3


def banner(decision: Decision) -> Markup:
    """Return the verdict: what to do, how sure, warnings, the facts, what would change it."""
    rules = sorted(decision.rules, key=lambda rule: not rule.decided)
    points = [
        Markup("<li><strong>{}</strong>{}: {}</li>").format(
            rule.name, " (decided)" if rule.decided else "", rule.evidence
        )
        for rule in rules
    ]
    notes = [Markup("<li>{}</li>").format(note) for note in (*decision.published, *decision.notes)]
    chips = [str(decision.action), _STRENGTHS[decision.strength]]
    chips.append(f"{decision.metric}, n={decision.n:,}")
    more = ""
    if decision.more_queries:
        more = f" About {more_in_words(decision.more_queries)} would settle it."
    return Markup(
        '<div class="h-banner {}">{}<p class="verdict">{}</p>{}<ul>{}</ul>{}'
        '<p class="next"><strong>What would change this:</strong> {}{}</p>{}</div>'
    ).format(
        decision.strength,
        Markup("").join(Markup('<span class="h-chip">{}</span>').format(chip) for chip in chips),
        decision.sentence,
        _warned(decision),
        Markup("").join(points[:_FACTS]),
        _folded(f"{len(points[_FACTS:])} more rules", points[_FACTS:]),
        decision.experiment,
        more,
        _folded("Notes", notes),
    )


def _warned(decision: Decision) -> Markup:
    if not decision.warnings:
        return Markup("")
    lines = (Markup("<li><strong>{}</strong></li>").format(line) for line in decision.warnings)
    return Markup('<ul class="warnings">{}</ul>').format(Markup("").join(lines))


def undecided(sentence: str) -> Markup:
    """Return what the scores say where nothing was decided yet."""
    return Markup(
        '<div class="h-banner none"><span class="h-chip inconclusive">not decided</span>'
        '<p class="verdict">{}</p></div>'
    ).format(sentence)


def _folded(title: str, points: list[Markup]) -> Markup:
    if not points:
        return Markup("")
    return Markup("<details><summary>{}</summary><ul>{}</ul></details>").format(
        title, Markup("").join(points)
    )
