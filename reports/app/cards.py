"""Cards: a question, a document and what is known of them, with every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from harness.diagnosis.values import CandidateDiagnosis
from reports import highlight
from reports.app import shown
from reports.diagnosis_tables import STAGES
from reports.failed import Failed

if TYPE_CHECKING:
    from reports.app.query import OpenedQuery

_EMPTY = Markup('<span class="h-empty">empty text</span>')
_LONG = 300


def question(query: str, text: str) -> None:
    """Show the text of a query with its id."""
    body = Markup("{}").format(text) if text.strip() else _EMPTY
    shown.html(
        Markup(
            '<div class="h-query" dir="auto"><span class="id" dir="ltr">{}</span>{}</div>'
        ).format(query, body)
    )


def document(
    seen: OpenedQuery,
    key: str,
    *,
    rank: int | None,
    score: float | None,
    other: str,
    terms: str = "",
    passage: str = "",
) -> None:
    """Show a document: rank, grade, where it stands elsewhere, and the words of the query in it.

    Of a sparse encoder, also the terms that its score is the sum of; where passages are searched,
    the best one of the document.
    """
    text = seen.texts.get(passage or key)
    grade = seen.grades.get(key)
    head = Markup("").join(
        part
        for part in (
            Markup('<span class="rank">{}</span>').format(rank) if rank is not None else None,
            chip(grade, is_mine=key in seen.mine),
            Markup('<span class="id">{}</span>').format(passage or key),
            Markup("<span>score {:#.3g}</span>").format(score) if score is not None else None,
            Markup("<span>{}</span>").format(other) if other else None,
            Markup("<span>shared terms: {}</span>").format(terms) if terms else None,
        )
        if part is not None
    )
    shown.html(
        Markup('<div class="h-card {}"><div class="head">{}</div>{}</div>').format(
            _kind(grade), head, _body(text, seen.text)
        )
    )


def chip(grade: int | None, *, is_mine: bool) -> Markup:
    """Return the judgement of a document: a shape and a word."""
    shape, word = {
        "unjudged": ("?", "unjudged"),
        "irrelevant": ("✗", "not relevant"),
        "relevant": ("✓", f"relevant, grade {grade}"),
    }[_kind(grade)]
    yours = " (you)" if is_mine else ""
    return Markup('<span class="h-chip {}">{} {}{}</span>').format(_kind(grade), shape, word, yours)


def outcome(
    title: str,
    said: Sequence[str],
    found: Failed | None,
    diagnosed: CandidateDiagnosis | None,
    *,
    query: str,
) -> None:
    """Show what is said of a candidate on a query, its stage and its reasons."""
    chips = [Markup('<span class="h-chip">{}</span>').format(each) for each in said]
    row = found.row(query) if found is not None else None
    if found is not None and row is not None:
        if found.stages[row] != "retrieved":  # of which the ranks in what is said tell enough
            stage = STAGES[found.stages[row]]
            chips.append(Markup('<span class="h-chip worse">{}</span>').format(stage))
        titles = {f.reason: f.title for f in diagnosed.findings} if diagnosed else {}
        chips += [
            Markup('<span class="h-chip inconclusive">{}</span>').format(titles.get(key, key))
            for key in found.reasons[row]
        ]
    shown.html(
        Markup('<div class="h-standing"><h2>{}</h2>{}</div>').format(title, Markup("").join(chips))
    )


def evidence(name: str, diagnosed: CandidateDiagnosis | None, query: str) -> None:
    """Show why a candidate misses, as far as the diagnosis knows, and what would change it."""
    sentences = []
    for finding in diagnosed.findings if diagnosed is not None else ():
        if query in finding.evidence:
            said = f"{finding.title} ({finding.status}): {finding.evidence[query]}"
            if finding.counterfactual is not None:
                tried = finding.counterfactual
                said += (
                    f" With {tried.change}, {tried.recovered:,} of the {tried.failed:,} misses "
                    "with this reason find their document."
                    if tried.unmoved is None
                    else f" Tested: {tried.change} in {tried.unmoved:,} of the {tried.failed:,} "
                    "misses with this reason."
                )
            sentences.append(f"{said} Remedy: {finding.lever}.")
    shown.bullets(sentences, head=f"Why {name} misses")


def _kind(grade: int | None) -> str:
    if grade is None:
        return "unjudged"
    return "relevant" if grade >= 1 else "irrelevant"


def _body(text: str | None, query: str) -> Markup:
    if text is None:
        return Markup('<p class="h-empty">The text is not stored.</p>')
    if not text.strip():
        return Markup("<p>{}</p>").format(_EMPTY)
    stems = highlight.terms(query)
    part = highlight.snippet(text, stems, length=_LONG)
    shown_part = Markup('<p dir="auto">{}</p>').format(highlight.marked(part, stems))
    if part == text:
        return shown_part
    whole = highlight.marked(text, stems)
    return shown_part + Markup(
        '<details><summary>full text, {} characters</summary><p dir="auto">{}</p></details>'
    ).format(f"{len(text):,}", whole)
