"""Leak guard: training data that give away scored queries are refused, dropped or marked."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from harness.collection import Collection
from harness.collection.texts import normalise
from harness.errors import ExitCode, HarnessError, counted
from harness.hashing import code_digest, digest
from harness.store import Store
from harness.suite.inputs import Inputs
from harness.suite.training import OnLeaks
from harness.training.data import TrainingData
from harness.training.leaks import Leak, find_leaks

_LEAKS = "leaks"
_SHOWN = 3
_TEXT = 70


class Guarded(NamedTuple):
    """What may be trained on.

    Attributes:
        data: without what gives a query away, unless that is allowed.
        dropped: sentences about rows that were left out.
        allowed: sentences about queries that are given away.
    """

    data: TrainingData
    dropped: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


class LeakGuard:
    """Compares training data with every scored collection of a suite, each pair of them once.

    Args:
        inputs: the collections.
        store: which remembers what was compared.
    """

    def __init__(self, inputs: Inputs, store: Store) -> None:
        self._inputs = inputs
        self._store = store
        self._found: dict[tuple[str, str], tuple[Leak, ...]] = {}

    def check(self, data: TrainingData, on_leaks: OnLeaks) -> Guarded:
        """Return what may be trained on.

        Raises:
            HarnessError: exit code 3; the data give scored queries away and that is refused, or
                nothing is left without the rows that do.
        """
        found = {
            collection: self._leaks(data, collection)
            for collection in self._inputs.collections.values()
        }
        found = {collection: leaks for collection, leaks in found.items() if leaks}
        if not found:
            return Guarded(data)
        told = tuple(_summary(data, *item) for item in found.items())
        if on_leaks == "allow":
            return Guarded(data, allowed=told)
        if on_leaks == "refuse":
            raise HarnessError(
                [self._refusal(data, *item) for item in found.items()], exit_code=ExitCode.DATA
            )
        given_away = {leak.row for leaks in found.values() for leak in leaks}
        rows = [row for row in range(len(data)) if row not in given_away]
        if not rows:
            raise HarnessError(
                f"{' '.join(told)} Nothing is left to train on. Name other data.",
                exit_code=ExitCode.DATA,
            )
        repeated = " and ".join(_repeated(*item) for item in found.items())
        text = (
            f"{len(given_away):,} of {len(data):,} training rows are left out because they repeat "
            f"{repeated}."
        )
        return Guarded(data.without(given_away, because="gives away a scored query"), (text,))

    def _leaks(self, data: TrainingData, collection: Collection) -> tuple[Leak, ...]:
        place = (data.key, collection.name)
        if place not in self._found:
            self._found[place] = self._remembered(data, collection)
        return self._found[place]

    def _remembered(self, data: TrainingData, collection: Collection) -> tuple[Leak, ...]:
        """Return the leaks, from the store where the same was compared before."""
        here = Path(__file__).parent
        code = code_digest(here / "leaks.py", here / "wording.py")
        key = digest("leaks", code, data.key, collection.key)
        stored = self._store.get(_LEAKS, key)
        if stored is not None:
            return tuple(Leak(*each) for each in stored.meta["leaks"])
        columns = list(data.columns.values())
        documents = columns[1] if len(columns) > 1 else [""] * len(data)
        found = find_leaks(columns[0], documents, collection)
        with suppress(HarnessError):
            meta = {"leaks": [astuple(each) for each in found]}
            self._store.put(_LEAKS, key, arrays={}, meta=meta)
        return found

    def _refusal(self, data: TrainingData, collection: Collection, leaks: tuple[Leak, ...]) -> str:
        first: dict[int, Leak] = {}
        for leak in sorted(leaks, key=lambda leak: -leak.similarity):
            first.setdefault(leak.query, leak)
        examples = [self._example(data, collection, leak) for leak in [*first.values()][:_SHOWN]]
        more = f"; and {len(first) - _SHOWN} more" if len(first) > _SHOWN else ""
        return (
            f"{_summary(data, collection, leaks)[:-1]}: {'; '.join(examples)}{more}. "
            'Set leaks = "drop" to train without these rows, or leaks = "allow" to train on them; '
            "the candidate is then marked, and never recommended."
        )

    def _example(self, data: TrainingData, collection: Collection, leak: Leak) -> str:
        query = collection.query_ids[leak.query]
        raw = self._inputs.raw[collection.name].split(collection.split).queries
        origin = data.origin_of(leak.row).name
        stands = self._place(origin, leak.text)
        return (
            f"'{query}' \"{_short(collection.queries[leak.query])}\" "
            f'({raw.place(raw.rows[query])}) has {leak.how} as "{_short(leak.text)}" '
            f"({origin}{stands})"
        )

    def _place(self, origin: str, text: str) -> str:
        """Return id, file and line of a text of a collection's split, or nothing."""
        name, colon, split = origin.partition(":")
        if not colon or name not in self._inputs.raw:
            return ""
        raw = self._inputs.raw[name]
        part, form = raw.split(split), normalise(text)
        judged = [(part.queries, part.queries.rows[query]) for query in part.relevant]
        documents = ((raw.documents, row) for row in range(len(raw.documents.ids)))
        for side, row in (*judged, *documents):
            if normalise(side.texts[row]) == form:
                return f", '{side.ids[row]}', {side.place(row)}"
        return ""


def _summary(data: TrainingData, collection: Collection, leaks: tuple[Leak, ...]) -> str:
    """Return how many queries a training gives away, by what it shares with them."""
    count, kinds = _shared(leaks)
    names = " and ".join(f"'{origin.name}'" for origin in data.origins)
    verb = "leaks" if len(data.origins) == 1 else "leak"
    size = counted(len(collection.queries), "scored query")
    return f"{names} {verb} {count:,} of {size} of '{collection.name}' ({kinds})."


def _repeated(collection: Collection, leaks: tuple[Leak, ...]) -> str:
    """Return the queries that training rows repeated before they were left out."""
    count, kinds = _shared(leaks)
    size = counted(len(collection.queries), "scored query")
    return f"{count:,} of the {size} of '{collection.name}' ({kinds})"


def _shared(leaks: tuple[Leak, ...]) -> tuple[int, str]:
    """Return how many queries are given away, and by what, such as "3 by the same words"."""
    by_query: dict[int, Leak] = {}
    for leak in leaks:
        if leak.query not in by_query or leak.similarity > by_query[leak.query].similarity:
            by_query[leak.query] = leak
    hows = Counter(leak.how for leak in by_query.values())
    return len(by_query), ", ".join(f"{n:,} by {how}" for how, n in hows.most_common())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TEXT else f"{line[: _TEXT - 1]}…"
