"""Main: opens a results folder, lets the reader choose, and runs the page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from harness.errors import HarnessError
from harness.output.folder import read_manifest
from reports import wording
from reports.app import compare, decide, failures, gates, judging, links, opened, query, shown
from reports.app.choice import Choice, choose_folder, link, look_at
from reports.stored import find_judged, find_results

PAGES: tuple[tuple[str, str, str, Callable[[Choice], None]], ...] = (
    (
        "decide",
        "Decide",
        "The verdict, its evidence, and what each option would mean.",
        decide.show,
    ),
    ("compare", "Compare", "All candidates, the tree, every pair, every query.", compare.show),
    ("failures", "Failures", "Where a candidate fails, why, and what would fix it.", failures.show),
    ("query", "Query", "What two candidates return for one query.", query.show),
    ("judge", "Judge", "Grade the pairs that tell candidates apart.", judging.show),
    ("gates", "Gates and data", "Gates, planning, history, data, downloads.", gates.show),
)


def main() -> None:
    """Show the page that the address names."""
    st.set_page_config(page_title="embedding-harness", page_icon="⚖", layout="wide")
    shown.style()
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
    folders, judged = find_results(root), find_judged(root)
    if not folders and not judged:
        _wait_for(root)
        return
    with st.sidebar:
        folder = choose_folder([*folders, *judged])
    manifest = read_manifest(folder) if folder in judged else None
    if manifest is not None:
        # By the usual address, and by the name that the page has beside others.
        judge = partial(judging.show_alone, folder, manifest)
        known = partial(decide.show_alone, folder, manifest)
        first = st.Page(judge, title="Judge", url_path="", default=True)
        then = st.Page(known, title="What the grades show", url_path="grades")
        named = st.Page(judge, title="Judge", url_path="judge", visibility="hidden")
        st.navigation([first, then, named], position="top").run()
        return
    try:
        stored = opened.stored(folder)
    except HarnessError as error:
        shown.heading("These results cannot be shown")
        shown.refused(error)
        return
    with st.sidebar:
        choice = look_at(stored)
    pages = {
        path: st.Page(
            partial(page, choice),
            title=title,
            url_path="" if path == "decide" else path,
            help=told,
            default=path == "decide",
        )
        for path, title, told, page in PAGES
    }
    st.session_state["pages"] = pages
    # Streamlit gives the first page no path of its own; its name leads to it.
    named = st.Page(
        lambda: links.go("decide", {}),
        title="Decide",
        url_path="decide",
        visibility="hidden",
    )
    current = st.navigation([*pages.values(), named], position="top")
    with st.sidebar:
        [found] = [each for each in stored.results.collections if each.name == choice.collection]
        names = dict.fromkeys((stored.results.suite, found.name))
        shown.note(f"{', '.join(names)}: {wording.described(stored.results, found)}.")
    for problem in stored.unreadable:
        shown.notice(problem, kind="warning")
    try:
        current.run()
    except HarnessError as error:
        shown.refused(error)
    # Opening it runs the page again: a part of it may have run alone and changed the view.
    name, icon = "Link to this view", ":material/link:"
    with st.sidebar, st.popover(name, icon=icon, key="link", on_change="rerun"):
        st.code(link(dict(st.query_params)), language=None, wrap_lines=True)
    with st.sidebar:
        shown.fold_sidebar()


@st.fragment(run_every="5s")
def _wait_for(root: Path) -> None:
    """Say that there is nothing yet, and look again every few seconds."""
    if find_results(root) or find_judged(root):
        st.rerun()
    shown.heading("No results yet")
    shown.notice(
        f"No results.json in {root} or one folder below. A run writes its results when it has "
        "finished. This page checks every five seconds.",
        command="harness run SUITE",
    )
