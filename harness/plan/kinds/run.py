"""Run: what any other system returned, read from a file."""

from __future__ import annotations

from collections.abc import Iterator

from harness.collection import Collection
from harness.errors import counted
from harness.plan.candidates import Builder, Steps
from harness.plan.dense import collection_file, forbidden_rows
from harness.retrieval.imported import ImportPassages, ImportRun
from harness.retrieval.run_stage import RunStage
from harness.retrieval.shortlists import KeepShortlists
from harness.suite.kinds.run import RunFile


class RunBuilder(Builder[RunFile]):
    """What any other system returned."""

    def run(self, collection: Collection) -> RunStage:
        """Return the stage that reads the file, and keeps each query's shortlist."""
        planner, lists = self.planner, collection.judgements.shortlists
        depth = planner.depth_of(collection)
        is_cut = planner.judged(collection.name).passages is not None
        stage = ImportPassages if is_cut else ImportRun
        found = stage(
            self.label(collection),
            collection_file(planner.suite, self.spec.run, collection),
            collection,
            depth if lists is None else len(collection.documents),
            forbidden_rows(collection),
            self.spec.scores,
        )
        return found if lists is None else KeepShortlists(found.name, found, lists, depth)

    def steps(self, collection: Collection) -> Steps:  # noqa: ARG002
        """Return that another system answers."""
        return (None,)

    def doubts(self, stage: RunStage, collection: Collection) -> Iterator[str]:
        """Yield a sentence where the file may belong to another collection."""
        stage = stage.whole if isinstance(stage, KeepShortlists) else stage
        if not isinstance(stage, ImportRun):
            return
        found = stage.imported
        parts = []
        if found.missing_queries:
            first = ", ".join(found.missing_queries[:3])
            parts.append(
                f"misses {len(found.missing_queries):,} of {len(collection.queries):,} judged "
                f"queries ({first}, …), which score 0"
            )
        if found.unknown_documents:
            parts.append(f"has {counted(found.unknown_documents, 'result')} not in the corpus")
        if found.unknown_queries:
            parts.append(f"answers {counted(len(found.unknown_queries), 'unjudged query')}")
        if found.contradicted:
            parts.append(
                f"has {counted(found.contradicted, 'query')} whose rank column contradicts the "
                "scores, which decide"
            )
        if parts:
            yield (
                f"run '{self.name}' on '{collection.name}' {'; '.join(parts)}. "
                "Check that the file belongs to this collection."
            )
