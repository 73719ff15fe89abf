"""Own: models whose code is not the harness's: of the package mteb, and of a user's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property

from harness.collection import Collection
from harness.errors import ExitCode, HarnessError
from harness.models.finding import NotDownloadedError
from harness.models.in_mteb import MtebFacts, check_downloaded, mteb_facts
from harness.models.own import Code, MtebModel, OwnCode
from harness.plan.candidates import Builder, DenseBuilder, Planner, Steps
from harness.plan.dense import DenseModel
from harness.retrieval.latency import RescoreQuery
from harness.retrieval.own import OwnScorer
from harness.retrieval.reranking import Rerank
from harness.store import Store
from harness.suite.kinds import own as tables
from harness.suite.table import Similarity


class MtebBuilder(DenseBuilder[tables.Mteb]):
    """A model that mteb loads."""

    @cached_property
    def _facts(self) -> MtebFacts:
        return mteb_facts(self.spec.reference, self.spec.revision)

    def dense(self) -> DenseModel:
        """Return how mteb encodes.

        Raises:
            HarnessError: mteb does not know the model, or cannot load it.
        """
        facts = self._facts
        if facts.problems:
            raise HarnessError(facts.problems, exit_code=ExitCode.USAGE)
        model = MtebModel(self.spec.reference, facts.revision, facts.mteb, facts.parameters)
        similarity = self.spec.similarity or facts.similarity
        return _dense(self.name, model, similarity, facts.width, tuple(self.spec.matryoshka))

    def problems(self) -> Iterator[str]:
        """Yield why its weights cannot be had, as far as that is known."""
        yield from ()
        if not self._facts.in_hub:
            return
        try:
            check_downloaded(self.spec.reference, self._facts.revision)
        except NotDownloadedError:
            if self.planner.hub == "refuse":
                raise
            self.planner.warnings.append(
                f"model '{self.spec.model}' is not downloaded yet; a run lets mteb fetch it."
            )

    def family(self, store: Store) -> str:  # noqa: ARG002
        """Return the model: it fails alike under any name."""
        return self.spec.model


class FactoryBuilder(DenseBuilder[tables.Factory]):
    """An encoder of a user's own code."""

    def dense(self) -> DenseModel:
        """Return how the code encodes."""
        spec = self.spec
        code = factory_of(self.planner, spec.factory, spec.arguments, spec.version)
        return _dense(self.name, code, spec.similarity, None, tuple(spec.matryoshka))

    def problems(self) -> Iterator[str]:
        """Yield why the code cannot be found."""
        model = self.planner.dense(self.name).model
        if isinstance(model, OwnCode):
            yield from model.problems()

    def family(self, store: Store) -> str:
        """Return the key of the code: it fails alike under any name."""
        model = self.planner.dense(self.name).model
        return (model.key(store) if isinstance(model, Code) else None) or self.name


class OwnRerankBuilder(Builder[tables.OwnReranking]):
    """The parent's top documents in the order of a user's own cross-encoder."""

    @property
    def _code(self) -> OwnCode:
        how = self.spec.rerank
        return factory_of(self.planner, how.factory, how.arguments, how.version)

    def problems(self) -> Iterator[str]:
        """Yield why the code cannot be found."""
        yield from (f"rerank: {problem}" for problem in self._code.problems())

    def run(self, collection: Collection) -> Rerank:
        """Return the parent's run, reranked."""
        first = self.planner.run_stage(self.spec.parent, collection.name)
        return Rerank(
            self.label(collection), first, self._scorer(collection), self.spec.rerank.depth
        )

    def steps(self, collection: Collection) -> Steps:
        """Return the parent's steps and the scoring."""
        before = self.planner.steps(self.spec.parent, collection.name)
        first = self.planner.run_stage(self.spec.parent, collection.name)
        again = RescoreQuery(
            self.label(collection),
            collection,
            self.planner.device,
            first,
            self._scorer(collection),
            self.spec.rerank.depth,
        )
        return tuple(dict.fromkeys((*before, again)))

    def family(self, store: Store) -> str:
        """Return what orders the documents."""
        return f"reranker {self._code.key(store)}"

    def _scorer(self, collection: Collection) -> OwnScorer:
        """Return the scorer of a collection, one for all candidates that name the code alike."""
        code = self._code
        place = (f"{code.place} {code.arguments} {code.said_version}", collection.name)
        found = self.planner.scorers.setdefault(
            place,
            OwnScorer(
                name=self.spec.rerank.factory,
                model=code,
                dtype="float32",
                max_length=None,
                collection=collection,
            ),
        )
        if not isinstance(found, OwnScorer):
            raise TypeError(f"{code.place} is no code of one's own")
        return found


def factory_of(
    planner: Planner, place: str, arguments: Mapping[str, object], version: str
) -> OwnCode:
    """Return a user's code as the suite names it."""
    said = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
    return OwnCode(place, said, version, planner.suite.path.absolute().parent)


def _dense(
    name: str, model: Code, similarity: Similarity, width: int | None, trained: tuple[int, ...]
) -> DenseModel:
    return DenseModel(
        owner=name,
        model=model,
        prompts=("", ""),
        max_length=None,
        similarity=similarity,
        dimension=width,
        width=None,
        trained_widths=trained,
        arithmetics=("float32",),
        texts=0,
    )
