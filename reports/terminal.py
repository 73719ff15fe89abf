"""Terminal: a summary for 80 columns or more, readable without colour."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from harness.results.comparison import Comparison
from harness.results.values import CollectionResult, Costs, Results, Score
from harness.statistics.verdicts import Verdict
from reports import formats, tables, wording

_COLOURS = {"▲": "blue", "◆": "green", "▼": "dark_orange3", "●": "bright_black"}
_GAP = 2  # between two columns
_FEWEST_FOR_NAMES = 20
_LONG_WORD = 20  # which a narrow column may break
_BARS = frozenset("█▏")


def summary(results: Results, costs: Costs) -> RenderableType:
    """Return what a run found: scores, differences from the baseline, edges of the tree, warnings.

    Texts of the user are never read as markup.
    """
    parts: list[RenderableType] = [Text(results.question or results.suite, style="bold")]
    parts += [Text(f"Failed: {sentence}", style="bold") for sentence in results.failed]
    for collection in results.collections:
        if collection.cut_otherwise is not None:
            continue
        parts += _collection(results, costs, collection)
    together = tables.overall(results)
    if together.rows:
        parts.append(_Panels(f"All collections together, in {results.metrics[0]}", together))
    chunks = tables.chunk_sizes(results, costs)
    if chunks.rows:
        left_out = {"collection", tables.WINS}
        shown = [column for column in chunks.columns if column not in left_out]
        parts.append(_Panels("Chunk size", chunks.only(*shown)))
        parts.append(Text(tables.CHUNK_KEY))
    scored = tables.tasks(results)
    if scored.rows:
        parts += [_Panels(wording.TASKS, scored), Text(wording.TASKS_NOTE)]
    trained = wording.training(results)
    if trained:
        parts.append(Text("\nTrained candidates", style="italic"))
        parts += [Text(f"● {sentence}") for sentence in trained]
    parts += [Text(f"\n{wording.KEY}"), Text(wording.legend(results))]
    for warning in wording.warnings(results)[len(results.failed) :]:
        parts.append(Text(f"Warning: {warning}", style="dark_orange3"))
    return Group(*parts)


def compared(
    means: Sequence[Score], found: Sequence[Comparison], warnings: Sequence[str]
) -> RenderableType:
    """Return the scores of runs, the difference of every pair in each metric, and warnings."""
    by_metric = tables.by_metric(found)
    parts: list[RenderableType] = [_Panels("Scores", tables.means(means))]
    for metric, mine in by_metric.items():
        parts.append(_Panels(f"Differences in {metric}", tables.pairs(mine)))
        unclear = [each for each in mine if each.verdict is Verdict.INCONCLUSIVE]
        parts += _notes([wording.pair(each) for each in unclear])
    parts.append(Text(f"\n{wording.KEY}"))
    parts.append(Text(wording.chance_of_pairs(next(iter(by_metric.values())))))
    parts += [Text(f"Warning: {warning}", style="dark_orange3") for warning in warnings]
    return Group(*parts)


def _collection(
    results: Results, costs: Costs, collection: CollectionResult
) -> Iterator[RenderableType]:
    name, (deciding, *others) = collection.name, results.metrics
    yield Text(f"\n{name}: {wording.described(results, collection)}", style="bold")
    yield Text(wording.headline(results, name))
    rows = tables.candidates(results, costs, name)
    head = tables.interval_head(deciding)
    costly = (tables.LATENCY, tables.BYTES)
    yield _Panels(
        "Scores and costs (latency of one query)",
        rows.only(tables.CANDIDATE, head, *others, *costly),
        together=costly,
    )
    yield from _notes(wording.timings(costs, name))
    if len(results.candidates) == 1:
        return
    proof = (tables.DIFFERENCE, tables.P, tables.WINS)
    title = f"Against the baseline {results.baseline}, in {deciding}"
    yield _Panels(title, rows.only(tables.CANDIDATE, *proof))
    yield from _notes(wording.inconclusive(results, name, role="baseline"))
    edges = tables.edges(results, name)
    if edges.rows:
        yield _Panels(f"What each change did to {deciding}", _with_change(edges))
        yield from _notes(wording.inconclusive(results, name, role="parent"))


def _with_change(edges: tables.Table) -> tables.Table:
    """Return the edges with candidate and change in one column, which has room to wrap."""
    kept = {tables.RECALL} & set(edges.columns)
    columns = (tables.CANDIDATE, tables.GAP, *kept, tables.P, tables.MDE)
    changes = edges.only(tables.CANDIDATE, tables.CHANGE).rows
    rows = zip(changes, edges.only(*columns).rows, strict=True)
    return tables.Table(columns, tuple((" ".join(change), *row[1:]) for change, row in rows))


def _notes(sentences: list[str]) -> Iterator[Text]:
    for sentence in sentences:
        yield Text(f"● {sentence}")


@dataclass(frozen=True)
class _Panels:
    """A table that becomes several where the terminal is narrow; each repeats the names.

    Attributes:
        together: columns that stand in one of them.
    """

    title: str
    table: tables.Table
    together: tuple[str, ...] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = [row[0] for row in self.table.rows]
        widest = max(map(cell_len, [self.table.columns[0], *names]))
        width = min(widest, max(_FEWEST_FOR_NAMES, options.max_width - self._numbers_width()))
        yield Text(f"\n{self.title}", style="italic")
        for number, columns in enumerate(self._fitting(options.max_width - width)):
            if number:
                yield ""
            yield _drawn(self.table.only(tables.CANDIDATE, *columns), width)

    def _numbers_width(self) -> int:
        return sum(self._width(column) for column in self.table.columns[1:])

    def _fitting(self, room: int) -> Iterator[list[str]]:
        """Yield the columns behind the names in groups that fit, at least one at a time."""
        group: list[str] = []
        left = list(self.table.columns[1:])
        while left:
            count = len(self.together) if left[0] in self.together else 1
            added, left = left[:count], left[count:]
            if group and sum(map(self._width, [*group, *added])) > room:
                yield group
                group = []
            group += added
        yield group

    def _width(self, column: str) -> int:
        cells = [row[0] for row in self.table.only(column).rows]
        return _GAP + max(map(cell_len, [tables.SHORT.get(column, column), *cells]))


def _drawn(table: tables.Table, width: int) -> RichTable:
    drawn = RichTable(
        box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False
    )
    drawn.add_column(table.columns[0], max_width=width, overflow="fold")
    for column in table.columns[1:]:
        drawn.add_column(Text(tables.SHORT.get(column, column)), justify="right", no_wrap=True)
    for name, *cells in table.rows:
        styled = (Text(cell, style=_COLOURS.get(cell[:1], "")) for cell in cells)
        drawn.add_row(Text(_hanging(name, width)), *styled)
    return drawn


@dataclass(frozen=True)
class Wrapped:
    """A table whose cells take several lines where the terminal is narrow, broken between words.

    Attributes:
        whole: columns whose lines stay as they are.
    """

    table: tables.Table
    whole: frozenset[str] = frozenset()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [
            _column([name, *cells], is_whole=name in self.whole)
            for name, *cells in zip(self.table.columns, *self.table.rows, strict=True)
        ]
        room = options.max_width - _GAP * (len(columns) - 1)
        if sum(each.least for each in columns) > room:  # then words are broken, too
            columns = [each._replace(is_whole=False, least=1) for each in columns]
        level = max(
            (w for w in range(1, room + 1) if sum(each.within(w) for each in columns) <= room),
            default=1,
        )
        drawn = RichTable(
            box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False
        )
        lines = []
        for each in columns:
            width = each.within(level)
            head, *cells = ("\n".join(each.wrapped(cell, width)) for cell in each.cells)
            side: Literal["left", "right"] = "right" if self.table.is_number(each.name) else "left"
            drawn.add_column(Text(head), justify=side, width=width, no_wrap=True, overflow="fold")
            lines.append(cells)
        for row in zip(*lines, strict=True):
            drawn.add_row(*(Text(cell, style="blue" * (cell[:1] in _BARS)) for cell in row))
        yield drawn


class _Column(NamedTuple):
    """A column in characters.

    Attributes:
        cells: its head first.
        is_whole: no line is broken.
        widest: of its lines.
        least: width in which no word is broken.
    """

    name: str
    cells: Sequence[str]
    is_whole: bool
    widest: int
    least: int

    def within(self, width: int) -> int:
        """Return the width of the column if it should take at most `width`."""
        return max(1, self.least, min(self.widest, width))

    def wrapped(self, cell: str, width: int) -> list[str]:
        """Return the lines of a cell."""
        if self.is_whole:
            return [cell]
        lines: list[str] = []
        for given in cell.split("\n"):
            line = ""
            for word in _words(given):
                longer = f"{line} {word}" if line else word
                if cell_len(longer) <= width:
                    line = longer
                    continue
                *full, line = [*([line] if line else []), *formats.broken(word, width)]
                lines += full
            lines.append(line)
        return lines


def _column(cells: Sequence[str], *, is_whole: bool) -> _Column:
    lines = [line for cell in cells for line in cell.split("\n")]
    widest = max(map(cell_len, lines))
    longest = max((cell_len(word) for line in lines for word in _words(line)), default=1)
    return _Column(
        cells[0], cells, is_whole, widest, widest if is_whole else min(longest, _LONG_WORD)
    )


def _words(line: str) -> list[str]:
    """Return what a line may be broken between: words, and intervals as a whole.

    >>> _words("3.3 [2.6, 4.3] of 5")
    ['3.3', '[2.6, 4.3]', 'of', '5']
    """
    return re.findall(r"\[[^\] ]+, [^\]]+\]|[^ ]+", line)


def _hanging(name: str, width: int) -> str:
    """Return a name in lines of at most `width`, below its branch of the tree."""
    text = name.lstrip("\u00a0└")
    indent = " " * (len(name) - len(text))
    first, *others = formats.broken(text, max(1, width - len(indent)))
    return "\n".join([name[: len(indent)] + first, *(indent + line for line in others)])
