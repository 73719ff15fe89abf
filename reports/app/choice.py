"""Choice: what the reader looks at, chosen in the sidebar and held by the page's address."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from reports import facts
from reports.app import opened
from reports.facts import PairedDifference
from reports.lookup import TABLES, Lookup, QueryScores
from reports.pairs import EveryPair
from reports.stored import Stored, missing_tables

_KEYS = ("run", "collection", "metric", "a", "b", "k")


@dataclass(frozen=True)
class Choice:
    """What every page is about.

    Attributes:
        stored: the results.
        collection: name.
        metric: text, of the suite.
        first: candidate A, the reference.
        second: candidate B, which is judged; A itself where the suite has no other.
    """

    stored: Stored
    collection: str
    metric: str
    first: str
    second: str

    @property
    def has_pair(self) -> bool:
        """Whether there are two candidates to compare."""
        return self.first != self.second

    @property
    def alone(self) -> str:
        """Why there is no pair."""
        if len(self.stored.results.candidates) == 1:
            return (
                f"{self.first} is the suite's only candidate: there is nothing to compare it with."
            )
        return f"A and B are both {self.first}: choose another B to compare."

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.stored.folder

    @property
    def lookup(self) -> Lookup:
        """Its tables."""
        return opened.lookup(self.folder)

    @property
    def scores(self) -> QueryScores:
        """The metric of every candidate, query by query."""
        return opened.scores(self.folder, self.collection, self.metric)

    @property
    def gap(self) -> PairedDifference:
        """The paired difference of the two candidates, B minus A."""
        values = self.scores.values_of
        run = facts.tested(
            self.stored, self.collection, self.metric, first=self.first, second=self.second
        )
        return facts.gap(values[self.first], values[self.second], run)

    @property
    def pairs(self) -> EveryPair:
        """Every candidate against every other one."""
        return opened.pairs(self.folder, self.collection, self.metric)

    @property
    def missing(self) -> list[str]:
        """Tables that an older run did not write."""
        return missing_tables(self.folder, TABLES)

    @property
    def suite(self) -> str:
        """The suite's file as it stands in a command; SUITE where it is not known, or has gone.

        The manifest names it from the results folder.
        """
        return suite_of(self.folder, self.stored.manifest)

    def command(self, verb: str) -> str:
        """Return the command of a verb on these results, for a shell in the current folder."""
        about = {**self.stored.manifest, "suite": self.stored.results.suite}
        return command_on(self.folder, about, verb)


def suite_of(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Return the suite's file of a results folder, as of `Choice.suite`."""
    named = manifest.get("file")
    if not named:
        return "SUITE"
    file = Path(os.path.normpath(folder.resolve() / str(named)))
    if not file.is_file():
        return "SUITE"
    is_below = file.is_relative_to(Path.cwd())
    return shlex.quote(str(file.relative_to(Path.cwd()) if is_below else file))


def command_on(folder: Path, manifest: Mapping[str, Any], verb: str) -> str:
    """Return the command of a verb on a results folder, for a shell in the current folder."""
    usual, suite = Path("results") / str(manifest.get("suite", "")), suite_of(folder, manifest)
    if folder.resolve() == usual.resolve():
        return f"harness {verb} {suite}"
    return f"harness {verb} {suite} --results {shlex.quote(str(folder))}"


def choose_folder(folders: Sequence[Path]) -> Path:
    """Let the reader choose a results folder where there are several."""
    names = [folder.name for folder in folders]
    if len(folders) == 1:
        return folders[0]
    name = st.selectbox("Results", names, key="run", bind="query-params")
    return folders[names.index(name)]


def look_at(stored: Stored) -> Choice:
    """Let the reader choose collection, metric and two candidates."""
    results = stored.results
    collections = [found.name for found in results.collections]
    collection = _one_of("Collection", collections, key="collection")
    metric = _one_of("Metric", results.metrics, key="metric")
    names = [candidate.name for candidate in results.candidates]
    first = _one_of(
        "Baseline (A)", names, key="a", default=results.baseline, help_="The model in use."
    )
    second = _one_of("Compare (B)", names, key="b", default=stored.stands_out)
    return Choice(stored, collection, metric, first, second)


def link(more: Mapping[str, str]) -> str:
    """Return the address that opens this view again, with every choice written out."""
    said = {key: str(st.session_state[key]) for key in _KEYS if key in st.session_state}
    return f"{st.context.url or ''}?{urlencode({**said, **more})}"


def _one_of(
    label: str, options: Sequence[str], *, key: str, default: str = "", help_: str | None = None
) -> str:
    if len(options) == 1:
        return options[0]
    index = options.index(default) if default in options else 0
    chosen = st.selectbox(label, options, index=index, key=key, bind="query-params", help=help_)
    return str(chosen)
