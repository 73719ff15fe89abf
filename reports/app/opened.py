"""Opened: results folders kept in memory, until a verb writes them again."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from reports.failed import Failed, read_failed
from reports.lookup import Lookup, QueryScores
from reports.pairs import EveryPair, all_pairs
from reports.stored import Stored, read_results, stamp

Stamp = tuple[tuple[str, int, int], ...]


@st.cache_resource(max_entries=4, show_spinner=False)
def _stored(folder: Path, written: Stamp) -> Stored:  # noqa: ARG001 - the stamp is part of the key
    return read_results(folder)


@st.cache_resource(max_entries=4, show_spinner=False)
def _lookup(folder: Path, written: Stamp) -> Lookup:  # noqa: ARG001
    return Lookup(folder)


@st.cache_resource(max_entries=16, show_spinner=False)
def _scores(folder: Path, written: Stamp, collection: str, metric: str) -> QueryScores:
    return _lookup(folder, written).scores(collection, metric)


@st.cache_resource(max_entries=16, show_spinner=False)
def _pairs(folder: Path, written: Stamp, collection: str, metric: str) -> EveryPair:
    return all_pairs(_scores(folder, written, collection, metric).values_of)


@st.cache_resource(max_entries=16, show_spinner=False)
def _failed(folder: Path, written: Stamp, candidate: str, collection: str) -> Failed | None:  # noqa: ARG001
    return read_failed(folder, candidate, collection)


def stored(folder: Path) -> Stored:
    """Return the results of a folder.

    Raises:
        HarnessError: there are none, or another version wrote them.
    """
    return _stored(folder, stamp(folder))


def lookup(folder: Path) -> Lookup:
    """Return the tables of a folder."""
    return _lookup(folder, stamp(folder))


def scores(folder: Path, collection: str, metric: str) -> QueryScores:
    """Return a metric of every candidate, query by query."""
    return _scores(folder, stamp(folder), collection, metric)


def pairs(folder: Path, collection: str, metric: str) -> EveryPair:
    """Return every candidate against every other one."""
    return _pairs(folder, stamp(folder), collection, metric)


def failed(folder: Path, candidate: str, collection: str) -> Failed | None:
    """Return what the diagnosis says of each query of a candidate."""
    return _failed(folder, stamp(folder), candidate, collection)
