"""BM25: a search by words."""

from __future__ import annotations

from collections.abc import Iterator

from harness.collection import Collection
from harness.collection.remembered import language_of
from harness.plan.candidates import Builder, FirstStage, Steps
from harness.plan.dense import forbidden_rows, ids_key
from harness.retrieval.lexical import (
    LexicalQuery,
    LexicalScorer,
    LexicalSearch,
    language_problem,
    with_language,
)
from harness.retrieval.run_stage import RunStage
from harness.retrieval.shortlists import RankShortlists
from harness.store import Store
from harness.suite.kinds.bm25 import Bm25


class Bm25Builder(Builder[Bm25]):
    """A search by words."""

    def problems(self) -> Iterator[str]:
        """Yield where the language given cannot find anything."""
        for name, collection in self.planner.collections.items():
            if problem := language_problem(self.spec, collection.documents):
                yield f"collection '{name}': {problem}"

    def doubts(self, stage: RunStage, collection: Collection) -> Iterator[str]:  # noqa: ARG002
        """Yield the language that was detected, unless it is English."""
        if self.spec.language != "auto":
            return
        found = language_of(collection, store=self.planner.store)
        if found.language != "english":
            yield (
                f"'{self.name}': language = \"{found.language}\" was detected in "
                f"{found.documents} of a sample of {found.sample} documents of "
                f"'{collection.name}'."
            )

    def run(self, collection: Collection) -> RunStage:
        """Return the search, or the ranking of each query's shortlist."""
        label, spec = self.label(collection), self._spec(collection)
        depth, lists = self.planner.depth_of(collection), collection.judgements.shortlists
        if lists is not None:
            scorer = LexicalScorer(spec, collection)
            return RankShortlists(label, scorer, ids_key(collection), lists, depth)
        return LexicalSearch(label, spec, collection, depth, forbidden_rows(collection))

    def steps(self, collection: Collection) -> Steps:
        """Return the one step: a search."""
        planner = self.planner
        label = self.label(collection)
        spec = self._spec(collection)
        depth = planner.depth_of(collection)
        return (LexicalQuery(label, collection, planner.device, spec, depth),)

    def finds(
        self,
        collection: Collection,
        source: str,
        *,
        depth: int,
        instruction: str | None = None,  # noqa: ARG002 - words are searched as they are
    ) -> FirstStage:
        """Return the search of a collection of training data by words."""
        spec = self._spec(collection)
        run = LexicalSearch(f"{self.name} on {source}", spec, collection, depth, None)
        return FirstStage(run, LexicalScorer(spec, collection))

    def family(self, store: Store) -> str:  # noqa: ARG002
        """Return "words": all searches by words fail alike."""
        return "words"

    def _spec(self, collection: Collection) -> Bm25:
        """Return the table with the language of a collection."""
        return with_language(self.spec, collection, store=self.planner.store)
