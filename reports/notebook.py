"""Notebook: what a cell shows, as HTML that carries its own style and escapes every text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO

from markupsafe import Markup
from rich.console import Console, RenderableType

from harness.gates.report import GateReport
from harness.results.comparison import Comparison
from harness.results.values import Costs, Results, Score
from harness.suite.spec import Suite
from reports import gate_view, tables, wording
from reports.tables import Table

_WIDTH = 120  # columns of text
_PRE = '<pre style="white-space:pre-wrap;line-height:1.35">{code}</pre>'
_NOTHING = Markup("")
_HEAD = Markup('<th style="padding:2px 8px;text-align:{}">{}</th>')
_CELL = Markup('<td style="padding:2px 8px;text-align:{}">{}</td>')


def text(content: RenderableType) -> str:
    """Return what a terminal shows, without colours."""
    console = _console(record=False)
    with console.capture() as shown:
        console.print(content, highlight=False)
    return "\n".join(line.rstrip() for line in shown.get().rstrip("\n").split("\n"))


def printed(content: RenderableType) -> str:
    """Return what a terminal shows, as HTML."""
    console = _console(record=True)
    console.print(content, highlight=False)
    return console.export_html(inline_styles=True, code_format=_PRE)


def _console(*, record: bool) -> Console:
    """Return one that prints nowhere."""
    return Console(
        file=StringIO(),
        width=_WIDTH,
        record=record,
        markup=False,
        emoji=False,
        force_jupyter=False,
    )


def suite(asked: Suite) -> str:
    """Return the question, its collections and its candidates."""
    candidates = tables.table(
        {
            "candidate": f"{name} (baseline)" if name == asked.baseline else name,
            "change": spec.summary,
            "from": ", ".join(spec.parents),
        }
        for name, spec in asked.candidates.items()
    )
    collections = tables.table(
        {"collection": name, "source": spec.source, "split": spec.split, "role": spec.role}
        for name, spec in asked.collections.items()
    )
    metrics = f"{asked.metrics[0]} decides" + "".join(f", {each}" for each in asked.metrics[1:])
    return _joined(
        _bold(f"{asked.name}: {asked.question}" if asked.question else asked.name),
        _line(metrics),
        _cells(candidates),
        _cells(collections),
    )


def results(found: Results, costs: Costs) -> str:
    """Return the headline and the table of candidates for each collection, and all warnings."""
    parts = [_bold(found.question or found.suite)]
    parts += [_line(f"Failed: {sentence}") for sentence in found.failed]
    for each in found.collections:
        parts.append(_line(f"{each.name}: {wording.described(found, each)}"))
        parts.append(_line(wording.headline(found, each.name)))
        parts.append(_cells(tables.candidates(found, costs, each.name)))
    warnings = wording.warnings(found)[len(found.failed) :]
    return _joined(*parts, _line(wording.KEY), _list(f"Warning: {each}" for each in warnings))


def compared(means: Sequence[Score], found: Sequence[Comparison], warnings: Sequence[str]) -> str:
    """Return the scores of runs, the difference of every pair in each metric, and warnings."""
    parts = [_cells(tables.means(means))]
    for metric, mine in tables.by_metric(found).items():
        parts += [_bold(f"Differences in {metric}"), _cells(tables.pairs(mine))]
        parts.append(_list(wording.pair(each) for each in mine))
        chance = wording.chance_of_pairs(mine)
    warned = _list(f"Warning: {each}" for each in warnings)
    return _joined(*parts, _line(wording.KEY), _line(chance), warned)


def gates(report: GateReport) -> str:
    """Return the verdict of all gates, a row for each, and why each answers as it does."""
    return _joined(
        _bold(gate_view.headline(report)),
        _cells(gate_view.table(report)) if report.findings else _NOTHING,
        _list([*gate_view.answers(report), *(f"Warning: {each}" for each in report.warnings)]),
    )


def _cells(table: Table) -> Markup:
    numbers = [table.is_number(column) for column in table.columns]

    def row(cells: Iterable[str], pattern: Markup) -> Markup:
        aligned = zip(("right" if number else "left" for number in numbers), cells, strict=True)
        drawn = (pattern.format(side, cell) for side, cell in aligned)
        return Markup("<tr>{}</tr>").format(Markup("").join(drawn))

    body = Markup("").join(row(each, _CELL) for each in table.rows)
    return Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(
        row(table.columns, _HEAD), body
    )


def _list(sentences: Iterable[str], *, ordered: bool = False) -> Markup:
    items = Markup("").join(Markup("<li>{}</li>").format(each) for each in sentences)
    listed = Markup("<ol>{}</ol>") if ordered else Markup("<ul>{}</ul>")
    return listed.format(items) if items else _NOTHING


def _bold(sentence: str) -> Markup:
    return Markup("<p><strong>{}</strong></p>").format(sentence)


def _line(sentence: str) -> Markup:
    return Markup("<p>{}</p>").format(sentence)


def _joined(*parts: Markup) -> str:
    return str(Markup("<div>{}</div>").format(Markup("").join(parts)))
