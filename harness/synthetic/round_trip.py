"""Round trip: a question is worth training on if its passage can be found with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from harness.collection import Collection
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.lexical import LexicalSearch
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search
from harness.stage import Context, Keyed, keyed_by, unkeyed


@dataclass(frozen=True, eq=False)
class RoundTrip(Keyed):
    """Whether a candidate finds the passages of questions, by its own search of the collection.

    Attributes:
        stage: how the candidate searches the collection for the collection's own queries.
        collection: whose passages.
        k: ranks that are looked at.
    """

    stage: RunStage = field(metadata=keyed_by("_search"))
    collection: Collection = field(metadata=unkeyed("the search holds its documents"))
    k: int

    def finds(
        self, context: Context, questions: Sequence[str], passages: Sequence[str]
    ) -> list[bool]:
        """Return for every question whether a document with its passage's text is found for it."""
        stage = self._asking(tuple(questions))
        if isinstance(stage, Search):
            for side in (stage.space.documents, stage.space.queries):
                if isinstance(side, Encode):
                    side.run(context)
        if not stage.is_done(context.store):
            stage.run(context)
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(self.collection.documents):
            rows.setdefault(text, []).append(row)
        found = stage.result(context.store).documents
        pairs = zip(passages, found, strict=True)
        return [bool(np.isin(rows[passage], ranked).any()) for passage, ranked in pairs]

    @property
    def _search(self) -> RunStage:
        """The search, whatever is asked."""
        return self._asking(("",))

    def _asking(self, questions: tuple[str, ...]) -> RunStage:
        """Return the candidate's search for other queries, to the depth that matters here."""
        name, stage = f"{self.stage.name}, round trip", self.stage
        if isinstance(stage, LexicalSearch):
            ids = tuple(f"{row:09}" for row in range(len(questions)))
            asked = replace(stage.collection, query_ids=ids, queries=questions)
            return replace(stage, name=name, collection=asked, depth=self.k, forbidden=None)
        if isinstance(stage, Search) and isinstance(stage.space.queries, Encode):
            queries = replace(
                stage.space.queries, texts=Texts(self.collection.name, questions), name=name
            )
            space = replace(stage.space, queries=queries)
            return replace(
                stage,
                name=name,
                space=space,
                collection_key=self.collection.documents_key,
                depth=self.k,
                forbidden=None,
            )
        raise TypeError(f"{stage.name} can not search for other queries")
