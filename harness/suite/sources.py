"""Sources: what the collections of a suite hold, each file read once; pairs with their corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.collection.corpus import CORPUS, is_folder_of_files, with_corpus
from harness.collection.mteb_task import SOURCE as MTEB
from harness.collection.raw import RawCollection, Reading
from harness.collection.remembered import read_raw
from harness.errors import ExitCode, HarnessError
from harness.store import Store
from harness.suite.mteb_tasks import main_metric
from harness.suite.spec import CollectionSpec, Suite


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
        columns, cut = tuple(spec.columns.said.items()), spec.cut
        if name in suite.given:
            given = suite.given[name]
            return given if cut is None else replace(given, cut=cut)
        source = suite.locate_source(spec.source)
        if spec.questions is not None:
            how = Reading(spec.clusters, columns, apart=True, files=True)
            pairs = self._once(f"pairs:{suite.locate(spec.questions)}", how)
            return with_corpus(pairs, self._once(source, Reading()), cut=cut)
        if spec.source.startswith(f"{MTEB}:"):
            return self._task(source, spec)
        if spec.corpus is None:
            found = self._once(source, Reading(spec.clusters, columns))
            return replace(found, cut=cut or found.cut)
        place = suite.locate(spec.corpus) if spec.corpus not in suite.collections else Path()
        files = spec.corpus not in suite.collections and is_folder_of_files(place)
        found = self._once(source, Reading(spec.clusters, columns, apart=True, files=files))
        if spec.corpus in suite.collections:
            other = self.read(spec.corpus)
        else:
            other = self._once(f"{CORPUS}:{place}", Reading(columns=columns))
        return with_corpus(found, other, cut=cut)

    def _task(self, source: str, spec: CollectionSpec) -> RawCollection:
        """Return a task of mteb, whose main score can be computed here."""
        split = spec.split if "split" in spec.model_fields_set else None
        found = self._once(source, Reading(spec.clusters, split=split))
        if found.task is not None:
            main_metric(found.task)  # raises where it is not computed here
        has_lists = any(part.shortlists is not None for part in found.splits.values())
        if spec.cut is not None and has_lists:
            raise HarnessError(
                "passages: the task gives each query a list of whole documents to rank. Remove "
                "'passages'.",
                exit_code=ExitCode.USAGE,
            )
        return found if spec.cut is None else replace(found, cut=spec.cut)

    def _once(self, source: str, how: Reading) -> RawCollection:
        if (source, how) not in self._read:
            self._read[source, how] = read_raw(source, how, store=self._store)
        return self._read[source, how]
