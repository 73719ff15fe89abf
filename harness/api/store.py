"""The store for Python: what lies in it, whether it is whole, and what no suite needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ExitCode, HarnessError
from harness.shared_store import store_at
from harness.store import Entry, Store, default_store

if TYPE_CHECKING:
    import pandas as pd


def open_store(place: str | Path | None = None) -> StoreView:
    """Open a store to look at it, or to make room in it.

    Args:
        place: of the store, a folder or a URL; None takes $HARNESS_STORE, else ./.harness.
    """
    return StoreView(store_at(default_store() if place is None else place))


@dataclass(frozen=True)
class StoreView:
    """What a store holds, as DataFrames; `harness store` prints the same.

    Suites are given as paths of their files; without any, those in the working folder and in
    suites/ are read.

    Attributes:
        store: that is looked at.
    """

    store: Store

    def show(self, *suites: str | Path) -> pd.DataFrame:
        """Return a row for each kind and set of suites that need it.

        Columns: kind, artifacts, bytes, oldest (seconds since 1970), suites (names). Its `attrs`
        hold the names of the `suites` that were read, and `problems`: why others were not.
        """
        from harness.output.pruning import held, needs, suites_of

        known: dict[str, set[Path]] = {}
        problems: list[str] = []
        for suite in suites_of([Path(path) for path in suites]):
            try:
                known[suite.name] = needs(suite, self.store)
            except HarnessError as error:
                problems += error.problems
        rows: dict[tuple[str, tuple[str, ...]], list[Entry]] = {}
        for entry, names in held(self.store, known):
            rows.setdefault((entry.kind.partition("/")[0], names), []).append(entry)
        columns: dict[str, Sequence[object]] = {
            "kind": [kind for kind, _ in sorted(rows)],
            "artifacts": [len(rows[place]) for place in sorted(rows)],
            "bytes": [sum(entry.size for entry in rows[place]) for place in sorted(rows)],
            "oldest": [min(entry.written for entry in rows[place]) for place in sorted(rows)],
            "suites": [list(names) for _, names in sorted(rows)],
        }
        return _frame(columns, suites=list(known), problems=problems)

    def verify(self) -> pd.DataFrame:
        """Return a row for each artifact, after reading every file of the store.

        Columns: artifact, bytes, damaged (whether a file is missing or differs from its checksum).
        """
        from harness.output.pruning import damaged

        entries = list(self.store.entries())
        lost = {entry.path for entry in damaged(self.store)}
        return _frame({**_listed(entries), "damaged": [entry.path in lost for entry in entries]})

    def prune(
        self,
        *suites: str | Path,
        older_than: str | None = None,
        to: str | None = None,
        yes: bool = False,
    ) -> pd.DataFrame:
        """Return a row for each artifact that no suite needs, and remove them if `yes`.

        Checkpoints of trainings go by age alone; answers of language models stay. Columns:
        artifact, bytes, written (seconds since 1970).

        Args:
            suites: whose results are to stay.
            older_than: only what is older, such as "30d" or "12h".
            to: the oldest first, until so much is left, such as "20GB".
            yes: whether they are removed.

        Raises:
            HarnessError: exit code 2, there is no suite, or what one needs is not known; or a run
                uses the store.
        """
        from harness.output.pruning import (
            bytes_of,
            held,
            needs,
            prune,
            seconds_of,
            suites_of,
            unneeded,
        )

        asked = suites_of([Path(path) for path in suites])
        if not asked:
            raise HarnessError(
                "no suite in ./*.toml or ./suites/*.toml, so everything would be removed. "
                "Name the suites to keep.",
                exit_code=ExitCode.USAGE,
            )
        age = None if older_than is None else seconds_of(older_than)
        size = None if to is None else bytes_of(to)
        with self.store.discarding() if yes else nullcontext():
            known = {suite.name: needs(suite, self.store) for suite in asked}
            chosen = unneeded(held(self.store, known), older_than=age, to=size)
            if yes:
                prune(self.store, chosen)
        return _frame({**_listed(chosen), "written": [entry.written for entry in chosen]})


def _listed(entries: Sequence[Entry]) -> Mapping[str, Sequence[object]]:
    return {
        "artifact": [f"{entry.kind}/{entry.key}" for entry in entries],
        "bytes": [entry.size for entry in entries],
    }


def _frame(columns: Mapping[str, Sequence[object]], **attributes: object) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(columns)
    frame.attrs.update(attributes)
    return frame
