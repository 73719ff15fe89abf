"""Judging: the next pair of query and document, graded by a key, blind to who returned it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st
from filelock import FileLock
from markupsafe import Markup

from harness.collection.judged import BAD_QUERY, SKIP
from harness.diagnosis.files import UNJUDGED_COLUMNS
from harness.errors import ExitCode, HarnessError
from harness.judging.judges import ANSWER_COLUMNS, agreements, judges_file, read_judges
from harness.output.files import add_output, slugs
from harness.output.history import beside
from reports import highlight
from reports.app import cards, shown
from reports.app.choice import Choice, command_on

# Answer, label, key.
_ANSWERS = (
    ("0", "0 · answers nothing", "0"),
    ("1", "1 · a small part", "1"),
    ("2", "2 · the main part", "2"),
    ("3", "3 · all, and is about it", "3"),
    (SKIP, "Skip", "S"),
    (BAD_QUERY, "The query is bad", "B"),
)


class Row(NamedTuple):
    """A pair of the file of grades, with its texts."""

    query: str
    document: str
    grade: str
    query_text: str
    document_text: str


class Answered(NamedTuple):
    """A pair that a judge answered, and whether the answer became its grade."""

    query: str
    document: str
    is_grade: bool


def show(choice: Choice) -> None:
    """Show the page."""
    names = slugs(each.name for each in choice.stored.results.collections)
    file = beside(choice.folder, "judging") / f"{names[choice.collection]}.csv"
    _show(file, choice.collection, again=choice.command("judge"))


def show_alone(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Show the page of a suite that was judged before it was run: it has no results."""
    names = slugs(manifest["collections"])
    files = {name: beside(folder, "judging") / f"{slug}.csv" for name, slug in names.items()}
    begun = [name for name, file in files.items() if file.is_file()]
    collection = begun[0]
    if len(begun) > 1:
        with st.sidebar:
            chosen = st.selectbox("Collection", begun, key="collection", bind="query-params")
        collection = str(chosen)
    _show(files[collection], collection, again=command_on(folder, manifest, "judge"))


def _show(file: Path, collection: str, *, again: str) -> None:
    shown.heading("Judge", "Which candidate returned a document is not shown.")
    try:
        rows, judges = read_rows(file), read_judges(file)
    except HarnessError as error:
        shown.refused(error)
        return
    if not rows:
        shown.notice(
            "No pairs to grade yet. The command chooses those that tell candidates apart.",
            command=again,
        )
        return
    judge = _named()
    if not judge:
        return
    second = bool(st.session_state.get("second opinion"))
    said = judges.get(judge, {})
    left = to_grade(rows, said, second=second)
    bad = {row.query for row in rows if row.grade.lower() == BAD_QUERY}
    done = sum(bool(row.grade) for row in rows)
    spared = sum(row.query in bad and not row.grade for row in rows)
    besides = f", {spared:,} are of bad queries" if spared else ""
    shown.note(f"{done:,} of {len(rows):,} pairs of {collection} graded{besides}.")
    given = _given(file, judge)
    if left:
        _ask(file, judge, left[0], given)
    elif not second and to_grade(rows, said, second=True):
        shown.notice(
            "Every pair has a grade. Give second opinions on what others graded, or see what the "
            "grades settle, and get the next pairs:",
            command=again,
        )
    else:
        shown.notice(
            "Nothing is left to grade here. See what the grades settle, and get the next pairs:",
            command=again,
        )
    if given and not left:
        _offer_undo(file, judge, given)
    found = [each.sentence for each in agreements(judges)]
    if found:
        shown.section("Agreement", "Quadratic weights; 95% intervals over queries.")
        shown.bullets(found)


def _named() -> str:
    """Return the name of the judge, or ask for it; keys grade where no field has the focus."""
    name = st.query_params.get("judge") or str(st.session_state.get("named", ""))
    if not name:
        name = str(st.text_input("Your name", placeholder="Enter it to begin.") or "").strip()
        if name:
            st.session_state["named"] = st.query_params["judge"] = name
            st.rerun()
        return ""
    with st.container(horizontal=True, vertical_alignment="center"):
        shown.note(f"You are {name}.")
        if st.button("Change name", type="tertiary"):
            st.query_params.pop("judge", None)
            st.session_state.pop("named", None)
            st.rerun()
        second = bool(st.session_state.get("second opinion"))
        if st.button(
            "Grade new pairs" if second else "Give second opinions",
            key="second",
            type="tertiary",
            help="Second opinions are on pairs that others graded, without seeing their grades, "
            "to measure agreement.",
        ):
            st.session_state["second opinion"] = not second
            st.rerun()
    return name


def to_grade(
    rows: Sequence[Row], said: Mapping[tuple[str, str], str], *, second: bool
) -> list[Row]:
    """Return the pairs that a judge can grade, from the top: open ones, or those of others."""
    bad = {row.query for row in rows if row.grade.lower() == BAD_QUERY}
    open_ones = [row for row in rows if row.query not in bad or second]
    return [
        row
        for row in open_ones
        if bool(row.grade) == second and (row.query, row.document) not in said
    ]


def _given(file: Path, judge: str) -> list[Answered]:
    """Return what a judge answered in this visit, the last at the end."""
    visits = st.session_state.setdefault("given", {})
    found: list[Answered] = visits.setdefault((str(file), judge), [])
    return found


def _offer_undo(file: Path, judge: str, given: list[Answered]) -> None:
    if st.button("Undo the last", key="undo", shortcut="U", disabled=not given):
        try:
            undo_answer(file, judge, given[-1])
        except HarnessError as error:
            shown.refused(error)
            return
        given.pop()
        st.rerun()


def _ask(file: Path, judge: str, row: Row, given: list[Answered]) -> None:
    cards.question(row.query, row.query_text)
    text = highlight.marked(row.document_text, highlight.terms(row.query_text))
    shown.html(Markup('<div class="h-card"><p dir="auto">{}</p></div>').format(text))
    with st.container(horizontal=True, gap="small"):
        for answer, label, key in _ANSWERS:
            if st.button(label, key=f"grade-{answer}", shortcut=key):
                try:
                    given.append(store_answer(file, judge, row, answer))
                except HarnessError as error:
                    shown.refused(error)
                    return
                st.rerun()
        _offer_undo(file, judge, given)


def read_rows(file: Path) -> list[Row]:
    """Return the pairs of a file of grades; none where there is no file.

    Raises:
        HarnessError: exit code 3, its columns are not those that are written.
    """
    if not file.is_file():
        return []
    with file.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle)
        if not set(UNJUDGED_COLUMNS) <= set(reader.fieldnames or ()):
            raise HarnessError(
                f"{file}: another form than `harness judge` writes. Run it again: it reads the "
                "grades and writes the table anew.",
                exit_code=ExitCode.DATA,
            )
        return [
            Row(
                each["query_id"],
                each["document_id"],
                (each["grade"] or "").strip(),
                each["query"] or "",
                each["document"] or "",
            )
            for each in reader
        ]


def store_answer(file: Path, judge: str, row: Row, answer: str) -> Answered:
    """Store an answer under the name of its judge; the first one of a pair is its grade.

    Raises:
        HarnessError: a file cannot be read or written.
    """
    pair = (row.query, row.document)
    with FileLock(file.with_name(f".{file.name}.lock")):  # two judges may grade at once
        judges = read_judges(file)
        judges.setdefault(judge, {})[pair] = answer
        is_grade = _write(file, judges, pair, answer, where=lambda grade: not grade)
    return Answered(*pair, is_grade)


def undo_answer(file: Path, judge: str, given: Answered) -> None:
    """Take an answer back; if it was the grade of its pair, that of another judge takes its place.

    Raises:
        HarnessError: a file cannot be read or written.
    """
    pair = (given.query, given.document)
    with FileLock(file.with_name(f".{file.name}.lock")):
        judges = read_judges(file)
        judges.get(judge, {}).pop(pair, None)
        others = [said[pair] for said in judges.values() if pair in said]
        grade = others[0] if others else ""
        _write(file, judges, pair, grade, where=lambda _: given.is_grade)


def _write(
    file: Path,
    judges: Mapping[str, Mapping[tuple[str, str], str]],
    pair: tuple[str, str],
    grade: str,
    *,
    where: Callable[[str], bool],
) -> bool:
    """Write the answers of all judges, and the grade of a pair; return whether this changed."""
    answers = [
        (query, document, given, name)
        for name, said in judges.items()
        for (query, document), given in said.items()
    ]
    add_output(judges_file(file), _csv([ANSWER_COLUMNS, *answers]))
    with file.open(encoding="utf-8-sig", newline="") as handle:
        header, *lines = csv.reader(handle)
    place = {name: header.index(name) for name in ("query_id", "document_id", "grade")}
    changed = False
    for line in lines:
        is_pair = (line[place["query_id"]], line[place["document_id"]]) == pair
        if is_pair and where(line[place["grade"]].strip()):
            line[place["grade"]], changed = grade, True
    add_output(file, _csv([header, *lines]))
    return changed


def _csv(rows: Sequence[Sequence[str]]) -> str:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue()
