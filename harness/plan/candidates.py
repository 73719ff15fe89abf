"""Candidates: what each candidate of a suite means, as models, vector spaces and run stages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from harness.arrays import Rows
from harness.collection import Collection
from harness.errors import ExitCode, HarnessError
from harness.models.biencoder import Side
from harness.models.crossencoder import label_problems
from harness.models.weights import Weights
from harness.plan.dense import DenseModel, DenseModels, Hub, collection_file, length_problems
from harness.plan.replicas import in_order, with_replicas
from harness.retrieval.encoding import Encode, Given, ModelSource, Texts
from harness.retrieval.fusion import FuseRuns
from harness.retrieval.imported import ImportRun
from harness.retrieval.latency import EncodeQuery, LexicalQuery, RescoreQuery, SearchQuery, Step
from harness.retrieval.lexical import LexicalSearch, word_problem
from harness.retrieval.reranking import CrossEncoderScorer, Rerank, SpaceScorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search
from harness.retrieval.space import Space, VectorSource, pair_problems
from harness.store import Store
from harness.suite.inputs import Inputs, partly_scored
from harness.suite.spec import (
    Bm25,
    Finetune,
    Fuse,
    RerankSpec,
    RunFile,
    Suite,
    Vectors,
    has_vectors,
    needs,
    recipe_of,
)
from harness.suite.spec import Rerank as Reranked
from harness.suite.training import TrainingSpec
from harness.synthetic.round_trip import RoundTrip
from harness.synthetic.synthesize import Synthesize
from harness.training.data import TrainingData
from harness.training.finetune import Train
from harness.training.interpolate import Interpolation
from harness.training.reading import NotAskedError
from harness.training.reranker import TrainReranker

_SHALLOWEST = 100

Steps = tuple[Step | None, ...]


class Planner:
    """Builds the models, spaces and stages of a suite's candidates, each once.

    Candidates that are trained with several seeds have a replica for each, which is planned like
    any other candidate.

    Args:
        suite: the question.
        inputs: its collections.
        store: where the answers of language models lie, which training is planned from.
        device: that timings belong to.
        hub: what to do about a hub's model that is not in the local cache.

    Raises:
        HarnessError: what candidates name is missing or broken, all problems at once.
    """

    def __init__(
        self, suite: Suite, inputs: Inputs, store: Store, *, device: str, hub: Hub
    ) -> None:
        self.replicas = with_replicas(suite)
        self.suite = suite = self.replicas.suite
        self.inputs = inputs
        self.collections = inputs.collections
        self.device = device
        self._store = store
        self._is_offline = hub == "refuse"
        self.order = in_order(suite.candidates, partial(_before, suite))
        self.depth = _depth(suite)
        self.asks: dict[str, Synthesize] = {}
        self.models = DenseModels(
            suite, inputs, hub=hub, asked=self._asked, seeds=self.replicas.seeds
        )
        self.warnings = self.models.warnings
        self.warnings += partly_scored(inputs)
        self._texts: dict[tuple[str, Side], Texts] = {}
        self._encodes: dict[tuple[str, str], tuple[Encode, Encode]] = {}
        self._scorers: dict[tuple[str, str], CrossEncoderScorer] = {}
        self._runs: dict[tuple[str, str], RunStage] = {}
        self._steps: dict[tuple[str, str], Steps] = {}
        self._resolve()

    def dense(self, name: str) -> DenseModel:
        """Return how a candidate with vectors makes them."""
        return self.models.models[name]

    def owners(self) -> list[str]:
        """Return the candidates that bring weights, parents first."""
        return [
            name
            for name in self.order
            if name in self.models.models
            and self.models.models[name].owner == name
            and self.models.models[name].model is not None
        ]

    def training(self, name: str) -> Train | TrainReranker | None:
        """Return the stage that trains a candidate's own model; None of one that trains none."""
        spec = self.suite.candidates[name]
        if isinstance(spec, Reranked) and spec.rerank.finetune is not None:
            return self.models.recipes.reranker(name, spec)
        model = self.models.models[name].model if isinstance(spec, Finetune) else None
        return model if isinstance(model, Train) else None

    def own_weights(self, name: str) -> Train | TrainReranker | Interpolation | None:
        """Return the stage that makes a candidate's own weights here; None where none does."""
        model = self.models.models[name].model if name in self.models.models else None
        if isinstance(model, Interpolation) and model.name == name:
            return model
        return self.training(name)

    def run_stage(self, name: str, collection: str) -> RunStage:
        """Return the stage of a candidate's run on a collection."""
        place = (name, collection)
        if place not in self._runs:
            self._runs[place] = self._make_run(name, self.collections[collection])
        return self._runs[place]

    def encodes(self, name: str, collection: str) -> tuple[Encode, Encode]:
        """Return the stages that encode documents and queries with the weights of a candidate."""
        dense = self.models.models[name]
        place = (dense.owner, collection)
        if place not in self._encodes:
            self._encodes[place] = (
                dense.encode("document", self.texts(collection, "document")),
                dense.encode("query", self.texts(collection, "query")),
            )
        return self._encodes[place]

    def texts(self, collection: str, role: Side) -> Texts:
        """Return one side of a collection, to encode."""
        if (collection, role) not in self._texts:
            found = self.collections[collection]
            items = found.queries if role == "query" else found.documents
            self._texts[collection, role] = Texts(collection, items)
        return self._texts[collection, role]

    def space(self, name: str, collection: str) -> Space:
        """Return the vectors with which a candidate searches a collection."""
        dense = self.models.models[name]
        documents: VectorSource
        queries: VectorSource
        if dense.model is None:
            documents, queries = self.models.given_vectors(
                dense.owner, self.collections[collection]
            )
        else:
            documents, queries = self.encodes(name, collection)
        return Space(documents, queries, dense.similarity, dense.width)

    def steps(self, name: str, collection: str) -> Steps:
        """Return the steps of answering one query, each once; None for what is done elsewhere."""
        place = (name, collection)
        if place not in self._steps:
            self._steps[place] = self._make_steps(name, collection)
        return self._steps[place]

    def _make_steps(self, name: str, collection: str) -> Steps:
        spec = self.suite.candidates[name]
        texts = self.collections[collection]
        match spec:
            case RunFile():
                return (None,)
            case Bm25():
                return (
                    LexicalQuery(f"{name} on {collection}", texts, self.device, spec, self.depth),
                )
            case Fuse():
                steps = [step for other in spec.fuse for step in self.steps(other, collection)]
                return tuple(dict.fromkeys(steps))
            case Reranked():
                return self._rerank_steps(name, spec, collection)
            case _:
                return self._dense_steps(name, collection)

    def rerank_weights(self, spec: RerankSpec) -> Weights | None:
        """Return a cross-encoder's weights; None for a cascade or before the download."""
        return None if spec.model is None else self.models.find_weights(spec.model, spec.revision)

    def _asked(self, name: str) -> TrainingData | None:
        """Return the queries that a language model wrote; None while it was not asked."""
        if name not in self.asks:
            self.asks[name] = self._ask(name, self.suite.training[name])
        return self.asks[name].data(self._store)

    def _ask(self, name: str, spec: TrainingSpec) -> Synthesize:
        if spec.generate is None:
            raise TypeError(f"{name} is no synthetic source")
        collection = self.collections[str(spec.passages_of)]
        trip = None
        if spec.generate.round_trip is not None:
            finder, k = spec.generate.round_trip.candidate, spec.generate.round_trip.k
            trip = RoundTrip(self.run_stage(finder, collection.name), collection, k)
        return Synthesize(
            name, spec.generate, collection, trip, spec.licence, offline=self._is_offline
        )

    # What follows is worked out once, parents first.

    def _resolve(self) -> None:
        problems: list[str] = []
        codes: list[ExitCode] = []
        broken: set[str] = set()
        for name in self.order:
            first = self.replicas.first[name]
            if broken & {first, *_before(self.suite, name)}:
                broken.add(name)
                continue
            told = len(self.warnings)
            try:
                found = list(self._problems(name))
                code = ExitCode.USAGE
            except HarnessError as error:
                found, code = error.problems, error.exit_code
            if found:
                broken.add(name)
                where = self.suite.where("candidates", name)
                problems += [f"{where}: candidate '{name}': {text}" for text in found]
                codes.append(code)
            if name != first:
                del self.warnings[told:]  # those of the first replica, said again
        if problems:
            raise HarnessError(problems, exit_code=codes[0])

    def _problems(self, name: str) -> Iterator[str]:
        """Work a candidate out, and yield what is wrong with what it names."""
        spec = self.suite.candidates[name]
        if has_vectors(spec):
            yield from self.models.resolve(name)
        if isinstance(spec, Reranked) and spec.rerank.model is not None:
            yield from self._cross_encoder_problems(spec.rerank)
        if isinstance(spec, Vectors):
            self._check_vectors(name, spec)
        for collection in self.collections.values():
            stage = self.run_stage(name, collection.name)
            if isinstance(stage, ImportRun):
                self._warn_of_import(name, stage)
            if isinstance(spec, Bm25) and (problem := word_problem(spec, collection)):
                self.warnings.append(f"candidate '{name}': {problem}")

    def _check_vectors(self, name: str, spec: Vectors) -> None:
        """Check the files of vectors for every collection.

        Raises:
            HarnessError: exit code 3, all that is wrong with any of them.
        """
        problems: list[str] = []
        for collection in self.collections.values():
            sides = self.models.given_vectors(name, collection)
            found = [each for side in sides for each in side.problems(similarity=spec.similarity)]
            found = found or pair_problems(*sides, similarity=spec.similarity)
            if not found:
                doubts = [
                    f"candidate '{name}': {each}" for side in sides for each in side.warnings()
                ]
                self.warnings += [doubt for doubt in doubts if doubt not in self.warnings]
            problems += [each for each in found if each not in problems]
        if problems:
            raise HarnessError(problems, exit_code=ExitCode.DATA)

    def _cross_encoder_problems(self, spec: RerankSpec) -> Iterator[str]:
        """Yield what is wrong with a reranker; one that is trained may start from a bi-encoder."""
        weights = self.models.find_weights(str(spec.model), spec.revision)
        other = weights is not None and weights.layout != "cross-encoder"
        if other and spec.finetune is None:
            yield (
                f"rerank: '{spec.model}' is a bi-encoder. Make it a candidate and use "
                'rerank = { candidate = "…" }, or train it first: finetune = { data = … }.'
            )
        if weights is not None and spec.finetune is None:
            yield from label_problems(str(spec.model), weights.labels)
            self.warnings += [doubt for doubt in weights.doubts if doubt not in self.warnings]
        yield from length_problems(weights, spec)

    def _warn_of_import(self, name: str, stage: ImportRun) -> None:
        found = stage.imported
        parts = []
        if found.missing_queries:
            first = ", ".join(found.missing_queries[:3])
            parts.append(
                f"misses {len(found.missing_queries)} of {len(stage.collection.queries)} judged "
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
            self.warnings.append(
                f"run '{name}' on '{stage.collection.name}' {'; '.join(parts)}. "
                "Check that the file belongs to this collection."
            )

    def _make_run(self, candidate: str, collection: Collection) -> RunStage:
        spec = self.suite.candidates[candidate]
        forbidden = forbidden_rows(collection)
        name = f"{candidate} on {collection.name}"
        match spec:
            case Bm25():
                return LexicalSearch(name, spec, collection, self.depth, forbidden)
            case RunFile():
                path = collection_file(self.suite, spec.run, collection)
                return ImportRun(name, path, collection, self.depth, forbidden, spec.scores)
            case Fuse():
                members = tuple(self.run_stage(other, collection.name) for other in spec.fuse)
                return FuseRuns(name, spec, members)
            case Reranked():
                first = self.run_stage(spec.parent, collection.name)
                scorer = self._scorer(candidate, spec, collection.name)
                return Rerank(name, first, scorer, spec.rerank.depth)
            case _:
                space = self.space(candidate, collection.name)
                return Search(name, space, ids_key(collection), self.depth, forbidden)

    def _scorer(
        self, name: str, spec: Reranked, collection: str
    ) -> CrossEncoderScorer | SpaceScorer:
        how = spec.rerank
        if how.candidate is not None:
            return SpaceScorer(self.space(how.candidate, collection))
        shared = repr((how.model, how.revision, how.dtype, how.max_length))
        place = (shared if how.finetune is None else name, collection)
        if place not in self._scorers:
            self._scorers[place] = CrossEncoderScorer(
                name=str(how.model) if how.finetune is None else name,
                model=self._reranker(name, spec),
                dtype=how.dtype,
                max_length=how.max_length,
                collection=self.collections[collection],
            )
        return self._scorers[place]

    def _reranker(self, name: str, spec: Reranked) -> ModelSource:
        if spec.rerank.finetune is None:
            return Given(self.rerank_weights(spec.rerank))
        try:
            return self.models.recipes.reranker(name, spec)
        except NotAskedError as error:
            self.warnings.append(f"candidate '{name}': {error}")
            return Given(None)

    def _dense_steps(self, name: str, collection: str) -> Steps:
        dense = self.models.models[name]
        texts = self.collections[collection]
        search = SearchQuery(
            f"{name} on {collection}", texts, self.device, self.space(name, collection), self.depth
        )
        if dense.owner != name:
            return (self.steps(dense.owner, collection)[0], search)
        if dense.model is None:
            return (None, search)
        encode = self.encodes(name, collection)[1]
        return (EncodeQuery(f"{name} on {collection}", texts, self.device, encode), search)

    def _rerank_steps(self, name: str, spec: Reranked, collection: str) -> Steps:
        before = self.steps(spec.parent, collection)
        stage = self.run_stage(name, collection)
        if not isinstance(stage, Rerank):
            raise TypeError(f"{name} is no reranker")
        second: Steps = ()
        scorer = stage.scorer
        if spec.rerank.candidate is not None:
            second = self.steps(spec.rerank.candidate, collection)[:-1]
        texts = self.collections[collection]
        again = RescoreQuery(
            f"{name} on {collection}", texts, self.device, stage.first, scorer, stage.depth
        )
        return tuple(dict.fromkeys((*before, *second, again)))


def _before(suite: Suite, name: str) -> list[str]:
    """Return what must be worked out before a candidate: what it needs, and what its data need."""
    spec = suite.candidates[name]
    recipe = recipe_of(spec)
    data = recipe.data if recipe is not None else []
    tables = [suite.training[each] for each in data if each in suite.training]
    trips = [table.generate.round_trip for table in tables if table.generate is not None]
    return [*needs(spec), *(trip.candidate for trip in trips if trip is not None)]


def _depth(suite: Suite) -> int:
    metrics = suite.parsed_metrics()
    cutoffs = [metric.cutoff for metric in metrics if not metric.in_tokens]
    depths = [spec.rerank.depth for spec in suite.candidates.values() if isinstance(spec, Reranked)]
    return max(_SHALLOWEST, *cutoffs, *depths)


def forbidden_rows(collection: Collection) -> Rows | None:
    """Return the row of the document with each query's id, or -1; None if all may be returned."""
    if not collection.exclude_identical_ids:
        return None
    rows = {identifier: row for row, identifier in enumerate(collection.document_ids)}
    return np.array([rows.get(key, -1) for key in collection.query_ids], dtype=np.int32)


def ids_key(collection: Collection) -> str:
    """Return the content key of the ids, whose order breaks ties, and the texts."""
    return f"{collection.documents_key}{collection.queries_key}"
