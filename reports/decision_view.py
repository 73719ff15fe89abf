"""The decision as a terminal, a pull request, the page and the app show it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.decision.situation import Migration
from harness.decision.verdict import Decision, Regret, Rule
from harness.providers.table import money
from harness.statistics.verdicts import more_in_words
from reports import formats, tables

_HEAD = ("option", "action", "difference", "P(gain)", "adjusted", "P(harm)", "p95 ms", "B/doc")
_STRENGTHS = {"recommended": "recommended", "leaning": "leaning", "none": "no recommendation"}
_FACTS = 3  # that are not folded away
_TITLE = "What each option would mean"
_OTHERS = "Migration to other options"
_MIX = " Old and new vectors do not mix."


def render(decision: Decision) -> RenderableType:
    """Return the verdict, the rules with their evidence, the regrets, and what to try next."""
    table = Table(
        title="What each option would mean", title_justify="left", box=None, pad_edge=False
    )
    for place, column in enumerate(_HEAD):
        justify: Literal["left", "right"] = "left" if place < 2 else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=place > 0)
    for regret in decision.regrets:
        table.add_row(*(Text(cell) for cell in _row(regret)))
    moved = migrations(decision)
    lines = [
        Text(decision.sentence, style="bold"),
        *(Text(f"! {warning}") for warning in decision.warnings),
        *(Text(line) for line in moved.chosen),
        Text(),
        *(
            Text(f"{number}. {rule.name}{_decided(rule)}: {rule.evidence}")
            for number, rule in enumerate(decision.rules, start=1)
        ),
        Text(),
    ]
    excluded = [Text(line) for line in _excluded(decision)]
    excluded += [Text(line) for line in moved.rest]
    rest = [Text(), Text(f"Next: {decision.experiment}")]
    published = [Text(line) for line in decision.published]
    notes = [Text(f"Note: {note}") for note in decision.notes]
    return Group(*lines, table, *excluded, *rest, *published, *notes)


def markdown(decision: Decision) -> str:
    """Return the same for a pull request."""
    rows = ["| " + " | ".join(_HEAD) + " |", "| --- | --- |" + " ---: |" * (len(_HEAD) - 2)]
    rows += ["| " + " | ".join(map(_escaped, _row(each))) + " |" for each in decision.regrets]
    rules = [
        f"{number}. **{rule.name}**{_decided(rule)}: {_escaped(rule.evidence)}"
        for number, rule in enumerate(decision.rules, start=1)
    ]
    excluded = [f"- {_escaped(line)}" for line in _excluded(decision)]
    notes = [f"- {_escaped(line)}" for line in (*decision.published, *decision.notes)]
    moved = migrations(decision)
    excluded += [f"- {_escaped(line)}" for line in moved.rest]
    parts = [
        [f"## {_escaped(decision.sentence)}"],
        [f"- **{_escaped(warning)}**" for warning in decision.warnings]
        + [f"- {_escaped(line)}" for line in moved.chosen],
        rules,
        rows,
        excluded,
        [f"**Next**: {_escaped(decision.experiment)}"],
        notes,
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def regrets(decision: Decision) -> tables.Table:
    """Return a row per option: what taking it would mean, and why it can not be taken."""
    excluded = any(regret.excluded for regret in decision.regrets)
    columns = (tables.CANDIDATE, *_HEAD[1:], *(("excluded",) if excluded else ()))
    rows = tuple(
        (*_row(regret), *((regret.excluded,) if excluded else ())) for regret in decision.regrets
    )
    return tables.Table(columns, rows)


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
    warnings = Markup("")
    if decision.warnings:
        lines = (Markup("<li><strong>{}</strong></li>").format(line) for line in decision.warnings)
        warnings = Markup('<ul class="warnings">{}</ul>').format(Markup("").join(lines))
    moved = migrations(decision)
    listed = [Markup("<li>{}</li>").format(line) for line in moved.others]
    listed += [Markup("<li>{}</li>").format(_MIX.strip())] if moved.embeds else []
    more = ""
    if decision.more_queries:
        more = f" About {more_in_words(decision.more_queries)} would settle it."
    return Markup(
        '<div class="h-banner {}">{}<p class="verdict">{}</p>{}{}<ul>{}</ul>{}'
        '<p class="next"><strong>What would change this:</strong> {}{}</p>{}</div>'
    ).format(
        decision.strength,
        Markup("").join(Markup('<span class="h-chip">{}</span>').format(chip) for chip in chips),
        decision.sentence,
        warnings,
        Markup("").join(Markup("<p>{}</p>").format(line) for line in moved.chosen)
        + _folded(_OTHERS, listed),
        Markup("").join(points[:_FACTS]),
        _folded(f"{len(points[_FACTS:])} more rules", points[_FACTS:]),
        decision.experiment,
        more,
        _folded("Notes", notes),
    )


class Migrations(NamedTuple):
    """What it takes to serve options whose documents are searched in another form.

    Attributes:
        chosen: of what the verdict names, a sentence or none.
        others: of the other options that may be taken, a phrase each.
        embeds: whether any of these others embeds texts.
    """

    chosen: list[str]
    others: list[str]
    embeds: bool

    @property
    def rest(self) -> list[str]:
        """The other options in a line or none."""
        listed = [f"{_OTHERS}: {'; '.join(self.others)}.{_MIX if self.embeds else ''}"]
        return listed if self.others else []


def migrations(decision: Decision) -> Migrations:
    """Return what it takes to serve each option that the baseline's index does not serve."""
    chosen, others, embeds = [], [], False
    for regret in decision.regrets:
        found = regret.migration
        if found is None or regret.excluded:
            continue
        work, index = _needed(found)
        if regret.candidate == decision.candidate:
            mix = _MIX if found.embeds else ""
            chosen.append(f"Migration: {work}; {index} while both serve.{mix}")
        else:
            others.append(f"{regret.candidate}: {work}, {index}")
            embeds |= found.embeds
    return Migrations(chosen, others, embeds)


def _needed(found: Migration) -> tuple[str, str]:
    """Return what is embedded, how long that takes and costs; and the second index."""
    size = "" if found.index_bytes is None else f" of {formats.size(found.index_bytes)}"
    index = f"a second index{size}"
    if not found.embeds:
        return "no text is embedded again", index
    tokens = "" if found.tokens is None else f" ({found.tokens:,} tokens)"
    parts = [f"{found.documents:,} documents{tokens} to embed"]
    if found.hours is not None:
        seconds = 3600 * found.hours
        rate = found.tokens_per_second
        at = f"{formats.rate(rate)} tokens/s on " if rate else ""
        took = formats.seconds(seconds) if seconds >= 1 else "less than a second"
        parts.append(f"{took} ({at}{found.device})")
    if found.money is not None:
        parts.append(money(found.money, found.currency))
    return ", ".join(parts), index


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


def _decided(rule: Rule) -> str:
    return " (decided)" if rule.decided else ""


def _row(regret: Regret) -> tuple[str, ...]:
    return (
        regret.candidate,
        regret.action,
        formats.difference(regret.difference, regret.low, regret.high),
        formats.probability(regret.p_worthwhile),
        formats.UNKNOWN if regret.p_adjusted is None else formats.probability(regret.p_adjusted),
        formats.probability(regret.p_harm),
        formats.milliseconds(regret.query_ms_p95),
        formats.size(regret.bytes_per_document),
    )


def _excluded(decision: Decision) -> list[str]:
    regrets = [regret for regret in decision.regrets if regret.excluded]
    return [f"{regret.candidate} is excluded: {regret.excluded}" for regret in regrets]


def _escaped(text: str) -> str:
    for sign, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        text = text.replace(sign, escape)
    return text
