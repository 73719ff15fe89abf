"""Growing: one recipe trained on growing parts of its examples, and how each part is measured.

Contrastive entropy measures how well a model distinguishes a held-out pair's document from sampled
others. It falls with more training pairs by a power law, which ranking metrics do not (Fang et al.,
SIGIR 2024), so learning curves are fitted on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors
from harness.collection.texts import normalise
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.plan.candidates import Planner
from harness.plan.dense import DenseModel, ranked
from harness.plan.scoring import ScoreRun
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import score_pairs
from harness.retrieval.space import Space
from harness.runs.metrics import Metric
from harness.stage import Context, Stage, StoredStage, unkeyed
from harness.store import Store
from harness.training.data import TrainingData
from harness.training.finetune import Train
from harness.training.mining import Examples, by_hash

_PARTS = (8, 4, 2, 1)  # one of so many parts; each lies within the next
_MOST_HELD_OUT = 2000
_FEWEST_HELD_OUT = 50
_HELD_OUT_SHARE = 10  # one of so many rows, where no split is there for it
_NEGATIVES = 256  # sampled for each held-out pair
_SCALE = 20.0  # of cosines, as in the multiple-negatives loss
_SEED = 256  # of the sample


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Relevant pairs that no training sees, with documents of other pairs as distractors.

    Attributes:
        name: where they come from, for people.
        queries, documents: parallel texts.
    """

    name: str = field(metadata=unkeyed("for people"))
    queries: tuple[str, ...] = field(repr=False)
    documents: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.queries)

    @cached_property
    def sides(self) -> tuple[Texts, Texts]:
        """Documents and queries, to encode."""
        return Texts(self.name, self.documents), Texts(self.name, self.queries)

    @cached_property
    def negatives(self) -> npt.NDArray[np.int32]:
        """int32 [n, m] rows of other documents for each pair, m at most 256, drawn once for all.

        None reads like a document of the same query, and none stands twice for a pair.
        """
        forms = [normalise(text) for text in self.documents]
        firsts = {form: row for row, form in reversed(list(enumerate(forms)))}
        pool = np.array(sorted(firsts.values()), dtype=np.int32)
        places = {int(row): place for place, row in enumerate(pool)}
        relevant: dict[str, set[int]] = {}
        for query, form in zip(self.queries, forms, strict=True):
            relevant.setdefault(normalise(query), set()).add(places[firsts[form]])
        most = max(map(len, relevant.values()))
        count = min(_NEGATIVES, len(pool) - most)
        generator = np.random.Generator(np.random.Philox(key=_SEED))
        drawn = np.empty((len(self), max(count, 0)), dtype=np.int32)
        for row, query in enumerate(self.queries):
            order = generator.random(len(pool))
            order[list(relevant[normalise(query)])] = np.inf
            drawn[row] = pool[np.argpartition(order, count - 1)[:count]] if count > 0 else []
        return drawn

    @property
    def key(self) -> str:
        """Content key of the pairs and what is drawn for them."""
        texts = (self.sides[0].items, self.sides[1].items)
        return digest("held out", 1, *texts, self.negatives)


@dataclass(frozen=True, eq=False)
class MeasureEntropy(StoredStage):
    """Stage: the entropy of every held-out pair under one model.

    Attributes:
        name: the model, for people.
        space: the model's vectors of both sides of the held-out pairs.
        held_out: the pairs.
    """

    kind = "entropies"

    name: str = field(metadata=unkeyed("for people"))
    space: Space
    held_out: HeldOut

    @property
    def label(self) -> str:
        """What is done."""
        return f"measure the entropy of {self.name} on {self.held_out.name}"

    def also_keyed(self) -> tuple[object, ...]:
        """Return the scale of cosines."""
        return (_SCALE,)

    def run(self, context: Context) -> None:
        """Measure and store."""
        documents, queries = self.space.read(context.store)
        values = contrastive_entropy(
            queries.block(0, len(queries)),
            documents,
            self.held_out.negatives,
            scale=_SCALE if self.space.similarity == "cosine" else 1.0,
        )
        context.store.put(
            self.kind,
            self.ready_key(context.store),
            arrays={"entropy": values},
            meta={"label": self.label},
        )

    def result(self, store: Store) -> npt.NDArray[np.float64]:
        """Return the stored entropies, float64 [n_pairs]."""
        values: npt.NDArray[np.float64] = self.stored(store).array("entropy")
        return values


def contrastive_entropy(
    queries: Vectors, documents: Embeddings, negatives: npt.NDArray[np.int32], *, scale: float
) -> npt.NDArray[np.float64]:
    """Return -log of the share that each pair's own document has among itself and its negatives.

    Args:
        queries: float32 [n, dim].
        documents: n rows, each the document of the query in the same row.
        negatives: int32 [n, m] rows of `documents`.
        scale: what similarities are multiplied by.

    Returns:
        float64 [n]; log(m + 1) where nothing is distinguished, near 0 where all is.
    """
    own = np.arange(len(queries), dtype=np.int32)[:, None]
    scores = scale * score_pairs(documents, queries, np.concatenate([own, negatives], axis=1))
    highest = scores.max(axis=1)
    total = np.exp(scores - highest[:, None]).sum(axis=1)
    entropy: npt.NDArray[np.float64] = np.log(total) + highest - scores[:, 0]
    return entropy


@dataclass(frozen=True, eq=False)
class Part:
    """The recipe on one part of the examples.

    Attributes:
        pairs: trained on.
        train: the training.
        encodes: of the collections' texts, with the trained weights.
        runs: by collection.
        scored: their scorecards, by collection.
        entropy: of the held-out pairs.
    """

    pairs: int
    train: Train
    encodes: tuple[Encode, ...]
    runs: tuple[RunStage, ...]
    scored: Mapping[str, ScoreRun]
    entropy: MeasureEntropy


@dataclass(frozen=True, eq=False)
class Growing:
    """A recipe on growing parts of its examples.

    Attributes:
        candidate, parent: names.
        held_out: pairs that none of the trainings sees.
        before: the entropy of the held-out pairs under the parent.
        parts: ascending.
    """

    candidate: str
    parent: str
    held_out: HeldOut
    before: MeasureEntropy
    parts: tuple[Part, ...]

    def stages(self) -> Iterator[Stage]:
        """Yield every stage, one model after the other."""
        yield from _measuring(self.before)
        for part in self.parts:
            if part.train.data.negatives is not None:
                yield from part.train.data.negatives.inputs()
                yield part.train.data.negatives
            yield part.train
            yield from _measuring(part.entropy)
            yield from part.encodes
            yield from part.runs
            yield from (each.run_stage for each in part.scored.values())
            yield from part.scored.values()


def grow(planner: Planner, metrics: tuple[Metric, ...]) -> dict[str, Growing]:
    """Return the growing parts of every candidate whose recipe asks for a learning curve.

    Args:
        planner: with all candidates worked out.
        metrics: of the scorecards, as of every candidate's.

    Raises:
        HarnessError: all that cannot be grown, at once.
    """
    grown: dict[str, Growing] = {}
    problems: list[str] = []
    code = ExitCode.DATA
    for name in planner.replicas.names:
        spec = planner.suite.candidates[name]
        if not getattr(spec.recipe, "learning_curve", False):
            continue
        model = planner.training(name)
        if not isinstance(model, Train):
            continue  # its data are still to be asked for
        try:
            grown[name] = _grow(planner, name, model, metrics)
        except HarnessError as error:
            where = planner.suite.where("candidates", name)
            problems += [f"{where}: candidate '{name}': {text}" for text in error.problems]
            code = min(code, error.exit_code)
    if problems:
        raise HarnessError(problems, exit_code=code)
    return grown


def _grow(planner: Planner, name: str, model: Train, metrics: tuple[Metric, ...]) -> Growing:
    kept = _hold_out(planner, model.data)
    smallest, least = len(kept.examples) // _PARTS[0], model.spec.batch_size
    if smallest < least:
        raise HarnessError(
            f"learning_curve: an eighth of {len(kept.examples):,} rows is {smallest:,}, fewer than "
            f"one batch of {least}. Lower batch_size, add data, or remove learning_curve.",
            exit_code=ExitCode.DATA,
        )
    dense = planner.dense(name)
    [parent] = planner.suite.candidates[name].parents
    return Growing(
        candidate=name,
        parent=parent,
        held_out=kept.held_out,
        before=_entropy(replace(planner.dense(parent), prompts=model.prompts), kept.held_out),
        parts=tuple(
            _part(planner, dense, _trained_on(model, kept.examples, part), kept, metrics)
            for part in _PARTS
        ),
    )


def _trained_on(model: Train, examples: Examples, part: int) -> Train:
    """Return the training on one of so many parts; on all of them it is the candidate's own."""
    if part == 1 and examples is model.data:
        return model
    examples = examples if part == 1 else examples.part(1, part)
    return replace(model, name=f"{model.name}, {len(examples):,} pairs", data=examples)


class _Kept(NamedTuple):
    """What is trained on, and what is not."""

    examples: Examples
    held_out: HeldOut


def _hold_out(planner: Planner, examples: Examples) -> _Kept:
    """Return the held-out pairs: of the splits for it, or else a tenth of the rows themselves."""
    if examples.shape not in ("pairs", "triplets"):
        raise HarnessError(
            f"learning_curve is measured on pairs of query and document, got {examples.shape}. "
            "Remove learning_curve.",
            exit_code=ExitCode.USAGE,
        )
    splits = [split for origin in examples.origins for split in _dev_split(planner, origin.name)]
    if splits:
        apart = planner.sources.read(splits)
        kept = _Kept(examples, _held_out(", ".join(splits), apart, _MOST_HELD_OUT))
    else:
        order = by_hash(list(examples.known.columns["anchor"]))
        count = min(len(order) // _HELD_OUT_SHARE, _MOST_HELD_OUT)
        apart = examples.known.take(order[len(order) - count :])
        asked = set(apart.columns["anchor"])
        rows = np.flatnonzero([text not in asked for text in examples.known.columns["anchor"]])
        names = ", ".join(origin.name for origin in examples.origins)
        kept = _Kept(examples.only(rows), _held_out(f"a tenth of {names}", apart, count))
    if len(kept.held_out) < _FEWEST_HELD_OUT or not kept.held_out.negatives.shape[1]:
        raise HarnessError(
            f"learning_curve: {len(kept.held_out)} held-out pairs ({kept.held_out.name}) are too "
            f"few to measure on (minimum {_FEWEST_HELD_OUT}). Add data or remove learning_curve.",
            exit_code=ExitCode.DATA,
        )
    return kept


def _dev_split(planner: Planner, source: str) -> Iterator[str]:
    """Yield the dev split of the collection that data come from, unless something uses it."""
    collection, colon, split = source.partition(":")
    if not colon or "dev" not in planner.inputs.raw[collection].splits:
        return
    if "dev" not in (split, planner.suite.collections[collection].split):
        yield f"{collection}:dev"


def _held_out(name: str, pairs: TrainingData, most: int) -> HeldOut:
    columns = pairs.columns
    rows = np.sort(by_hash(list(columns["anchor"]))[:most])
    return HeldOut(
        name=name,
        queries=tuple(columns["anchor"][row] for row in rows),
        documents=tuple(columns["positive"][row] for row in rows),
    )


def _part(
    planner: Planner, dense: DenseModel, train: Train, kept: _Kept, metrics: tuple[Metric, ...]
) -> Part:
    trained = replace(dense, owner=train.name, model=train)
    encodes: list[Encode] = []
    runs: dict[str, RunStage] = {}
    for place in planner.suite.collections_of("target"):
        if train is dense.model:
            sides = planner.encodes(dense.owner, place)
            runs[place] = planner.run_stage(dense.owner, place)
        else:
            sides = (
                trained.encode("document", planner.texts(place, "document")),
                trained.encode("query", planner.texts(place, "query")),
            )
            collection = planner.collections[place]
            label, space = f"{train.name} on {place}", trained.space(*sides)
            depth = planner.depth_of(collection)
            runs[place] = ranked(trained, label, space, collection, depth=depth)
        encodes += sides
    return Part(
        pairs=len(train.data),
        train=train,
        encodes=tuple(encodes),
        runs=tuple(runs.values()),
        scored={
            place: ScoreRun(planner.folded(run, place), planner.judged(place), metrics)
            for place, run in runs.items()
        },
        entropy=_entropy(replace(trained, prompts=train.prompts), kept.held_out),
    )


def _entropy(dense: DenseModel, held_out: HeldOut) -> MeasureEntropy:
    documents, queries = held_out.sides
    space = dense.space(dense.encode("document", documents), dense.encode("query", queries))
    return MeasureEntropy(dense.owner, space, held_out)


def _measuring(entropy: MeasureEntropy) -> Iterator[Stage]:
    for side in (entropy.space.documents, entropy.space.queries):
        if isinstance(side, Encode):
            yield side
    yield entropy
