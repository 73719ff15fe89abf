"""Sources: what the collections of a suite hold, each file read once; pairs with their corpus."""

from __future__ import annotations

from dataclasses import replace

from harness.collection.corpus import CORPUS
from harness.collection.mteb_task import SOURCE as MTEB
from harness.collection.raw import RawCollection, Reading
from harness.collection.remembered import read_raw
from harness.hashing import digest
from harness.store import Store
from harness.suite.mteb_tasks import main_metric
from harness.suite.spec import Suite


class Sources:
    """The sources of a suite.

    Args:
        suite: the question.
        store: remembers what is large.
    """

    def __init__(self, suite: Suite, store: Store) -> None:
        self._suite = suite
        self._store = store
        self._read: dict[tuple[str, Reading], RawCollection] = {}

    def read(self, name: str) -> RawCollection:
        """Return everything that a collection of the suite holds.

        Raises:
            HarnessError: exit code 2 for a source of an unknown kind, else 3 for one that cannot be
                read.
        """
        suite, spec = self._suite, self._suite.collections[name]
        if name in suite.given:
            return suite.given[name]
        columns = tuple(spec.columns.said.items())
        how = Reading(spec.clusters, columns, apart=spec.corpus is not None)
        if spec.source.startswith(f"{MTEB}:") and "split" in spec.model_fields_set:
            how = how._replace(split=spec.split)
        found = self._once(suite.locate_source(spec.source), how)
        if found.task is not None:
            main_metric(found.task)  # raises where it is not computed here
        if spec.corpus is None:
            return found
        if spec.corpus in suite.collections:
            other = self.read(spec.corpus)
        else:
            other = self._once(f"{CORPUS}:{suite.locate(spec.corpus)}", Reading(columns=columns))
        return replace(
            found,
            documents=other.documents,
            licence=found.licence or other.licence,
            notes=(*found.notes, *other.notes),
            key=digest(found.key, other.key) if found.key and other.key else None,
        )

    def _once(self, source: str, how: Reading) -> RawCollection:
        if (source, how) not in self._read:
            self._read[source, how] = read_raw(source, how, store=self._store)
        return self._read[source, how]
