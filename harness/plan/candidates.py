"""Candidates: what each candidate of a suite means, as models, vector spaces and run stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from harness.collection import Collection
from harness.errors import ExitCode, HarnessError
from harness.models import Side
from harness.models.finding import NotDownloadedError
from harness.models.folder import AS_PUBLISHED, Choices
from harness.models.weights import Weights
from harness.plan.dense import (
    DenseModel,
    Hub,
    TextModel,
    forbidden_rows,
    ranked,
    uninstructed,
    unused_instructions,
)
from harness.plan.replicas import in_order, with_replicas
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.folding import FoldPassages
from harness.retrieval.latency import EncodeQuery, Step
from harness.retrieval.remote import RemoteEncode, RemoteQuery
from harness.retrieval.reranking import CrossEncoderScorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.space import VectorSource
from harness.store import Store
from harness.suite.inputs import Inputs, partly_scored
from harness.suite.kinds.kind import CandidateSpec
from harness.suite.mteb_tasks import main_metrics, not_asked_for, tasks_of
from harness.suite.spec import Suite
from harness.suite.training import TrainingSpec
from harness.training.data import TrainingData
from harness.training.finetune import Interpolation, Train
from harness.training.leak_guard import LeakGuard
from harness.training.mining import Examples, PairScorer
from harness.training.reading import TrainingSources
from harness.training.reranker import TrainReranker
from harness.training.weights import remembered_weights

if TYPE_CHECKING:
    from harness.synthetic.synthesize import Synthesize

_SHALLOWEST = 100

# The steps of answering one query; None for what is done elsewhere.
Steps = tuple[Step | None, ...]
S = TypeVar("S", bound=CandidateSpec)


class FirstStage(NamedTuple):
    """The search that finds negatives, and what scores the relevant documents alike."""

    run: RunStage
    scorer: PairScorer


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
        builders: of each kind of candidate.

    Attributes:
        replicas: the suite's candidates, once for each training seed.
        order: all of them, parents first.
        depth: ranks of every run.
        collections: what candidates search, by the suite's name: documents, or their passages.
        store, hub: as given.
        asks: what asks language models for training data, by the name of its table.
        models: how each candidate that encodes texts, or has their vectors, does so.
        sources: of training data.
        guard: against training data that give away scored queries.
        leaked: of a candidate whose training gives away scored queries, sentences that say so.
        scorers: the cross-encoders, by name and collection.
        warnings: what is doubtful, each a sentence.

    Raises:
        HarnessError: what candidates name is missing or broken, all problems at once.
    """

    def __init__(
        self,
        suite: Suite,
        inputs: Inputs,
        store: Store,
        *,
        device: str,
        hub: Hub,
        builders: Mapping[type[CandidateSpec], type[Builder[Any]]],
    ) -> None:
        self.replicas = with_replicas(suite)
        self.suite = suite = self.replicas.suite
        self.inputs = inputs
        self.collections = {name: each.searched for name, each in inputs.collections.items()}
        self.device = device
        self.store = store
        self.hub = hub
        self._kinds = builders
        self.order = in_order(suite.candidates, partial(_before, suite))
        self.depth = max(
            _SHALLOWEST,
            *(each.cutoff for each in suite.parsed_metrics() if not each.in_tokens),
            *(each.cutoff for each in main_metrics(tasks_of(inputs.raw))),
            *(spec.depth for spec in suite.candidates.values()),
        )
        self.asks: dict[str, Synthesize] = {}
        self.models: dict[str, TextModel[Any]] = {}
        self.warnings = [*partly_scored(inputs), *not_asked_for(suite, tasks_of(inputs.raw))]
        self.sources = TrainingSources(suite, inputs, asked=self._asked)
        self.guard = LeakGuard(inputs, store)
        self.leaked: dict[str, tuple[str, ...]] = {}
        self.scorers: dict[tuple[str, str], CrossEncoderScorer] = {}
        self._weights: dict[tuple[str, str | None, Choices], Weights | None] = {}
        self._splits: dict[str, Collection] = {}
        self._places: dict[str, Collection] = {}
        self._texts: dict[tuple[str, Side], Texts] = {}
        self._encodes: dict[tuple[str, str], tuple[Encode, Encode]] = {}
        self._builders: dict[str, Builder[Any]] = {}
        self._runs: dict[tuple[str, str], RunStage] = {}
        self._steps: dict[tuple[str, str], Steps] = {}
        self._resolve()

    def builder(self, name: str) -> Builder[Any]:
        """Return what a candidate's kind makes of it."""
        if name not in self._builders:
            spec = self.suite.candidates[name]
            self._builders[name] = self._kinds[type(spec)](self, name, spec)
        return self._builders[name]

    def dense(self, name: str) -> DenseModel:
        """Return how a candidate with vectors makes them."""
        found = self.models[name]
        if not isinstance(found, DenseModel):
            raise TypeError(f"{name} has no vectors of whole texts")
        return found

    def found_weights(self) -> list[Weights | None]:
        """Return every model that was looked for; None where it is not downloaded yet."""
        return list(self._weights.values())

    def find_weights(
        self, reference: str, revision: str | None, chosen: Choices = AS_PUBLISHED
    ) -> Weights | None:
        """Return a model's weights; None for a hub's model that is planned before its download."""
        place = (reference, revision, chosen)
        if place not in self._weights:
            try:
                weights = remembered_weights(
                    self.suite.locate_model(reference),
                    revision=revision,
                    download=self.hub == "fetch",
                    chosen=chosen,
                    store=self.store,
                )
            except NotDownloadedError:
                if self.hub != "later":
                    raise
                weights = None
                self.warnings.append(
                    f"model '{reference}' is not downloaded yet; a run fetches it."
                )
            self._weights[place] = weights
        return self._weights[place]

    def judged(self, place: str) -> Collection:
        """Return a collection of the suite, or another split of one, as it is judged."""
        if place in self.collections:
            return self.inputs.collections[place]
        name, _, split = place.partition(":")
        return self.split(name, split)

    def split(self, collection: str, split: str) -> Collection:
        """Return another split of a collection as it is judged, each built once."""
        name = f"{collection}:{split}"
        if name not in self._splits:
            self._splits[name] = self.inputs.split(collection, split)
        return self._splits[name]

    def collection(self, place: str) -> Collection:
        """Return what is searched in a collection, or in another split such as "claims:dev"."""
        if place in self.collections:
            return self.collections[place]
        if place not in self._places:
            self._places[place] = replace(self.judged(place).searched, name=place)
        return self._places[place]

    def depth_of(self, collection: Collection) -> int:
        """Return the ranks of a search: as many passages as hold `depth` documents."""
        passages = self.judged(collection.name).passages
        return self.depth if passages is None else passages.depth(self.depth)

    def places(self) -> dict[str, list[str]]:
        """Return which candidates retrieve where, parents first.

        These are the splits that fusions are tuned on, for what is fused, and all collections.
        """
        tuned: dict[str, set[str]] = {}
        for name in reversed(self.order):
            spec = self.suite.candidates[name]
            for names in tuned.values():
                names.update(spec.needs if name in names else ())
            if spec.tuned_on is not None:
                tuned.setdefault(spec.tuned_on, set()).update(spec.parents)
        dev = {place: [each for each in self.order if each in tuned[place]] for place in tuned}
        return {**dev, **dict.fromkeys(self.collections, self.order)}

    def owners(self) -> list[str]:
        """Return the candidates that bring weights, parents first."""
        return [
            name
            for name in self.order
            if name in self.models
            and self.models[name].owner == name
            and self.models[name].model is not None
        ]

    def training(self, name: str) -> Train | TrainReranker | None:
        """Return the stage that trains a candidate's own model; None of one that trains none."""
        return self.builder(name).training()

    def own_weights(self, name: str) -> Train | TrainReranker | Interpolation | None:
        """Return the stage that makes a candidate's own weights here; None where none does."""
        model = self.models[name].model if name in self.models else None
        if isinstance(model, Interpolation) and model.name == name:
            return model
        return self.training(name)

    def judged_run(self, name: str, collection: str) -> RunStage:
        """Return the stage of a candidate's run over what is judged in a collection."""
        return self.folded(self.run_stage(name, collection), collection)

    def folded(self, run: RunStage, collection: str) -> RunStage:
        """Return a run over what is searched as one over what is judged."""
        judged = self.judged(collection)
        if judged.passages is None:
            return run
        forbidden = forbidden_rows(judged)
        return FoldPassages(run.name, run, judged.passages.documents, self.depth, forbidden)

    def run_stage(self, name: str, collection: str) -> RunStage:
        """Return the stage of a candidate's run over what is searched in a collection."""
        place = (name, collection)
        if place not in self._runs:
            self._runs[place] = self.builder(name).run(self.collection(collection))
        return self._runs[place]

    def encodes(self, name: str, collection: str) -> tuple[Encode, Encode]:
        """Return the stages that encode documents and queries with the weights of a candidate."""
        dense = self.models[name]
        place = (dense.owner, collection)
        if place not in self._encodes:
            parents = self.suite.candidates[dense.owner].parents if dense.is_asymmetric else ()
            documents = self.encodes(parents[0], collection)[0] if parents else None
            self._encodes[place] = (
                documents or dense.encode("document", self.texts(collection, "document")),
                dense.encode("query", self.texts(collection, "query")),
            )
        return self._encodes[place]

    def texts(self, collection: str, role: Side) -> Texts:
        """Return one side of a collection, to encode."""
        if (collection, role) not in self._texts:
            found = self.collection(collection)
            items = found.queries if role == "query" else found.documents
            spec = self.suite.collections[collection.partition(":")[0]]
            self._texts[collection, role] = Texts(collection, items, spec.instruction)
        return self._texts[collection, role]

    def space(self, name: str, collection: str) -> Any:
        """Return what a candidate searches a collection with: the space of its model."""
        dense = self.models[name]
        return dense.space(*self.builder(dense.owner).sides(self.collection(collection)))

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
        return self.asks[name].data(self.store)

    def _ask(self, name: str, spec: TrainingSpec) -> Synthesize:
        from harness.synthetic.filters import RoundTrip
        from harness.synthetic.realism import read_log
        from harness.synthetic.synthesize import Synthesize

        if spec.generate is None:
            raise TypeError(f"{name} is no synthetic source")
        collection = self.collections[str(spec.passages_of)]
        trip, asked = None, spec.generate.round_trip
        if asked is not None:
            trip = RoundTrip(self.run_stage(asked.candidate, collection.name), collection, asked.k)
        return Synthesize(
            *(name, spec.generate, collection, trip, spec.licence, self.hub == "refuse"),
            log=None if (log := spec.generate.log) is None else read_log(self.suite.locate(log)),
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
        self.warnings += unused_instructions(
            self.models.values(), self.suite, tasks_of(self.inputs.raw)
        )

    def _problems(self, name: str) -> Iterator[str]:
        """Work a candidate out, and yield what is wrong with what it names."""
        builder = self.builder(name)
        if (model := builder.model()) is not None:
            self.models[name] = model
            yield from uninstructed(model, self.suite)
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


@dataclass(frozen=True)
class Builder(ABC, Generic[S]):
    """One candidate, as its kind builds it. There is a subclass for each kind.

    Attributes:
        planner: that works out all candidates, parents first.
        name: of the candidate.
        spec: its table.
    """

    planner: Planner
    name: str
    spec: S

    def problems(self) -> Iterator[str]:
        """Work out what the candidate names, and yield what is wrong with it.

        Raises:
            HarnessError: it cannot be worked out at all.
        """
        yield from ()

    def doubts(self, stage: RunStage, collection: Collection) -> Iterator[str]:  # noqa: ARG002
        """Yield what is doubtful about the candidate on a collection."""
        yield from ()

    @abstractmethod
    def run(self, collection: Collection) -> RunStage:
        """Return the stage of its run."""

    @abstractmethod
    def steps(self, collection: Collection) -> Steps:
        """Return the steps of answering one query, each once."""

    def model(self) -> TextModel[Any] | None:
        """Return how it encodes texts; None where it does not.

        Raises:
            HarnessError: it cannot be worked out.
        """
        return None

    def sides(self, collection: Collection) -> tuple[VectorSource, VectorSource]:  # noqa: ARG002
        """Return the full vectors of documents and queries that it brings.

        Raises:
            TypeError: it brings none.
        """
        raise TypeError(f"{self.name} brings no vectors")

    def finds(
        self,
        collection: Collection,  # noqa: ARG002
        source: str,  # noqa: ARG002
        *,
        depth: int,  # noqa: ARG002
        instruction: str | None = None,  # noqa: ARG002
    ) -> FirstStage:
        """Return the search for hard negatives in a collection of training data.

        Args:
            collection: what is searched.
            source: how progress names it.
            depth: ranks.
            instruction: of the queries.

        Raises:
            TypeError: it does not search by itself.
        """
        raise TypeError(f"{self.name} does not search by itself")

    def training(self) -> Train | TrainReranker | None:
        """Return the stage that trains its own model; None of one that trains none."""
        return None

    def examples(self) -> Examples | None:
        """Return what its own model learns from; None of one that trains none."""
        return None

    def family(self, store: Store) -> str | None:
        """Return what it shares with others that fail alike; None for a mixture of several.

        What is derived belongs to its parent's family: it began as the same vectors.
        """
        [parent] = self.spec.parents or (None,)
        return self.name if parent is None else self.planner.builder(parent).family(store)

    def label(self, collection: Collection) -> str:
        """Return a name for what it does on a collection, for people."""
        return f"{self.name} on {collection.name}"


@dataclass(frozen=True)
class EncodingBuilder(Builder[S]):
    """A candidate that searches what it encodes."""

    @abstractmethod
    def model(self) -> TextModel[Any]:
        """Return how it encodes texts."""

    def sides(self, collection: Collection) -> tuple[VectorSource, VectorSource]:
        """Return the stages that encode documents and queries with its weights."""
        return self.planner.encodes(self.name, collection.name)

    def run(self, collection: Collection) -> RunStage:
        """Return the search."""
        model, space = (
            self.planner.models[self.name],
            self.planner.space(self.name, collection.name),
        )
        depth = self.planner.depth_of(collection)
        return ranked(model, self.label(collection), space, collection, depth=depth)

    def steps(self, collection: Collection) -> Steps:
        """Return the encoding of a query with the owner's weights, and the search."""
        planner = self.planner
        model = planner.models[self.name]
        search = model.search_steps(
            self.label(collection),
            planner.space(self.name, collection.name),
            collection,
            device=planner.device,
            depth=planner.depth_of(collection),
        )
        if model.owner != self.name:
            return (planner.steps(model.owner, collection.name)[0], *search)
        if model.model is None:
            return (None, *search)
        encode = planner.encodes(self.name, collection.name)[1]
        label = self.label(collection)
        if isinstance(encode, RemoteEncode):
            return (RemoteQuery(label, collection, planner.device, encode), *search)
        return (EncodeQuery(label, collection, planner.device, encode), *search)


@dataclass(frozen=True)
class DenseBuilder(EncodingBuilder[S]):
    """A candidate that searches vectors of whole texts."""

    @abstractmethod
    def dense(self) -> DenseModel:
        """Return how it makes vectors."""

    def model(self) -> DenseModel:
        """Return how it makes vectors."""
        return self.dense()

    def finds(
        self, collection: Collection, source: str, *, depth: int, instruction: str | None = None
    ) -> FirstStage:
        """Return the search of a collection of training data by vectors."""
        model = self.planner.dense(self.name)
        space = model.space(
            model.encode("document", Texts(source, collection.documents)),
            model.encode("query", Texts(source, collection.queries, instruction)),
        )
        run = model.search(f"{self.name} on {source}", space, collection, depth=depth)
        return FirstStage(run, model.scorer(space))
