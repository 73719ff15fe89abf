"""BM25: a search by words."""

from __future__ import annotations

from collections.abc import Iterator

from harness.collection import Collection
from harness.plan.candidates import Builder, FirstStage, Steps, forbidden_rows
from harness.retrieval.latency import LexicalQuery
from harness.retrieval.lexical import LexicalScorer, LexicalSearch, word_problem
from harness.retrieval.run_stage import RunStage
from harness.store import Store
from harness.suite.kinds.bm25 import Bm25


class Bm25Builder(Builder[Bm25]):
    """A search by words."""

    def doubts(self, stage: RunStage, collection: Collection) -> Iterator[str]:  # noqa: ARG002
        """Yield a sentence where the language does not fit the texts."""
        if problem := word_problem(self.spec, collection):
            yield f"candidate '{self.name}': {problem}"

    def run(self, collection: Collection) -> LexicalSearch:
        """Return the search."""
        forbidden = forbidden_rows(collection)
        depth = self.planner.depth
        return LexicalSearch(self.label(collection), self.spec, collection, depth, forbidden)

    def steps(self, collection: Collection) -> Steps:
        """Return the one step: a search."""
        planner = self.planner
        label = self.label(collection)
        return (LexicalQuery(label, collection, planner.device, self.spec, planner.depth),)

    def finds(self, collection: Collection, source: str, *, depth: int) -> FirstStage:
        """Return the search of a collection of training data by words."""
        run = LexicalSearch(f"{self.name} on {source}", self.spec, collection, depth, None)
        return FirstStage(run, LexicalScorer(self.spec, collection))

    def family(self, store: Store) -> str:  # noqa: ARG002
        """Return "words": all searches by words fail alike."""
        return "words"
