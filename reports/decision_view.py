"""The decision as a terminal and a pull request show it."""

from __future__ import annotations

from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.decision.verdict import Decision, Regret, Rule
from reports import formats, tables

_HEAD = ("option", "action", "difference", "P(gain)", "adjusted", "P(harm)", "p95 ms", "B/doc")
_TITLE = "What each option would mean"


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
    lines = [
        Text(decision.sentence, style="bold"),
        *(Text(f"! {warning}") for warning in decision.warnings),
        Text(),
        *(
            Text(f"{number}. {rule.name}{_decided(rule)}: {rule.evidence}")
            for number, rule in enumerate(decision.rules, start=1)
        ),
        Text(),
    ]
    excluded = [Text(line) for line in _excluded(decision)]
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
    parts = [
        [f"## {_escaped(decision.sentence)}"],
        [f"- **{_escaped(warning)}**" for warning in decision.warnings],
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
