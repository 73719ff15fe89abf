"""Retriever: a search in use, asked query by query."""

from __future__ import annotations

from collections.abc import Iterator

from harness.collection import Collection
from harness.errors import counted
from harness.models.own import OwnCode
from harness.plan.candidates import Builder, Steps
from harness.plan.dense import forbidden_rows, shortlist_problems
from harness.plan.kinds.own import factory_of
from harness.providers.http import ApiKey
from harness.retrieval.retriever import AskRetriever, RetrieverQuery
from harness.retrieval.run_stage import RunStage
from harness.retrieval.sources import CodeSource, CommandSource, RetrieverSource, UrlSource
from harness.suite.kinds.retriever import Retriever


class RetrieverBuilder(Builder[Retriever]):
    """A search in use."""

    def problems(self) -> Iterator[str]:
        """Yield why it cannot be asked, as far as that is known before it is."""
        yield from shortlist_problems(self.planner.collections)
        source, planner = self._source, self.planner
        if isinstance(source, CodeSource) and isinstance(source.code, OwnCode):
            yield from (f"retriever: {each}" for each in source.code.problems())
        left = [name for name, each in planner.collections.items() if self._is_left(each)]
        if left and isinstance(source, UrlSource):
            found = list(ApiKey.read(source.key_variable).problems())
            if planner.hub == "fetch":
                yield from found
            elif planner.hub == "later":
                planner.warnings += [f"'{self.name}': {text}" for text in found]

    def run(self, collection: Collection) -> AskRetriever:
        """Return the stage that asks it."""
        depth, forbidden = self.planner.depth_of(collection), forbidden_rows(collection)
        return AskRetriever(
            self.label(collection),
            self._source,
            collection,
            depth,
            self.spec.retriever.k or depth + (forbidden is not None),
            forbidden,
        )

    def steps(self, collection: Collection) -> Steps:
        """Return the asking, as long as it took."""
        asked = self.planner.run_stage(self.name, collection.name)
        if not isinstance(asked, AskRetriever):
            raise TypeError(f"{self.name} is no retriever")
        return (RetrieverQuery(self.label(collection), collection, self.planner.device, asked),)

    def doubts(self, stage: RunStage, collection: Collection) -> Iterator[str]:
        """Yield what was odd about the answers, once they are stored, and how to ask again."""
        found = stage.artifact(self.planner.store)
        if found is None:
            return
        parts, dates = [], found.meta["dates"]
        if found.meta["empty"]:
            parts.append(
                f"returned nothing from the collection for {found.meta['empty']} of "
                f"{len(collection.queries)} queries, which score 0"
            )
        if found.meta["unknown"]:
            parts.append(f"returned {counted(found.meta['unknown'], 'result')} not in the corpus")
        if parts:
            yield (
                f"retriever '{self.name}' on '{collection.name}' {'; '.join(parts)}. Its answers "
                f"are of {' to '.join(dict.fromkeys(dates[:1] + dates[-1:]))}; change "
                "retriever.version to query it again."
            )

    def _is_left(self, collection: Collection) -> bool:
        return not self.planner.run_stage(self.name, collection.name).is_done(self.planner.store)

    @property
    def _source(self) -> RetrieverSource:
        how, planner = self.spec.retriever, self.planner
        folder = planner.suite.path.absolute().parent
        if how.command is not None:
            return CommandSource(how.command, how.version, how.timeout_seconds, folder)
        if how.url is not None:
            offline = planner.hub == "refuse"
            return UrlSource(how.url, how.version, how.key_variable, how.timeout_seconds, offline)
        code = factory_of(planner, str(how.factory), how.arguments, how.version)
        return CodeSource(code, planner.device)
