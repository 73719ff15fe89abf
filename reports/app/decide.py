"""Decide: the verdict, what it rests on, and what each option would mean."""

from __future__ import annotations

import streamlit as st
from markupsafe import Markup

from harness.decision.verdict import Decision
from reports import captions, diagnosis_figures, facts, figures, reading, wording
from reports.app import shown
from reports.app.choice import Choice
from reports.decision_view import regrets

_STRENGTHS = {"recommended": "recommended", "leaning": "leaning", "none": "no recommendation"}
_FACTS = 3


def show(choice: Choice) -> None:
    """Show the page."""
    results = choice.stored.results
    shown.heading(results.question or results.suite)
    _verdict(choice)
    warnings = wording.warnings(results)
    if warnings:
        with st.expander(f"Read these first: {len(warnings)} warnings about candidates and data"):
            shown.listed(warnings)
    _tiles(choice)
    _figures(choice)
    _regrets(choice)


def _verdict(choice: Choice) -> None:
    decision = choice.stored.decision
    if decision is None:
        shown.html(
            Markup('<div class="h-banner none">{}<p class="verdict">{}</p></div>').format(
                Markup('<span class="h-chip inconclusive">not decided</span>'),
                wording.headline(choice.stored.results, choice.collection),
            )
        )
        shown.notice(
            "This is what the scores say. The decision weighs them with costs, budgets and data.",
            command="harness decide SUITE",
        )
        return
    shown.html(_banner(decision))


def _banner(decision: Decision) -> Markup:
    rules = sorted(decision.rules, key=lambda rule: not rule.decided)
    points = [
        Markup("<li><strong>{}</strong>{}: {}</li>").format(
            rule.name, " decided" if rule.decided else "", rule.evidence
        )
        for rule in rules
    ]
    more = Markup("")
    if len(points) > _FACTS:
        more = Markup("<details><summary>{} more rules</summary><ul>{}</ul></details>").format(
            len(points) - _FACTS, Markup("").join(points[_FACTS:])
        )
    queries = ""
    if decision.more_queries:
        queries = f" About {decision.more_queries:,} more judged queries would settle it."
    notes = Markup("").join(
        Markup("<li>{}</li>").format(note) for note in (*decision.published, *decision.notes)
    )
    noted = Markup("<details><summary>Notes</summary><ul>{}</ul></details>").format(notes)
    chips = (
        decision.action.replace("_", " "),
        _STRENGTHS[decision.strength],
        f"{decision.metric}, n={decision.n:,}",
    )
    return Markup(
        '<div class="h-banner {}">{}<p class="verdict">{}</p><ul>{}</ul>{}'
        '<p class="next"><strong>What would change this:</strong> {}{}</p>{}</div>'
    ).format(
        decision.strength,
        Markup("").join(Markup('<span class="h-chip">{}</span>').format(chip) for chip in chips),
        decision.sentence,
        Markup("").join(points[:_FACTS]),
        more,
        decision.experiment,
        queries,
        noted if notes else "",
    )


def _tiles(choice: Choice) -> None:
    if not choice.has_pair:
        only = "there is nothing to compare it with"
        shown.notice(f"A and B are both {choice.first}: {only}. Choose another B.")
        return
    if choice.missing:
        return
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
        )
    )
    shown.html(Markup('<div class="h-tiles">{}</div>').format(tiles))


def _figures(choice: Choice) -> None:
    stored, collection = choice.stored, choice.collection
    results = stored.results
    margin = results.margin
    shown.section(
        f"{results.metrics[0]} of all candidates on {collection}",
        f"Baseline: {results.baseline}. Shaded or dotted: a loss of {margin:g}, which the suite "
        "does not mind.",
    )
    if len(results.candidates) > 1:
        shown.figure(
            figures.differences(results, collection, margin=margin),
            title="Difference from the baseline",
            caption=captions.differences(results, collection),
            key="differences",
        )
    drawn = figures.quality_and_cost(results, stored.costs, collection)
    shown.figure(
        drawn,
        title="Quality against cost",
        caption=captions.quality_and_cost(results, stored.costs, collection),
        key="cost",
    )
    if drawn.data:
        _key(choice)
    shown.figure(
        figures.widths(results, collection, margin=margin),
        title="Fewer dimensions",
        caption=captions.widths(results, collection),
        key="widths",
    )
    diagnosed = [
        found
        for candidate in results.candidates
        if (found := stored.diagnosed(candidate.name, collection)) is not None
    ]
    if diagnosed:
        metric = stored.diagnosis.metric if stored.diagnosis else results.metrics[0]
        shown.figure(
            diagnosis_figures.gap_split(diagnosed, metric=metric),
            title="What keeps each candidate from a perfect score",
            caption=captions.gap_split(diagnosed, metric),
            key="gap",
        )
    else:
        shown.notice(
            "Where the score is lost, in the order or in the first stage, is told by a diagnosis.",
            command="harness diagnose SUITE",
        )


def _key(choice: Choice) -> None:
    names = [branch.candidate.name for branch in reading.tree(choice.stored.results)]
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(names, start=1))
    shown.note(f"Numbers: {numbered}.")


def _regrets(choice: Choice) -> None:
    decision = choice.stored.decision
    if decision is None or not decision.regrets:
        return
    shown.section(
        "What each option would mean",
        "Simultaneous 95 % intervals; P(gain): that the gain is worth a change; P(harm): that the "
        "loss is more than the margin.",
    )
    shown.table(regrets(decision), label="What each option would mean")
