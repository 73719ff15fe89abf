"""Decide: the verdict and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from markupsafe import Markup

from reports import facts, judging_view, plots, wording
from reports.app import shown
from reports.app.choice import Choice, command_on
from reports.decision_view import banner, undecided
from reports.sections import of_grades
from reports.stored import read_judging

_MOST = 5  # warnings that are not folded away


def show(choice: Choice) -> None:
    """Show the page."""
    results = choice.stored.results
    shown.heading(results.question or results.suite)
    _verdict(choice)
    shown.bullets(wording.warnings(results), head="Warnings", most=_MOST)
    _tiles(choice)
    _figures(choice)


def show_alone(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Show what is known of a suite that was judged before it was run: it has no scores."""
    found = read_judging(folder)
    shown.heading(found.title if found else str(manifest.get("suite", "")))
    if found is None:
        shown.notice("Nothing is known yet.", command=command_on(folder, manifest, "judge"))
        return
    if found.decision is not None:
        shown.html(banner(found.decision))
    else:
        weigh = "A decision weighs what the grades show with costs and budgets."
        shown.notice(weigh, command=command_on(folder, manifest, "decide"))
    shown.bullets([judging_view.without_scores(found.judging), *found.unreadable], head="Warnings")
    for section in of_grades(found.gates, found.judging):
        shown.section(section.title, section.note)
        for block in section.blocks:
            if block.table is not None:
                shown.table(block.table, label=block.title or section.title)
            shown.bullets(block.sentences)


def _verdict(choice: Choice) -> None:
    decision = choice.stored.decision
    if decision is not None:
        shown.html(banner(decision))
        return
    shown.html(undecided(wording.headline(choice.stored.results, choice.collection)))
    shown.notice(
        "These are scores alone. A decision also weighs costs, budgets and data quality.",
        command=choice.command("decide"),
    )


def _tiles(choice: Choice) -> None:
    if not choice.has_pair:
        shown.notice(choice.alone)
        return
    if choice.missing:
        return
    decision = choice.stored.decision
    weighed = {each.candidate for each in decision.options} if decision else set()
    is_decided = decision is not None and (choice.first, choice.metric) == (
        decision.baseline,
        decision.metric,
    )
    shown.section(f"{choice.second} against {choice.first}")
    tiles = Markup("").join(
        Markup(
            '<div class="h-tile"><p class="label">{}</p><p class="value">{}</p>'
            '<p class="said">{}</p></div>'
        ).format(*fact)
        for fact in facts.of_pair(
            choice.stored,
            choice.gap,
            choice.collection,
            choice.metric,
            first=choice.first,
            second=choice.second,
            is_decided=is_decided and choice.second in weighed,
        )
    )
    shown.html(Markup('<div class="h-tiles">{}</div>').format(tiles))


def _figures(choice: Choice) -> None:
    stored, collection = choice.stored, choice.collection
    results = stored.results
    shown.section(
        f"{results.metrics[0]} of all candidates on {collection}",
        f"Baseline: {results.baseline}. Shaded or dotted: differences within the suite's margin, "
        f"±{results.margin:g}.",
    )
    for plot in plots.overview(results, stored.costs, collection):
        shown.plot(plot)
    for plot, table in plots.learning_curves(results):
        shown.plot(plot)
        with st.expander("As a table"):
            shown.table(table, label=plot.title)
    split = list(plots.gap_split(stored, collection))
    for plot in split:
        shown.plot(plot)
    if not split:
        shown.notice(
            "A diagnosis shows where the score is lost: in ranking or in the first stage.",
            command=choice.command("diagnose"),
        )
