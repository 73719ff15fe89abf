"""Dense models: how each candidate with vectors makes them, and what is doubtful about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.collection import Collection
from harness.errors import ExitCode, HarnessError
from harness.models.biencoder import Side
from harness.models.prompts import known_prompts
from harness.models.weights import NotDownloadedError, Weights, find_weights
from harness.plan.recipes import Recipes
from harness.retrieval.encoding import Encode, Given, ModelSource, Texts
from harness.retrieval.space import GivenVectors, open_vectors
from harness.suite.inputs import Inputs
from harness.suite.spec import (
    Candidate,
    Dense,
    Finetune,
    Interpolate,
    Prompts,
    RerankSpec,
    Similarity,
    Suite,
    Truncate,
    Vectors,
)
from harness.suite.training import FinetuneSpec
from harness.training.data import TrainingData, shared_rows
from harness.training.dev import refuse_dev
from harness.training.finetune import Train
from harness.training.interpolate import Interpolation
from harness.training.losses import refuse_loss
from harness.training.reading import NotAskedError, TrainingSources

# Prompts that are meant for documents, by the names that sentence-transformers knows.
_DOCUMENT_NAMES = {"passage", "corpus"}

# A hub's model that is not in the local cache: fetch it, refuse it, or plan without its weights.
Hub = Literal["fetch", "refuse", "later"]


@dataclass(frozen=True)
class DenseModel:
    """How a candidate with vectors makes them.

    Attributes:
        owner: the candidate that brings the weights or the vector files; truncations share them.
        model: the weights; None where vectors are given.
        prompts: of query and document.
        dtype, max_length: while encoding.
        similarity: of the vectors.
        dimension: full width; None where it is known only after the download.
        width: dimensions used; None for all.
        trained_widths: Matryoshka widths that the model is said to be trained for.
    """

    owner: str
    model: ModelSource | None
    prompts: tuple[str, str]
    dtype: str
    max_length: int | None
    similarity: Similarity
    dimension: int | None
    width: int | None
    trained_widths: tuple[int, ...]

    def encode(self, role: Side, texts: Texts) -> Encode:
        """Return the stage that encodes texts at full width.

        Raises:
            TypeError: the vectors are given.
        """
        if self.model is None:
            raise TypeError(f"{self.owner} encodes nothing")
        return Encode(
            name=self.owner,
            model=self.model,
            role=role,
            prompt=self.prompts[0 if role == "query" else 1],
            dtype=self.dtype,
            max_length=self.max_length,
            texts=texts,
        )


class DenseModels:
    """Resolves the candidates with vectors, parents first, and keeps every model's weights once.

    Args:
        suite: the question.
        inputs: its collections.
        hub: what to do about a hub's model that is not in the local cache.
        asked: returns the queries that a language model wrote, or None.
        seeds: training seed of each candidate.

    Attributes:
        models: what was resolved, by candidate.
        recipes: what trainings learn from.
        warnings: what is doubtful, each a sentence.
        leaked: of a candidate whose training gives away scored queries, sentences that say so.
        sources: of training data.
    """

    def __init__(
        self,
        suite: Suite,
        inputs: Inputs,
        *,
        hub: Hub,
        asked: Callable[[str], TrainingData | None],
        seeds: Mapping[str, int],
    ) -> None:
        self.models: dict[str, DenseModel] = {}
        self.warnings: list[str] = []
        self.leaked: dict[str, tuple[str, ...]] = {}
        self._suite = suite
        self._inputs = inputs
        self._hub = hub
        self.sources = TrainingSources(suite, inputs, asked=asked)
        self.recipes = Recipes(suite, inputs, self, seeds=seeds)
        self._seeds = seeds
        self._weights: dict[tuple[str, str | None], Weights | None] = {}

    def resolve(self, name: str) -> Iterator[str]:
        """Work a candidate out, and yield what is wrong with what it names.

        Raises:
            HarnessError: it can not be worked out at all.
        """
        spec = self._suite.candidates[name]
        self.models[name] = self._make(name, spec)
        yield from self._width_problems(name, spec)
        if isinstance(spec, Dense):
            yield from length_problems(self.find_weights(spec.model, spec.revision), spec)

    def find_weights(self, reference: str, revision: str | None) -> Weights | None:
        """Return a model's weights; None for a hub's model that is planned before its download."""
        place = (reference, revision)
        if place not in self._weights:
            try:
                weights = find_weights(
                    self._suite.locate_model(reference),
                    revision=revision,
                    download=self._hub == "fetch",
                )
            except NotDownloadedError:
                if self._hub != "later":
                    raise
                weights = None
                self.warnings.append(
                    f"model '{reference}' is not downloaded yet; a run fetches it."
                )
            self._weights[place] = weights
        return self._weights[place]

    def _make(self, name: str, spec: Candidate) -> DenseModel:
        match spec:
            case Dense():
                return self._from_model(name, spec)
            case Vectors():
                return DenseModel(
                    owner=name,
                    model=None,
                    prompts=("", ""),
                    dtype="float32",
                    max_length=None,
                    similarity=spec.similarity,
                    dimension=self._given_dimension(name),
                    width=None,
                    trained_widths=tuple(spec.matryoshka),
                )
            case Truncate():
                return replace(self.models[spec.parent], width=spec.truncate)
            case Finetune():
                try:
                    return self._from_training(name, spec)
                except NotAskedError as error:
                    self.warnings.append(f"candidate '{name}': {error}")
                    return self._waiting(name, spec)
            case Interpolate():
                return self._between(name, spec)
        raise TypeError(f"{type(spec).__name__} has no vectors")

    def _from_model(self, name: str, spec: Dense) -> DenseModel:
        weights = self.find_weights(spec.model, spec.revision)
        if weights is not None and weights.layout == "cross-encoder":
            raise HarnessError(
                f"'{spec.model}' is a cross-encoder and gives no vectors. "
                "Use it to rerank: rerank = { model = … }.",
                exit_code=ExitCode.USAGE,
            )
        declared = weights.prompts if weights is not None else {}
        given = (spec.prompts.query, spec.prompts.document)
        prompts = tuple(
            declared.get(role, "") if prompt is None else prompt
            for role, prompt in zip(("query", "document"), given, strict=True)
        )
        similarity = spec.similarity or (weights.similarity if weights else None) or "cosine"
        if similarity not in {"cosine", "dot"}:
            raise HarnessError(
                f"'{spec.model}' declares the similarity '{similarity}'; search is by inner "
                'product. Set similarity = "cosine" or "dot".',
                exit_code=ExitCode.USAGE,
            )
        self._warn_of_model(name, spec, weights, (prompts[0], prompts[1]))
        return DenseModel(
            owner=name,
            model=Given(weights),
            prompts=(prompts[0], prompts[1]),
            dtype=spec.dtype,
            max_length=spec.max_length,
            similarity="dot" if similarity == "dot" else "cosine",
            dimension=weights.dimension if weights is not None else None,
            width=None,
            trained_widths=tuple(spec.matryoshka),
        )

    def _warn_of_model(
        self, name: str, spec: Dense, weights: Weights | None, prompts: tuple[str, str]
    ) -> None:
        known = known_prompts(spec.model)
        if known is not None and prompts == ("", "") and spec.prompts == Prompts():
            self.warnings.append(
                f"candidate '{name}': models of this name were trained with prompts (query "
                f"{known.query!r}, document {known.document!r}), and none is declared or given. "
                'Set prompts = { query = …, document = … }, to "" if there are none.'
            )
        if weights is not None:
            self.warnings += [f"candidate '{name}': {each}" for each in weights.doubts]
            self.warnings += [f"candidate '{name}': {each}" for each in unapplied(weights, spec)]
        if weights is not None and weights.layout == "transformer":
            self.warnings.append(
                f"candidate '{name}': '{spec.model}' has no modules.json, so its files declare no "
                "pooling and no prompts; sentence-transformers takes the mean of the tokens. Give "
                "the folder that sentence-transformers saved if it was trained otherwise."
            )
        if spec.max_length is not None and weights is not None and weights.is_static:
            self.warnings.append(
                f"candidate '{name}': '{spec.model}' is static and reads every text whole; "
                "max_length changes nothing. Remove it."
            )
        declared = weights.similarity if weights is not None else None
        if declared and spec.similarity and declared != spec.similarity:
            self.warnings.append(
                f"candidate '{name}': the model declares the similarity '{declared}', the suite "
                f"says '{spec.similarity}'. Remove similarity unless you mean it."
            )

    def _from_training(self, name: str, spec: Finetune) -> DenseModel:
        parent = self.models[spec.parent]
        if parent.model is None:
            raise TypeError(f"{spec.parent} has no weights")
        recipe = spec.finetune
        data = self.recipes.examples(name, recipe, searcher=spec.parent)
        dev = self.sources.read([recipe.dev]) if recipe.dev is not None else None
        guide = self.models[recipe.guide].model if recipe.guide is not None else None
        refuse_loss(recipe, data, parent=_known(parent.model), guide=_known(guide))
        if dev is not None:
            refuse_dev(str(recipe.dev), dev)
            self._warn_of_dev(name, recipe, dev, data.data)
        if len(data) < recipe.batch_size:
            raise HarnessError(
                f"finetune: {_quoted(recipe.data)} has {len(data)} {data.shape}, fewer than "
                f"one batch of {recipe.batch_size}. Lower batch_size or add data.",
                exit_code=ExitCode.DATA,
            )
        wide = [
            width
            for width in spec.finetune.matryoshka
            if parent.dimension is not None and width > parent.dimension
        ]
        if wide:
            raise HarnessError(
                f"finetune: matryoshka widths {wide} exceed the {parent.dimension} dimensions of "
                f"'{spec.parent}'. Give at most {parent.dimension}.",
                exit_code=ExitCode.USAGE,
            )
        train = Train(
            name=name,
            parent=parent.model,
            spec=spec.finetune,
            data=data,
            prompts=parent.prompts,
            max_length=parent.max_length,
            seed=self._seeds[name],
            dev=dev,
            guide=guide,
        )
        return replace(
            parent, owner=name, model=train, trained_widths=tuple(spec.finetune.matryoshka)
        )

    def _warn_of_dev(
        self, name: str, recipe: FinetuneSpec, dev: TrainingData, data: TrainingData
    ) -> None:
        again = shared_rows(dev, data)
        if again:
            self.warnings.append(
                f"candidate '{name}': {again:,} of {len(dev):,} rows of dev '{recipe.dev}' are "
                f"trained on, too, which flatters late checkpoints. Take them out of one."
            )

    def _waiting(self, name: str, spec: Finetune) -> DenseModel:
        """Return a candidate whose training is planned when its data are there."""
        widths = tuple(spec.finetune.matryoshka)
        return replace(
            self.models[spec.parent], owner=name, model=Given(None), trained_widths=widths
        )

    def _between(self, name: str, spec: Interpolate) -> DenseModel:
        tuned = self.models[spec.parent]
        before = self.models[self._suite.candidates[spec.parent].parents[0]]
        if tuned.model is None or before.model is None:
            raise TypeError(f"{spec.parent} has no weights")
        mixed = Interpolation(name, before.model, tuned.model, spec.interpolate)
        return replace(tuned, owner=name, model=mixed)

    def _width_problems(self, name: str, spec: Candidate) -> Iterator[str]:
        dense = self.models[name]
        if not isinstance(spec, Truncate):
            return
        if dense.dimension is not None and spec.truncate > dense.dimension:
            yield (
                f"truncate = {spec.truncate}: '{dense.owner}' has {dense.dimension} dimensions. "
                f"Give at most {dense.dimension}."
            )
        elif spec.truncate not in (*dense.trained_widths, dense.dimension):
            known = ", ".join(map(str, dense.trained_widths)) or "none"
            self.warnings.append(
                f"candidate '{name}': '{dense.owner}' is not known to be trained for "
                f"{spec.truncate} dimensions (Matryoshka widths: {known}). "
                "Declare them with matryoshka = [...] if it is."
            )
        if dense.similarity == "dot":
            self.warnings.append(
                f"candidate '{name}': a truncation is normalised, while '{dense.owner}' is "
                "compared by dot product; the length of its vectors is lost."
            )

    def _given_dimension(self, name: str) -> int | None:
        collection = next(iter(self._inputs.collections.values()))
        try:
            return int(open_vectors(self.given_vectors(name, collection)[0].path).shape[1])
        except HarnessError:
            return None  # told as a problem of the file

    def given_vectors(self, name: str, collection: Collection) -> tuple[GivenVectors, GivenVectors]:
        """Return documents and queries of a candidate whose vectors are given."""
        spec = self._suite.candidates[name]
        if not isinstance(spec, Vectors):
            raise TypeError(f"{name} has no vector files")
        documents, queries = spec.vectors.documents, spec.vectors.queries
        return (
            GivenVectors(
                collection_file(self._suite, documents, collection),
                collection.document_ids,
                _blank(collection.document_ids, collection.documents),
            ),
            GivenVectors(
                collection_file(self._suite, queries, collection),
                collection.query_ids,
                _blank(collection.query_ids, collection.queries),
            ),
        )


def unapplied(weights: Weights, spec: Dense) -> Iterator[str]:
    """Yield a sentence where a model declares a prompt for a side and none is put before its texts.

    sentence-transformers' `encode_document` knows the prompts "passage" and "corpus" by name, too,
    but since release 5 it finds the empty prompt "document" first, so that none is applied.
    """
    for role, given, names in (
        ("query", spec.prompts.query, set(weights.unapplied) - _DOCUMENT_NAMES),
        ("document", spec.prompts.document, set(weights.unapplied)),
    ):
        near = names & _DOCUMENT_NAMES or (names if role not in weights.prompts else set())
        if given is None and near and not weights.prompts.get(role):
            listed = ", ".join(f"{name} = {weights.unapplied[name]!r}" for name in sorted(near))
            yield (
                f"'{spec.model}' declares the prompts {listed}, and none named '{role}'; as in "
                f"sentence-transformers' encode_{role}, no prompt is put before its texts. Set "
                f'prompts = {{ {role} = "…" }}, to "" to keep it so.'
            )


def _known(model: ModelSource | None) -> Weights | None:
    """Return what is known of a model before it is trained: the weights it starts from."""
    while isinstance(model, Train):
        model = model.parent
    return model.given if isinstance(model, Given) else None


def _blank(ids: tuple[str, ...], texts: Sequence[str]) -> frozenset[str]:
    """Return the ids of empty texts."""
    return frozenset(
        identifier for identifier, text in zip(ids, texts, strict=True) if not text.strip()
    )


def _quoted(names: list[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def length_problems(weights: Weights | None, spec: Dense | RerankSpec) -> Iterator[str]:
    """Yield a sentence where more tokens are asked for than the model has positions for."""
    positions = weights.positions if weights is not None else None
    if spec.max_length is not None and positions is not None and spec.max_length > positions:
        yield (
            f"max_length = {spec.max_length}: '{spec.model}' has positions for {positions} tokens. "
            f"Give at most {positions}."
        )


def collection_file(suite: Suite, pattern: str, collection: Collection) -> Path:
    """Return the file that a path with ``{collection}`` names for a collection."""
    return suite.locate(pattern.replace("{collection}", collection.name))
