"""Sections: what the page shows beside a run's own results, as far as verbs have found it.

A section is a row of blocks: figures, tables, lists of sentences, or a banner. The page lays them
out; each says the same as the app's page of its subject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports import facts, formats, gate_view, judging_view, plots, tables
from reports.lookup import TABLES, Lookup
from reports.plots import Plot
from reports.stored import Stored, missing_tables
from reports.tables import Table

if TYPE_CHECKING:
    from harness.gates.report import GateReport
    from harness.judging.judged import JudgedSuite

_MOST_QUERIES = 8  # of each side in the list of losses and gains


class Block(NamedTuple):
    """One thing in a section; what it does not have is None or empty.

    Attributes:
        title: above it.
        note: below it.
    """

    title: str = ""
    plot: Plot | None = None
    table: Table | None = None
    sentences: Sequence[str] = ()
    note: str = ""


class Section(NamedTuple):
    """A part of the page with its own heading."""

    key: str
    title: str
    note: str
    blocks: Sequence[Block]


def sections(stored: Stored) -> Iterator[Section]:
    """Yield what has been found beside the results, in the order of the page."""
    if not missing_tables(stored.folder, TABLES):
        yield from _queries(stored)
    losses = partial(plots.gap_split, stored)
    yield from _by_collection(stored, "losses", "Where the score is lost", losses)
    yield from of_grades(stored.gates, stored.judging)
    history = partial(plots.history, stored, names=(stored.stands_out,))
    yield from _by_collection(stored, "history", "Over time", history)


def _queries(stored: Stored) -> Iterator[Section]:
    """Yield how the candidate that stands out does on every query, against the baseline."""
    first, second = stored.results.baseline, stored.stands_out
    if first == second:
        return
    metric = stored.results.metrics[0]
    lookup = Lookup(stored.folder)
    blocks = []
    for collection in stored.results.collections:
        scores = lookup.scores(collection.name, metric)
        if first not in scores.values_of or second not in scores.values_of:
            continue
        run = facts.tested(stored, collection.name, metric, first=first, second=second)
        values = scores.values_of[first], scores.values_of[second]
        plot = plots.waterline(
            scores, facts.gap(*values, run), first=first, second=second, metric=metric
        )
        blocks.append(Block(title=collection.name, plot=plot))
        texts = lookup.queries(collection.name)
        extremes = _extremes(scores.query_ids, texts, values[1] - values[0], metric)
        blocks.append(Block("The largest losses and gains", table=extremes))
    if blocks:
        yield Section("queries", f"{second} against {first}, query by query", "", blocks)


def _extremes(
    ids: Sequence[str], texts: dict[str, str], differences: np.ndarray, metric: str
) -> Table:
    order = np.argsort(differences, kind="stable").tolist()
    rows = [
        row
        for row in dict.fromkeys([*order[:_MOST_QUERIES], *order[-_MOST_QUERIES:]])
        if differences[row] != 0
    ]
    return tables.table(
        {
            "query": ids[row],
            "text": formats.shortened(texts.get(ids[row], ""), 160),
            f"difference in {metric}": formats.signed(float(differences[row])),
        }
        for row in rows
    )


def of_grades(gates: GateReport | None, judged: JudgedSuite | None) -> Iterator[Section]:
    """Yield what gates and grades say, which need no scores of a run."""
    if gates is not None and gates.findings:
        yield Section(
            "gates",
            gate_view.headline(gates),
            "Differences: candidate minus stored baseline.",
            [Block(table=gate_view.table(gates), sentences=tuple(gate_view.answers(gates)))],
        )
    if judged is None or not judged.differences:
        return
    said = tuple(judging_view.about(judged))
    blocks = [Block(table=judging_view.differences(judged), sentences=said)]
    for place, model in judged.models.items():
        if model.by_grade:
            title = f"Bias of {model.name} on {place}"
            blocks.append(Block(title, table=judging_view.by_grade(model)))
            table = judging_view.by_candidate(model)
            blocks.append(Block(table=table, note=judging_view.BIAS_NOTE))
    yield Section("judging", judging_view.TITLE, judging_view.NOTE, blocks)


def _by_collection(
    stored: Stored, key: str, title: str, draw: Callable[[str], Iterator[Plot]]
) -> Iterator[Section]:
    found = [plot for each in stored.results.collections for plot in draw(each.name)]
    if found:
        yield Section(key, title, "", [Block(plot=plot) for plot in found])
