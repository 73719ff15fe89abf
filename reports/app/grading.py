"""Grading: what the reader says of documents, stored beside the results as a suite reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from harness.errors import HarnessError
from reports import beside
from reports.app import shown
from reports.app.choice import Choice

if TYPE_CHECKING:
    from reports.app.query import OpenedQuery


def buttons(choice: Choice, seen: OpenedQuery, document: str, *, place: str) -> None:
    """Let the reader say that a judgement is wrong, or that a document is relevant."""
    grade = seen.grades.get(document)
    offers: list[tuple[str, str, int | None]] = []
    if grade is None or grade < 1:
        offers.append(("Mark relevant", ":material/check:", 1))
    if grade is None or grade >= 1:
        offers.append(("Mark not relevant", ":material/close:", 0))
    if document in seen.mine:
        offers.append(("Undo", ":material/undo:", None))
    with st.container(horizontal=True, gap="xsmall"):
        for label, icon, given in offers:
            key = f"judge-{place}-{document}-{given}"
            if st.button(label, key=key, type="tertiary", icon=icon):
                _store(choice, seen.query, document, given)


def _store(choice: Choice, query: str, document: str, grade: int | None) -> None:
    try:
        if grade is None:
            beside.forget(choice.folder, choice.collection, query, document)
        else:
            judgement = beside.Judgement(query, document, grade)
            beside.store_judgement(choice.folder, choice.collection, judgement)
    except HarnessError as error:
        shown.refused(error)
        return
    st.rerun()


def stored(choice: Choice) -> None:
    """Offer the reader's judgements as the table that a suite reads back."""
    found = beside.read_judgements(choice.folder, choice.collection)
    if not found:
        return
    path = beside.judgements_file(choice.folder, choice.collection)
    shown.section(
        f"Your judgements: {len(found):,}",
        "Stored beside the results; not used for scores until the suite names the file.",
    )
    st.download_button(
        "Download as CSV",
        beside.as_csv(found),
        file_name=path.name,
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )
    shown.notice(
        "To score with them, add to the suite:",
        command=f'[collections.{choice.collection}]\njudgements = "{path}"',
    )
