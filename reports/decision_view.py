"""The decision as a terminal, a pull request, a notebook, the page and the app show it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from harness.decision.answers import SAME_COSTS
from harness.decision.situation import Migration
from harness.decision.verdict import Decision, OptionVerdict
from harness.errors import about, counted
from harness.providers.table import money
from harness.statistics.verdicts import more_in_words
from reports import formats, tables
from reports.markdown import plain
from reports.terminal import Wrapped

_MOST = 5  # options in the table of the verdict
_HEAD = ("option", "change", "gain [95%]", "P(gain)", "price", "verdict")
_ALL = ("option", "change", "gain", "P(gain)", "alone", "P(harm)", "p95 ms", "size/doc", "verdict")
_NAME = 16  # columns of a name in a narrow terminal
_WIDE = 100  # columns of a terminal in which every gain stands beside its interval
_EVERY = "All options, with every probability and cost"
_OTHERS = "Migration to other options"
_MIX = " Old and new vectors do not mix."


def render(decision: Decision) -> RenderableType:
    """Return the verdict, its price, the options with what they answer; then the evidence.

    Texts of the user are never read as markup.
    """
    moved = migrations(decision)
    parts: list[RenderableType] = [Text(decision.sentence, style="bold")]
    parts += [Text(line) for line in (*_by_collection(decision), *_second_lines(decision))]
    parts += [Text(f"! {warning}") for warning in decision.warnings]
    if decision.options:
        parts += [Text(), _Drawn(options(decision)), Text(legend(decision), style="italic")]
    parts += [Text(line) for line in _other_answers(decision)]
    parts += [Text(), Text(f"What would change it: {_next(decision)}")]
    parts.append(Text("\nEvidence", style="italic"))
    parts += [Text(f"• {line}") for line in (*_rules(decision), *_others(decision))]
    parts += [Text(line) for line in (*_excluded(decision), *moved.rest, *decision.published)]
    parts += [Text(f"Note: {note}") for note in decision.notes]
    return Group(*parts)


@dataclass(frozen=True)
class _Drawn:
    """The table of options; intervals and prices take a second line in a narrow terminal."""

    table: tables.Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self.table if options.max_width >= _WIDE else _folded(self.table)
        numbers = {column for column in shown.columns if shown.is_number(column)}
        yield Wrapped(shown, whole=frozenset({"option", "price"} | numbers))


def _folded(wide: tables.Table) -> tables.Table:
    """Return the options for a narrow terminal: two lines each, the change below its option."""
    rows = []
    for name, change, gain, chance, price, why in wide.rows:
        below = [f"  {line}" for line in formats.broken(change, _NAME - 2)]
        named = "\n".join([*formats.broken(name, _NAME), *below])
        rows.append(
            (
                named,
                gain.replace(" [", "\n["),
                chance,
                price.replace(", ", ",\n").replace(" per ", "\nper "),
                why,
            )
        )
    return tables.Table((_HEAD[0], *_HEAD[2:]), tuple(rows))


def markdown(decision: Decision) -> str:
    """Return the same as Markdown."""
    return f"## {plain(decision.sentence)}\n\n{markdown_below(decision)}\n"


def markdown_below(decision: Decision) -> str:
    """Return what follows the sentence of the verdict; evidence and notes are folded."""
    moved = migrations(decision)
    parts = [
        [f"- {plain(line)}" for line in _by_collection(decision)],
        [plain(line) for line in _second_lines(decision)],
        [f"- **{plain(warning)}**" for warning in decision.warnings],
        _rows(options(decision), numbers=(2, 3)) if decision.options else [],
        [f"<sub>{plain(legend(decision))}</sub>"] if decision.options else [],
        [f"- {plain(line)}" for line in _other_answers(decision)],
        [f"**What would change it**: {plain(_next(decision))}"],
    ]
    evidence = [
        f"- {plain(line)}" for line in (*_rules(decision), *_excluded(decision), *moved.rest)
    ]
    every = [*_rows(every_option(decision), numbers=range(2, len(_ALL) - 1)), "", key(decision)]
    notes = [f"- {plain(line)}" for line in (*decision.published, *decision.notes)]
    texts = [
        "\n\n".join(part) if place == 1 else "\n".join(part) for place, part in enumerate(parts)
    ]
    for title, lines in (
        (_EVERY, every if decision.options else []),
        ("Rules and evidence", evidence),
        ("Notes", notes),
    ):
        if lines:
            inner = "\n".join(lines)
            texts.append(f"<details><summary>{title}</summary>\n\n{inner}\n\n</details>")
    return "\n\n".join(text for text in texts if text)


def _rows(table: tables.Table, *, numbers: range | tuple[int, ...]) -> list[str]:
    rule = ["---:" if place in numbers else "---" for place in range(len(table.columns))]
    rows = [map(plain, row) for row in table.rows]
    return [f"| {' | '.join(cells)} |" for cells in (table.columns, rule, *rows)]


def banner(decision: Decision) -> Markup:
    """Return the verdict as HTML, with its evidence folded."""
    moved = migrations(decision)
    folded = (
        (_EVERY, _every(decision)),
        ("Rules and evidence", _list([*_rules(decision), *_excluded(decision)])),
        (_OTHERS, _list(moved.rest)),
        ("Notes", _list([*decision.published, *decision.notes])),
    )
    return Markup(
        '<div class="h-banner {}"><p class="verdict">{}</p>{}{}{}{}{}{}'
        '<p class="next"><strong>What would change it:</strong> {}</p>{}</div>'
    ).format(
        decision.strength,
        decision.sentence,
        _list(_by_collection(decision)),
        _joined(Markup("<p>{}</p>").format(line) for line in _second_lines(decision)),
        _list(decision.warnings, kind="warnings"),
        _cells(options(decision)),
        Markup('<p class="legend">{}</p>').format(legend(decision)) if decision.options else "",
        _list(_other_answers(decision), kind="answers"),
        _next(decision),
        _joined(
            Markup("<details><summary>{}</summary>{}</details>").format(title, inner)
            for title, inner in folded
            if inner
        ),
    )


def _joined(parts: Iterator[Markup]) -> Markup:
    return Markup("").join(parts)


def _list(lines: list[str], *, kind: str = "") -> Markup:
    if not lines:
        return Markup("")
    items = _joined(Markup("<li>{}</li>").format(line) for line in lines)
    named = Markup(' class="{}"').format(kind) if kind else ""
    return Markup("<ul{}>{}</ul>").format(named, items)


def _cells(table: tables.Table) -> Markup:
    """Return a table whose gains have their intervals on a line of their own."""
    if not table.rows:
        return Markup("")
    kinds = ["number" if table.is_number(column) else "text" for column in table.columns]

    def row(cells: tuple[str, ...], pattern: str) -> Markup:
        drawn = (
            Markup(pattern).format(kind, _breaking(cell))  # noqa: S704 - a pattern of ours
            for kind, cell in zip(kinds, cells, strict=True)
        )
        return Markup("<tr>{}</tr>").format(_joined(drawn))

    return Markup(
        '<div class="h-options" tabindex="0" role="region" aria-label="options"><table>'
        "<thead>{}</thead><tbody>{}</tbody></table></div>"
    ).format(
        row(table.columns, '<th scope="col" class="{}">{}</th>'),
        _joined(row(each, '<td class="{}">{}</td>') for each in table.rows),
    )


def _breaking(cell: str) -> Markup:
    """Return a cell whose interval may start a line, and whose names break behind a joint."""
    parts = re.split(r"(?<=\w[+/_-])(?=\w)", cell.replace(" [", "\n["))
    return Markup("<wbr>").join(parts)


def _others(decision: Decision) -> list[str]:
    """Return the options that the table has no room for, in a line or none."""
    known = {row[0] for row in options(decision).rows}
    answered = {each.candidate for each in decision.answers}
    listed = "; ".join(
        f"'{each.candidate}' {formats.signed(each.difference)}: {each.why_not}"
        for each in decision.options
        if each.candidate not in known and each.candidate not in answered
    )
    return [f"other options: {listed}."] if listed else []


def options(decision: Decision) -> tables.Table:
    """Return at most five options, the chosen one first: gain, price, and why not.

    Those that answer for a kind of change go before others, with their answer.
    """
    replies = _replies(decision)
    first = _in_order(decision)
    answering = sorted(first, key=lambda each: each.candidate not in replies)[:_MOST]
    return tables.Table(
        _HEAD,
        tuple(
            (
                each.candidate,
                _change(each, replies),
                formats.difference(each.difference, each.low, each.high),
                _probability(each.p_adjusted),
                each.price,
                each.why_not or "chosen",
            )
            for each in first
            if each in answering
        ),
    )


def _other_answers(decision: Decision) -> list[str]:
    """Return the answers about kinds of change that the table has no room for."""
    known = {row[0] for row in options(decision).rows}
    return [each.sentence for each in decision.answers if each.candidate not in known]


def every_option(decision: Decision) -> tables.Table:
    """Return every option with what the verdict does not rest on."""
    replies = _replies(decision)
    return tables.Table(
        _ALL,
        tuple(
            (
                each.candidate,
                _change(each, replies),
                formats.signed(each.difference),
                _probability(each.p_adjusted),
                _probability(each.p_worthwhile),
                _probability(each.p_harm),
                formats.milliseconds(each.query_ms_p95),
                formats.size(each.bytes_per_document),
                each.why_not or "chosen",
            )
            for each in _in_order(decision)
        ),
    )


def _replies(decision: Decision) -> dict[str, str]:
    """Return the answers about kinds of change, by the option that they are about."""
    return {each.candidate: f"{each.action}: {each.reply}" for each in decision.answers}


def _change(option: OptionVerdict, replies: dict[str, str]) -> str:
    """Return the kind of change that an option is, and whether it pays off."""
    told = f"{option.action}: {option.reply}" if option.reply else str(option.action)
    return replies.get(option.candidate, told)


def _in_order(decision: Decision) -> list[OptionVerdict]:
    """Return the options, the chosen one first and then the most promising."""
    return sorted(decision.options, key=lambda each: each.candidate != decision.candidate)


def _probability(value: float | None) -> str:
    return formats.UNKNOWN if value is None else formats.probability(value)


def legend(decision: Decision) -> str:
    """Return how to read the table of options, in a line."""
    count, gain = len(decision.options), decision.gain
    worthwhile = "a worthwhile gain" if gain is None else f"a gain of {gain:g} or more"
    among = f", adjusted for picking the best of {count}" if count > 1 else ""
    rest = f" {counted(count - _MOST, 'more option')} below." if count > _MOST else ""
    if any("same " in each.price for each in decision.options):
        rest = f" {SAME_COSTS}{rest}"
    if any("n/a" in each.price for each in decision.options):
        rest = f" Latency n/a: not measured, or on a busy machine.{rest}"
    return (
        f"Against '{decision.baseline}', {decision.metric}, n={decision.n:,}. P(gain): probability "
        f"of {worthwhile}{among}.{rest}"
    )


def key(decision: Decision) -> str:
    """Return what the columns of `every_option` mean."""
    loss = "that matters" if decision.margin is None else f"of more than {decision.margin:g}"
    return (
        "P(gain): adjusted for picking the best of all options; alone: unadjusted; "
        f"P(harm): probability of a loss {loss}."
    )


def _every(decision: Decision) -> Markup:
    if not decision.options:
        return Markup("")
    note = Markup('<p class="legend">{}</p>').format(key(decision))
    return _cells(every_option(decision)) + note


def _second_lines(decision: Decision) -> list[str]:
    """Return the price of the chosen option, and what it takes to serve it."""
    return [line for line in (decision.price, *migrations(decision).chosen) if line]


def _by_collection(decision: Decision) -> list[str]:
    return [
        f"'{each.candidate}' on {each.collection}: "
        f"{formats.difference(each.difference, each.low, each.high)} (n={each.n:,})"
        for each in decision.by_collection
    ]


def _next(decision: Decision) -> str:
    more = decision.more_queries
    asked = more_in_words(more) if more else ""
    if not asked or asked in decision.experiment:
        return decision.experiment
    return f"{decision.experiment} About {asked} would settle the verdict."


def _rules(decision: Decision) -> list[str]:
    return [
        f"{rule.name}{' (decided)' if rule.decided else ''}: {rule.evidence}"
        for rule in decision.rules
    ]


def _excluded(decision: Decision) -> list[str]:
    """Return why options are excluded, as far as no rule says it."""
    told = " ".join(rule.evidence for rule in decision.rules)
    return [
        f"{option.candidate} is excluded: {option.excluded}"
        for option in decision.options
        if option.excluded and option.excluded not in told
    ]


class Migrations(NamedTuple):
    """What it takes to serve options that need another index.

    Attributes:
        chosen: for the chosen option, a sentence or none.
        rest: for the other eligible options, a sentence for those that take the same work.
    """

    chosen: list[str]
    rest: list[str]


def migrations(decision: Decision) -> Migrations:
    """Return what it takes to serve each option that the baseline's index cannot serve."""
    chosen: list[str] = []
    others: dict[str, list[str]] = {}
    embeds = False
    for option in decision.options:
        found = option.migration
        if found is None or option.excluded:
            continue
        work, index = _needed(found)
        if option.candidate == decision.candidate:
            mix = _MIX if found.embeds else ""
            chosen.append(f"Migration: {work}; {index} while both serve.{mix}")
        else:
            others.setdefault(work, []).append(f"'{option.candidate}' ({index})")
            embeds |= found.embeds
    rest = [f"Migration to {', '.join(named)}: {work}." for work, named in others.items()]
    return Migrations(chosen, [*rest, *([_MIX.strip()] if embeds else [])])


def _needed(found: Migration) -> tuple[str, str]:
    """Return what has to be embedded, its time and cost; and what is added to the index."""
    size = found.index_bytes
    index = f"adds {'an index' if size is None else formats.size(size)}"
    if not found.embeds:
        return "nothing to embed", index
    tokens = "" if found.tokens is None else f" (about {about(found.tokens)} tokens)"
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
    """Return what the scores say before a decision."""
    return Markup(
        '<div class="h-banner none"><span class="h-chip inconclusive">not decided</span>'
        '<p class="verdict">{}</p></div>'
    ).format(sentence)
