"""Run: what any other system returned, read from a file."""

from __future__ import annotations

from collections.abc import Iterator

from harness.collection import Collection
from harness.plan.candidates import Builder, Steps, forbidden_rows
from harness.plan.dense import collection_file
from harness.retrieval.imported import ImportPassages, ImportRun
from harness.retrieval.run_stage import RunStage
from harness.suite.kinds.run import RunFile


class RunBuilder(Builder[RunFile]):
    """What any other system returned."""

    def run(self, collection: Collection) -> ImportRun:
        """Return the stage that reads the file."""
        cut = self.planner.judged(collection.name).passages is not None
        stage = ImportPassages if cut else ImportRun
        return stage(
            self.label(collection),
            collection_file(self.planner.suite, self.spec.run, collection),
            collection,
            self.planner.depth_of(collection),
            forbidden_rows(collection),
            self.spec.scores,
        )

    def steps(self, collection: Collection) -> Steps:  # noqa: ARG002
        """Return that another system answers."""
        return (None,)

    def doubts(self, stage: RunStage, collection: Collection) -> Iterator[str]:
        """Yield a sentence where the file may belong to another collection."""
        if not isinstance(stage, ImportRun):
            return
        found = stage.imported
        parts = []
        if found.missing_queries:
            first = ", ".join(found.missing_queries[:3])
            parts.append(
                f"misses {len(found.missing_queries)} of {len(collection.queries)} judged "
                f"queries ({first}, …), which score 0"
            )
        if found.unknown_documents:
            parts.append(f"has {found.unknown_documents} results that the corpus does not hold")
        if found.unknown_queries:
            parts.append(f"answers {len(found.unknown_queries)} queries that are not judged")
        if found.contradicted:
            parts.append(
                f"has {found.contradicted} queries whose rank column contradicts the scores, which "
                "decide"
            )
        if parts:
            yield (
                f"run '{self.name}' on '{collection.name}' {'; '.join(parts)}. "
                "Check that the file belongs to this collection."
            )
