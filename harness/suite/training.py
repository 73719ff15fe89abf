"""Recipe: how a candidate's weights are trained and from which texts, as the suite says it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from harness.errors import did_you_mean, no_such
from harness.suite.columns import TableColumns
from harness.suite.table import Spec, Widths

_DEEPEST = 1000

Layout = Literal[
    "pairs", "triplets", "scored", "labelled", "nli", "sts", "clicks", "paraphrases", "texts"
]


Loss = Literal[
    "multiple-negatives",
    "cached-multiple-negatives",
    "symmetric-multiple-negatives",
    "gist",
    "contrastive",
    "triplet",
    "cosent",
    "angle",
    "simcse",
]

# The losses that read these keys; no other may give them.
_READ_BY: Mapping[str, tuple[Loss, ...]] = {
    "guide": ("gist",),
    "mini_batch_size": ("cached-multiple-negatives",),
    "margin": ("contrastive", "triplet"),
    "scale": (
        *("multiple-negatives", "cached-multiple-negatives", "symmetric-multiple-negatives"),
        *("gist", "cosent", "angle", "simcse"),
    ),
}


class TrainingSpec(Spec):
    """``[training.<name>]``: training texts that are not a collection.

    Attributes:
        source: ``<layout>:<file.csv, .tsv, .parquet, .jsonl or .txt>``, or ``hf:<dataset id>`` for
            a Hugging Face dataset, ``hf:<dataset id>/<subset>`` for a part of it, or
            ``synthetic:<collection>`` for queries that a language model writes to its passages.
        layout: of a Hugging Face dataset; None infers it from the column names.
        split: keeps rows with this value in the column ``split``; of a Hugging Face dataset,
            "train" if None.
        columns: the file's column for each of our names, as in a collection; or the column names of
            a table without a header line, in order.
        licence: of the texts, for the model card.
        synthetic: the texts were written by a model.
        min_clicks: of a click log: pairs with fewer clicks are dropped.
        generate: of a synthetic source: the language model and its budget.
    """

    source: str
    layout: Layout | None = None
    split: str | None = None
    columns: TableColumns = []
    licence: str = ""
    synthetic: bool = False
    min_clicks: int | None = Field(default=None, ge=1)
    generate: GenerateSpec | None = None

    @property
    def header(self) -> list[str]:
        """The names of the columns of a table without a header line."""
        return self.columns if isinstance(self.columns, list) else []

    @property
    def said(self) -> dict[str, str]:
        """Which column holds what, by our name of it."""
        return self.columns if isinstance(self.columns, dict) else {}

    @property
    def passages_of(self) -> str | None:
        """The collection whose passages a language model is asked about, or None."""
        kind, _, collection = self.source.partition(":")
        return collection if kind == "synthetic" else None


# Each `<collection>:<split>` or the name of a training table; one may stand without brackets.
Data = Annotated[
    list[str],
    Field(min_length=1),
    BeforeValidator(
        lambda said: [said] if isinstance(said, str) else said,
        json_schema_input_type=str | list[str],
    ),
]


OnLeaks = Literal["refuse", "drop", "allow"]


class FilterSpec(Spec):
    """``filter = {…}``: a cross-encoder that checks hard negatives.

    Attributes:
        model: hub id, local folder or ``package:<name>`` of a cross-encoder.
        revision: of the cross-encoder on a hub; a commit pins it.
        max_length: tokens of a query and a document together; None takes the cross-encoder's own.
        ceiling: a negative's probability may be at most this share of the relevant document's.
    """

    model: str
    revision: str | None = None
    max_length: int | None = Field(default=None, ge=8)
    ceiling: float = Field(default=0.95, gt=0)


class HardNegativesSpec(Spec):
    """``hard_negatives = {…}``: irrelevant documents that a search ranks near the relevant one.

    Attributes:
        candidate: that finds them, by words or by vectors; None takes the parent.
        per_query: how many per pair. If the rules leave fewer, random documents fill the rest.
        range: ranks from which they are taken, first and last, from 1.
        ceiling: share of the relevant document's score that a negative may have at most.
        margin: by how much a negative must score below the relevant document.
        filter: a cross-encoder that checks them, or None.
    """

    candidate: str | None = None
    per_query: int = Field(default=4, ge=1, le=100)
    range: Annotated[list[int], Field(min_length=2, max_length=2)] = [10, 100]
    ceiling: float = Field(default=0.95, gt=0)
    margin: float = Field(default=0.0, ge=0)
    filter: FilterSpec | None = None


# A number alone is how many for each pair.
HardNegatives = Annotated[
    HardNegativesSpec,
    BeforeValidator(
        lambda said: (
            {"per_query": said} if isinstance(said, int) and not isinstance(said, bool) else said
        ),
        json_schema_input_type=int | HardNegativesSpec,
    ),
]


class RerankerFinetuneSpec(Spec):
    """``rerank = { finetune = {…} }``: how a cross-encoder is trained, by binary cross-entropy.

    Attributes:
        data: as of a bi-encoder; pairs, triplets, or two texts with a label or score from 0 to 1.
        hard_negatives: for pairs; None takes the defaults, since without negatives every pair is
            relevant.
        epochs: passes over the data.
        batch_size: pairs of texts in a batch.
        learning_rate: the highest, after the warm-up.
        warmup_ratio: share of the steps over which the learning rate rises.
        max_steps: batches at most, which is what bounds the time on a CPU; None for no limit.
        leaks: what to do with data that leak a scored query, as of a bi-encoder.
        seeds: how often it is trained, as of a bi-encoder.
    """

    data: Data
    hard_negatives: HardNegatives | None = None
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    max_steps: int | None = Field(default=None, ge=1)
    leaks: OnLeaks = "refuse"
    seeds: int = Field(default=1, ge=1, le=20)


class FinetuneSpec(Spec):
    """How the parent's weights are trained.

    Attributes:
        data: ``<collection>:<split>``, the relevant pairs of a declared collection, or the name of
            a ``[training.<name>]`` table; or a list of them.
        hard_negatives: mined for pairs; None takes in-batch negatives alone.
        learning_curve: train on an eighth, a quarter and half of the data too, to forecast what
            more would bring.
        loss: by the field's name.
        matryoshka: widths of a Matryoshka loss around it; empty trains the full width only.
        guide: candidate whose vectors show the GIST loss which in-batch negatives are false.
        scale: inverse temperature of the similarities; None takes 20, and 100 for GIST.
        margin: cosine distance that negatives are pushed to; None takes 0.5.
        mini_batch_size: rows in memory at once, for the cached loss.
        epochs: passes over the data.
        batch_size: rows in a batch.
        learning_rate: the highest, after the warm-up; None takes 2e-5 for a transformer and 1e-2
            for static embeddings.
        warmup_ratio: share of the steps over which the learning rate rises.
        max_steps: batches at most, which is what bounds the time on a CPU; None for no limit.
        leaks: if the data leak a scored query: refuse to train, drop those rows, or allow them and
            mark the candidate.
        seeds: how often the recipe is trained; scores are the mean over the trainings.
        dev: like `data`; training stops when it no longer improves, and the checkpoint that did
            best on it is kept. None trains to the end.
        evaluations: how many times it is measured during training.
        patience: measurements without a gain after which training stops.
    """

    data: Data
    hard_negatives: HardNegatives | None = None
    learning_curve: bool = False
    loss: Loss = "multiple-negatives"
    matryoshka: Widths = []
    guide: str | None = None
    scale: float | None = Field(default=None, gt=0)
    margin: float | None = Field(default=None, gt=0, le=2)
    mini_batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float | None = Field(default=None, gt=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    max_steps: int | None = Field(default=None, ge=1)
    leaks: OnLeaks = "refuse"
    seeds: int = Field(default=1, ge=1, le=20)
    dev: str | None = None
    evaluations: int = Field(default=10, ge=1)
    patience: int = Field(default=3, ge=1)

    def steps(self, rows: int) -> int:
        """Return how many batches of so many rows are learned from, at most."""
        every = self.epochs * -(-rows // self.batch_size)
        return every if self.max_steps is None else min(every, self.max_steps)


def key_problems(spec: FinetuneSpec) -> Iterator[str]:
    """Yield a sentence for every key that the recipe gives and its loss does not read."""
    for key, losses in _READ_BY.items():
        if key in spec.model_fields_set and spec.loss not in losses:
            known = " or ".join(f"'{loss}'" for loss in losses)
            yield f"'{key}' belongs to loss {known}, got '{spec.loss}'. Remove it."
    if spec.loss == "gist" and spec.guide is None:
        yield "loss 'gist' needs a guide. Name a candidate: guide = \"…\"."
    if spec.learning_curve and spec.max_steps is not None:
        yield (
            "'learning_curve' trains on growing parts of the data, each to its end, but "
            "'max_steps' stops early. Remove one."
        )
    if spec.dev is None:
        for key in ("evaluations", "patience"):
            if key in spec.model_fields_set:
                yield f"'{key}' belongs to 'dev', which is absent. Add dev or remove it."
    elif spec.dev in spec.data:
        yield f"dev: '{spec.dev}' is also trained on. Use other data for early stopping."


def negatives_problems(
    spec: HardNegativesSpec | None, *, default: str, searchable: Mapping[str, bool]
) -> Iterator[str]:
    """Yield what is wrong with how negatives are mined.

    Args:
        spec: what the recipe says of them.
        default: the candidate that searches if none is named.
        searchable: of every candidate, whether it searches by words or vectors.
    """
    if spec is None:
        return
    first, last = spec.range
    if not 1 <= first <= last or last > _DEEPEST:
        yield (
            f"hard_negatives: range = {spec.range} is not a range of ranks. Give first and last, "
            f"from 1 to {_DEEPEST} at most."
        )
    elif last - first + 1 < spec.per_query:
        yield (
            f"hard_negatives: {last - first + 1} ranks in range = {spec.range} for per_query = "
            f"{spec.per_query}. Widen the range or lower per_query."
        )
    name = spec.candidate or default
    if name not in searchable:
        yield f"hard_negatives: {no_such('candidate', name, searchable)}"
    elif not searchable[name]:
        yield (
            f"hard_negatives: '{name}' does not search by itself. Name a candidate with kind = "
            '"bm25" or with a model: candidate = "…".'
        )


def name_problems(
    key: str,
    data: list[str],
    *,
    collections: Mapping[str, tuple[Any, Any]],
    training: Mapping[str, Any],
) -> Iterator[str]:
    """Yield what is wrong with names of data.

    Args:
        key: where they stand, to begin a message with.
        data: the names.
        collections: the source and the split that is scored of each collection, by its name.
        training: the tables of other training data, by name.
    """
    for name in data:
        collection, colon, split = name.partition(":")
        if not colon and name in training:
            continue
        if not colon and name in collections:
            yield (f"{key}: '{name}' is a collection without a split. Write '{name}:train'.")
        elif not colon:
            hint = did_you_mean(name, [*training, *(f"{each}:train" for each in collections)])
            yield f"{key}: no table [training.{name}].{hint}"
        elif collection not in collections:
            yield f"{key}: {no_such('collection', collection, collections)}"
        elif split == "":
            yield f"{key}: '{name}' names no split. Write '{collection}:train'."
        else:
            source = collections[collection][0]
            for other, scored in collections.items():
                if scored in {(source, split), (source, "all")}:
                    yield (
                        f"{key}: '{name}' is the split that '{other}' is scored on. "
                        "Use another split."
                    )
    if len(set(data)) < len(data):
        yield f"{key}: the same data are listed twice, got {data}. List each once."


def generate_problems(
    spec: TrainingSpec, *, collections: Mapping[str, Any], finders: Mapping[str, bool]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with a table of synthetic queries, each as (path of keys, message).

    Args:
        spec: the table.
        collections: of the suite.
        finders: of each candidate, whether it can search for new queries before any training.
    """
    source, generate = spec.passages_of, spec.generate
    if source is None and generate is not None:
        message = f"'generate' is for a source 'synthetic:<collection>', got '{spec.source}'."
        yield ("generate",), f"{message} Remove one."
    if source is None:
        return
    if source not in collections:
        yield ("source",), no_such("collection", source, collections)
    for key in sorted({"layout", "split", "columns", "min_clicks"} & spec.model_fields_set):
        yield (key,), f"'{key}' is for data that are read, not for synthetic queries. Remove it."
    if generate is None:
        yield (), "'generate' is missing. Name the language model and the number of passages."
        return
    for key, message in server_problems(generate):
        yield ("generate", key), message
    finder = generate.round_trip.candidate if generate.round_trip is not None else None
    at = ("generate", "round_trip")
    if finder is not None and finder not in finders:
        yield at, no_such("candidate", finder, finders)
    elif finder is not None and not finders[finder]:
        message = f"'{finder}' cannot search for new queries before training."
        yield at, f"{message} Name a candidate with 'model', a truncation of one, or BM25."


class RoundTripSpec(Spec):
    """Which synthetic queries are kept: those for which a candidate finds their passage.

    Attributes:
        candidate: by BM25 or with a model's vectors.
        k: the passage must be in the top k.
    """

    candidate: str
    k: int = Field(default=10, ge=1, le=1000)


class LanguageModelSpec(Spec):
    """``language_model = {…}``: the model that writes about each cluster, and its budget.

    Attributes:
        provider: whose protocol the server speaks; any OpenAI-compatible server is "openai".
        model: as the server names it.
        base_url: of the server; None takes the provider's own.
        key_variable: environment variable that holds the key; None takes ANTHROPIC_API_KEY or
            OPENAI_API_KEY, and none at all with a `base_url`.
        answer_tokens: limit of one answer.
        max_requests, max_tokens: budget over all runs, counting what was answered; None for no
            limit.
        price: in USD per million tokens, answers included; None for an unknown price.
        concurrency: requests at a time.
        timeout_seconds: of one request.
    """

    provider: Literal["anthropic", "openai"]
    model: str = Field(min_length=1)
    base_url: str | None = None
    key_variable: str | None = None
    answer_tokens: int = Field(default=1024, ge=64)
    max_requests: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    price: float | None = Field(default=None, ge=0)
    concurrency: int = Field(default=4, ge=1, le=64)
    timeout_seconds: float = Field(default=60.0, gt=0)

    def usd(self, tokens: int) -> float:
        """Return what so many tokens cost; 0 where no price is known."""
        return tokens * (self.price or 0.0) / 1_000_000


class GenerateSpec(LanguageModelSpec):
    """``generate`` of a source ``synthetic:<collection>``: which language model writes the queries.

    Attributes:
        domain: what the collection is about, for the prompt.
        passages: how many, chosen by a hash of their text; a larger number includes those of a
            smaller one.
        per_passage: queries per passage.
        round_trip: keeps only queries whose passage a candidate finds; None keeps all.
        log: a file of real queries, one a line or in a column, that the synthetic ones are compared
            with: length, share of questions, vocabulary.
    """

    domain: str = ""
    passages: int = Field(ge=1)
    per_passage: int = Field(default=3, ge=1, le=10)
    round_trip: RoundTripSpec | None = None
    log: str | None = None


class HasServer(Protocol):
    """A table that names a server."""

    @property
    def base_url(self) -> str | None:
        """Its address."""

    @property
    def key_variable(self) -> str | None:
        """The environment variable that holds its key."""


def server_problems(spec: HasServer) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for what may not be; what may hold a key is never repeated."""
    if spec.key_variable is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", spec.key_variable):
        message = "'key_variable' is the name of an environment variable, such as MY_API_KEY, got"
        yield "key_variable", f"{message} something else. A suite never holds a key."
    if spec.base_url is None:
        return
    address = urlsplit(spec.base_url)
    if address.scheme not in {"http", "https"} or not address.hostname:
        yield "base_url", "'base_url' is the http or https address of a server, got something else."
    elif address.username is not None:
        yield "base_url", "'base_url' holds a user's name. Use key_variable for what is secret."
