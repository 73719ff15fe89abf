"""Leaderboard: the tables of results alone, as Markdown or LaTeX, to be put into other texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.results.comparison import Comparison
from harness.results.values import Costs, Results, Score
from reports import latex, markdown, tables, wording


class Titled(NamedTuple):
    """A table with what it shows, in a sentence."""

    title: str
    table: tables.Table


def of_results(results: Results, costs: Costs) -> Iterator[Titled]:
    """Yield the candidates of every collection, and the steps of the tree where there are any."""
    for each in results.collections:
        described = wording.described(results, each)
        title = f"{each.name}: {described}. {wording.KEY}"
        yield Titled(title, tables.candidates(results, costs, each.name))
        edges = tables.edges(results, each.name)
        if edges.rows:
            yield Titled(f"{each.name}: what each change did to {results.metrics[0]}", edges)


def of_runs(means: Sequence[Score], found: Sequence[Comparison]) -> Iterator[Titled]:
    """Yield the scores of runs, and every pair in each metric."""
    yield Titled("Scores", tables.means(means))
    for metric, mine in tables.by_metric(found).items():
        yield Titled(f"Differences in {metric}. {wording.KEY}", tables.pairs(mine))


def written(listed: Iterator[Titled], form: str) -> str:
    """Return tables as a text, in "markdown" or "latex"."""
    if form == "markdown":
        parts = [
            f"**{markdown.plain(title)}**\n\n{markdown.drawn(table)}" for title, table in listed
        ]
    else:
        parts = [latex.PREAMBLE, *(latex.drawn(table, caption=title) for title, table in listed)]
    return "\n\n".join(parts) + "\n"
