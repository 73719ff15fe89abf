"""Own: models whose code is not the harness's: of the package mteb, and of a user's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from harness.collection import Collection
from harness.models.finding import NotDownloadedError
from harness.models.in_mteb import MtebFacts, check_downloaded, mteb_facts
from harness.models.own import Code, MtebModel, OwnCode
from harness.plan.candidates import DenseBuilder, Planner
from harness.plan.dense import DenseModel
from harness.plan.kinds.rerank import SecondStageBuilder
from harness.retrieval.own import OwnScorer
from harness.store import Store
from harness.suite.kinds import own as tables
from harness.suite.table import Similarity


class MtebBuilder(DenseBuilder[tables.Mteb]):
    """A model that mteb loads."""

    @cached_property
    def _facts(self) -> MtebFacts:
        return mteb_facts(self.spec.model, self.spec.revision, kind="dense")

    def dense(self) -> DenseModel:
        """Return how mteb encodes.

        Raises:
            HarnessError: mteb does not know the model, or cannot load it.
        """
        facts = self._facts
        similarity = self.spec.similarity or facts.similarity
        return _dense(self.name, _loaded(facts), similarity, facts.width, self.spec.matryoshka)

    def problems(self) -> Iterator[str]:
        """Yield nothing; note weights that are not downloaded, or refuse them offline."""
        yield from ()
        _note_download(self.planner, self._facts)

    def family(self, store: Store) -> str:  # noqa: ARG002
        """Return the model: it fails alike under any name."""
        return self.spec.model


class FactoryBuilder(DenseBuilder[tables.Factory]):
    """An encoder of a user's own code."""

    def dense(self) -> DenseModel:
        """Return how the code encodes."""
        spec = self.spec
        code = factory_of(self.planner, spec.factory, spec.arguments, spec.version)
        return _dense(self.name, code, spec.similarity, None, spec.matryoshka)

    def problems(self) -> Iterator[str]:
        """Yield why the code cannot be found."""
        model = self.planner.dense(self.name).model
        if isinstance(model, OwnCode):
            yield from model.problems()

    def family(self, store: Store) -> str:
        """Return the key of the code: it fails alike under any name."""
        model = self.planner.dense(self.name).model
        return (model.key(store) if isinstance(model, Code) else None) or self.name


class MtebRerankBuilder(SecondStageBuilder[tables.MtebReranking]):
    """The parent's top documents in the order of a cross-encoder that mteb loads."""

    @cached_property
    def _facts(self) -> MtebFacts:
        how = self.spec.rerank
        return mteb_facts(how.model, how.revision, kind="cross-encoder")

    def problems(self) -> Iterator[str]:
        """Yield nothing; note weights that are not downloaded, or refuse them offline."""
        yield from ()
        _note_download(self.planner, self._facts)

    def family(self, store: Store) -> str:  # noqa: ARG002
        """Return what orders the documents."""
        return f"reranker {self.spec.rerank.model}"

    def scorer(self, collection: Collection) -> OwnScorer:
        """Return mteb's cross-encoder."""
        return _scorer(self.planner, _loaded(self._facts), collection)


class OwnRerankBuilder(SecondStageBuilder[tables.OwnReranking]):
    """The parent's top documents in the order of a user's own cross-encoder."""

    @property
    def _code(self) -> OwnCode:
        how = self.spec.rerank
        return factory_of(self.planner, how.factory, how.arguments, how.version)

    def problems(self) -> Iterator[str]:
        """Yield why the code cannot be found."""
        yield from (f"rerank: {problem}" for problem in self._code.problems())

    def family(self, store: Store) -> str:
        """Return what orders the documents."""
        return f"reranker {self._code.key(store)}"

    def scorer(self, collection: Collection) -> OwnScorer:
        """Return the user's cross-encoder."""
        return _scorer(self.planner, self._code, collection)


def factory_of(
    planner: Planner, place: str, arguments: Mapping[str, object], version: str
) -> OwnCode:
    """Return a user's code as the suite names it."""
    said = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
    return OwnCode(place, said, version, planner.suite.path.absolute().parent)


def _loaded(facts: MtebFacts) -> MtebModel:
    return MtebModel(facts.model, facts.revision, facts.mteb, facts.parameters)


def _note_download(planner: Planner, facts: MtebFacts) -> None:
    if not facts.in_hub:
        return
    try:
        check_downloaded(facts.model, facts.revision)
    except NotDownloadedError:
        if planner.hub == "refuse":
            raise
        planner.warnings.append(
            f"model 'mteb:{facts.model}' is not downloaded yet; a run lets mteb fetch it."
        )


def _scorer(planner: Planner, code: Code, collection: Collection) -> OwnScorer:
    """Return the scorer of a collection, one for all candidates that name the code alike."""
    plain = OwnScorer(code.name, code, "float32", None, collection)
    found = planner.scorers.setdefault((str(code.key(planner.store)), collection.name), plain)
    return found if isinstance(found, OwnScorer) else plain


def _dense(
    name: str, model: Code, similarity: Similarity, width: int | None, trained: Sequence[int]
) -> DenseModel:
    return DenseModel(
        owner=name,
        model=model,
        prompts=("", ""),
        max_length=None,
        similarity=similarity,
        dimension=width,
        width=None,
        trained_widths=tuple(trained),
        arithmetics=("float32",),
        texts=0,
    )
