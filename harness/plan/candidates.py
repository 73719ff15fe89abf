"""Candidates: what each candidate of a suite means, as models, vector spaces and run stages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from harness.errors import ExitCode, HarnessError
from harness.models.biencoder import Side
from harness.plan.dense import DenseModel, DenseModels, Hub
from harness.plan.kinds import BUILDERS
from harness.plan.kinds.builder import Builder, Steps
from harness.plan.replicas import in_order, with_replicas
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.reranking import CrossEncoderScorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.space import Space
from harness.store import Store
from harness.suite.inputs import Inputs, partly_scored
from harness.suite.spec import Suite
from harness.suite.training import TrainingSpec
from harness.synthetic.filters import RoundTrip
from harness.synthetic.synthesize import Synthesize
from harness.training.data import TrainingData
from harness.training.finetune import Interpolation, Train
from harness.training.reranker import TrainReranker

_SHALLOWEST = 100


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
            suite,
            inputs,
            hub=hub,
            asked=self._asked,
            builder=self.builder,
            seeds=self.replicas.seeds,
        )
        self.warnings = self.models.warnings
        self.warnings += partly_scored(inputs)
        self._texts: dict[tuple[str, Side], Texts] = {}
        self._encodes: dict[tuple[str, str], tuple[Encode, Encode]] = {}
        self.scorers: dict[tuple[str, str], CrossEncoderScorer] = {}
        self._builders: dict[str, Builder[Any]] = {}
        self._runs: dict[tuple[str, str], RunStage] = {}
        self._steps: dict[tuple[str, str], Steps] = {}
        self._resolve()

    def builder(self, name: str) -> Builder[Any]:
        """Return what a candidate's kind makes of it."""
        if name not in self._builders:
            spec = self.suite.candidates[name]
            self._builders[name] = BUILDERS[type(spec)](self, name, spec)
        return self._builders[name]

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
        return self.builder(name).training()

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
            self._runs[place] = self.builder(name).run(self.collections[collection])
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
        return dense.space(*self.builder(dense.owner).sides(self.collections[collection]))

    def steps(self, name: str, collection: str) -> Steps:
        """Return the steps of answering one query, each once; None for what is done elsewhere."""
        place = (name, collection)
        if place not in self._steps:
            self._steps[place] = self.builder(name).steps(self.collections[collection])
        return self._steps[place]

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
        builder = self.builder(name)
        if builder.spec.has_vectors:
            self.models.models[name] = builder.dense()
        yield from builder.problems()
        for place, collection in self.collections.items():
            self.warnings += builder.doubts(self.run_stage(name, place), collection)


def _before(suite: Suite, name: str) -> list[str]:
    """Return what must be worked out before a candidate: what it needs, and what its data need."""
    spec = suite.candidates[name]
    recipe = spec.recipe
    data = recipe.data if recipe is not None else []
    tables = [suite.training[each] for each in data if each in suite.training]
    trips = [table.generate.round_trip for table in tables if table.generate is not None]
    return [*spec.needs, *(trip.candidate for trip in trips if trip is not None)]


def _depth(suite: Suite) -> int:
    metrics = suite.parsed_metrics()
    cutoffs = [metric.cutoff for metric in metrics if not metric.in_tokens]
    depths = [spec.depth for spec in suite.candidates.values()]
    return max(_SHALLOWEST, *cutoffs, *depths)
