"""Suite: the question as data, its candidates, collections, metrics and baseline."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from harness.errors import ExitCode, HarnessError
from harness.runs.metrics import Metric, parse_metric
from harness.suite.table import Dtype, Spec, Widths
from harness.suite.toml_lines import line_of
from harness.suite.training import (
    Data,
    FinetuneSpec,
    RerankerFinetuneSpec,
    TrainingSpec,
)

Similarity = Literal["cosine", "dot"]
# Those of Snowball's stemmers; not all have stop words.
Language = Literal[
    "english",
    "none",
    "bigrams",
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
]


class CollectionSpec(Spec):
    """``[collections.<name>]``: where the texts come from and which split is scored.

    Attributes:
        source: ``beir:<folder>``, ``pairs:<file>``, ``python:stdlib`` or ``python:<package>``.
        split: which judgements to score; "all" for those of every split. Where a file of pairs
            names no splits, all are scored unless a candidate learns from the collection.
        exclude_identical_ids: never return the document whose id is the query's (ArguAna, Quora).
        role: "target" is what the suite decides on. "general" is scored and reported for every
            candidate, to see what training forgets; it takes no part in decision and gates.
        judgements: a CSV of more judgements of the split, which come before its own.
        clusters: queries that belong together and are no independent evidence: a key of
            ``queries.jsonl`` or a column of the file of pairs, whose equal values make a cluster;
            or "document", for queries that have a relevant document in common.
    """

    source: str
    split: str = "test"
    exclude_identical_ids: bool = False
    role: Literal["target", "general"] = "target"
    judgements: str | None = None
    clusters: str | None = None


class Prompts(Spec):
    """Text put before every query and every document; None takes what the model declares."""

    query: str | None = None
    document: str | None = None


class VectorFiles(Spec):
    """Two ``.npy`` files [n, dim]; ``x.ids.txt`` beside ``x.npy`` holds one id a line."""

    documents: str
    queries: str


class RerankSpec(Spec):
    """What scores the first stage's top documents again: a cross-encoder, or a candidate.

    Attributes:
        model: hub id, local folder or ``package:<name>`` of a cross-encoder.
        candidate: name of a candidate whose stored vectors are used instead (a cascade).
        depth: how many of the first stage's documents are scored again.
        revision, dtype, max_length: of the cross-encoder.
        finetune: how the cross-encoder is trained first; it may then be any transformer.
    """

    model: str | None = None
    candidate: str | None = None
    depth: int = Field(default=100, ge=1, le=2048)
    revision: str | None = None
    dtype: Dtype = "float32"
    max_length: int | None = Field(default=None, ge=8)
    finetune: RerankerFinetuneSpec | None = None


class Root(Spec):
    """A candidate that is derived from no other. Each kind has its `word`."""

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the candidates that this one is derived from."""
        return ()


class Bm25(Root):
    """``kind = "bm25"``: the lexical root.

    Attributes:
        k1, b: as in Lucene.
        language: chooses stemmer and stop words; "none" takes the words as they are. "bigrams" cuts
            scripts that write no spaces between words (Chinese, Japanese, Thai, …), and Korean,
            into pairs of characters, and takes all other words as they are.
    """

    word: ClassVar[str] = "bm25"

    kind: Literal["bm25"]
    k1: float = Field(default=1.5, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)
    language: Language = "english"

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"BM25, k1 {self.k1:g}, b {self.b:g}"


class Dense(Root):
    """``model = …``: a bi-encoder that sentence-transformers loads; static embeddings too.

    Attributes:
        model: hub id, local folder, or ``package:<name>[/<folder>]``.
        revision: of a hub id; a commit pins it.
        prompts: None takes what the model declares.
        similarity: None takes what the model declares, else cosine.
        max_length: tokens; None takes the model's own.
        dtype: of the weights while encoding.
        matryoshka: widths that the model was trained for.
    """

    word: ClassVar[str] = "dense"

    model: str
    revision: str | None = None
    prompts: Prompts = Prompts()
    similarity: Similarity | None = None
    max_length: int | None = Field(default=None, ge=8)
    dtype: Dtype = "float32"
    matryoshka: Widths = []

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return self.model


class RunFile(Root):
    """``run = "file"``: what any other system returned; ``{collection}`` stands for the name.

    Attributes:
        run: the file.
        scores: "similarity", larger is better; "distance", smaller is better; "ranks", the rank
            column decides. None takes similarities, and refuses ranks that contradict them.
    """

    word: ClassVar[str] = "run"

    run: str
    scores: Literal["similarity", "distance", "ranks"] | None = None

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"run from {self.run}"


class Vectors(Root):
    """``vectors = {…}``: embeddings made elsewhere; ``{collection}`` stands for the name."""

    word: ClassVar[str] = "vectors"

    vectors: VectorFiles
    similarity: Similarity = "cosine"
    matryoshka: Widths = []

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"vectors from {self.vectors.documents}"


class Derived(Spec):
    """A candidate that changes one thing of its parent."""

    parent: str = Field(alias="from")

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the candidates that this one is derived from."""
        return (self.parent,)


class Truncate(Derived):
    """``truncate = d``: the first d dimensions of the parent's vectors, then normalised."""

    word: ClassVar[str] = "truncate"

    truncate: int = Field(ge=1)

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"first {self.truncate} dimensions"


class Rerank(Derived):
    """``rerank = {…}``: the parent's top documents, ordered by another model's scores."""

    word: ClassVar[str] = "rerank"

    rerank: RerankSpec

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        how = self.rerank
        trained = f", trained on {', '.join(how.finetune.data)}" if how.finetune else ""
        return f"top {how.depth} reranked by {how.model or how.candidate}{trained}"


class Finetune(Derived):
    """``finetune = {…}``: the parent's weights, trained further."""

    word: ClassVar[str] = "finetune"

    finetune: FinetuneSpec

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        how = self.finetune
        widths = f", Matryoshka {how.matryoshka}" if how.matryoshka else ""
        seeds = f", mean of {how.seeds} seeds" if how.seeds > 1 else ""
        mined = f", {how.hard_negatives.per_query} hard negatives" if how.hard_negatives else ""
        data = ", ".join(how.data)
        steps = f", at most {how.max_steps} steps" if how.max_steps else ""
        return f"{how.loss} on {data}{mined}, {how.epochs} epochs{steps}{widths}{seeds}"


class Interpolate(Derived):
    """``interpolate = a``: a times the weights of a trained parent, the rest of what it was before.

    Attributes:
        interpolate: share of the trained weights.
    """

    word: ClassVar[str] = "interpolate"

    interpolate: float = Field(gt=0, lt=1)

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"{self.interpolate:g} of the trained weights, {1 - self.interpolate:g} of before"


class Fuse(Spec):
    """``fuse = [a, b]``: one ranking out of several.

    Attributes:
        fuse: names of at least two candidates.
        method: reciprocal rank fusion, or the weighted sum of min-max normalised scores.
        weights: of the weighted sum, one per candidate; None weighs all alike.
        k: of reciprocal rank fusion; 60 as in Cormack et al. 2009.
    """

    word: ClassVar[str] = "fuse"

    fuse: list[str] = Field(min_length=2)
    method: Literal["rrf", "wsum"] = "rrf"
    weights: list[float] | None = None
    k: int = Field(default=60, ge=1, le=1_000_000)

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the candidates that this one is derived from."""
        return tuple(self.fuse)

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        how = "reciprocal rank fusion" if self.method == "rrf" else "weighted sum"
        return f"{how} of {', '.join(self.fuse)}"


Candidate = Bm25 | Dense | RunFile | Vectors | Truncate | Rerank | Finetune | Interpolate | Fuse


class PublishedSpec(Spec):
    """``published = {…}``: where to look for models that do better on the same kind of task.

    Attributes:
        results: an MTEB results folder, or mteb's own cache.
        reference: the baseline's name there, such as ``sentence-transformers/all-MiniLM-L6-v2``.
        kind: of tasks.
        tasks: by name; empty takes all of the kind.
        languages: ISO 639-3 codes; empty takes all.
        max_parameters: largest model.
        licences: accepted ones; empty takes all.
    """

    results: str
    reference: str
    kind: Literal["retrieval", "reranking", "clustering"] = "retrieval"
    tasks: list[str] = []
    languages: list[str] = []
    max_parameters: int | None = Field(default=None, ge=1)
    licences: list[str] = []


class DecisionSpec(Spec):
    """``[decision]``: what counts, in points of the deciding metric.

    Attributes:
        gain: smallest gain that is worth a change.
        margin: loss that does not matter.
        confidence: probability from which a change is recommended.
        lean: probability from which a change is suggested, not recommended.
        severe_losses: share of queries that may lose half a point or more to a truncation.
        severe_losses_any_change: the same for every other change, such as a switch; None for no
            limit.
        wrong_labels: share of contradicted judgements from which the data come first.
        forgetting: loss that training may cost on general collections, in the mean.
        forgetting_each: loss that it may cost on any one of them.
        published: where to look for other models, or None.
    """

    gain: float = Field(default=0.01, gt=0, lt=1)
    margin: float = Field(default=0.01, gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    lean: float = Field(default=0.9, gt=0.5, lt=1)
    severe_losses: float = Field(default=0.02, gt=0, lt=1)
    severe_losses_any_change: float | None = Field(default=None, gt=0, lt=1)
    wrong_labels: float = Field(default=0.15, gt=0, lt=1)
    forgetting: float = Field(default=0.02, gt=0, lt=1)
    forgetting_each: float = Field(default=0.05, gt=0, lt=1)
    published: PublishedSpec | None = None


class DiagnosisSpec(Spec):
    """``[diagnosis]``: whose failures `harness diagnose` explains, and how.

    Attributes:
        candidates: to diagnose; empty takes the baseline and the best of the others.
        k: a query is a hit where a relevant document is within the first k; None takes the cutoff
            of the deciding metric, and 10 for one in tokens.
        neutral: the space that clusters are looked for in, which no candidate under test should
            own: a candidate with vectors, or a model as ``model`` names it; None chooses.
        discovery: "strict" keeps the chance of any false cluster, "exploratory" the share of them.
        references: what candidates are subtracted from to find clusters of differences; empty takes
            the baseline.
        training: what a candidate was trained on elsewhere, named as in a recipe; what the suite
            trains is known.
    """

    candidates: list[str] = []
    k: int | None = Field(default=None, ge=1)
    neutral: str | None = None
    discovery: Literal["strict", "exploratory"] = "strict"
    references: list[str] = []
    training: dict[str, Data] = {}


class Budgets(Spec):
    """``[budgets]``: what a candidate may cost at most; None for no limit."""

    query_ms_p95: float | None = Field(default=None, gt=0)
    bytes_per_document: float | None = Field(default=None, gt=0)
    parameters: int | None = Field(default=None, ge=1)
    training_minutes: float | None = Field(default=None, gt=0)
    money_per_month: float | None = Field(default=None, gt=0)


class Prices(Spec):
    """``[prices]``: what turns measured costs into money.

    Attributes:
        currency: for people.
        device_hour: price of an hour of the device that the costs were measured on.
        gb_month: price of a gigabyte of index for a month.
        documents: size of the corpus in production.
        queries_per_month: load in production.
    """

    currency: str = "USD"
    device_hour: float = Field(gt=0)
    gb_month: float = Field(ge=0)
    documents: int = Field(ge=1)
    queries_per_month: int = Field(ge=0)


class SliceSpec(Spec):
    """``[slices.<name>]``: queries of one collection that are looked at by themselves.

    One of the three says which queries.

    Attributes:
        collection: whose queries.
        queries: their ids.
        file: a file with one id a line.
        matching: a regular expression that is found in the query's text.
    """

    collection: str
    queries: list[str] | None = Field(default=None, min_length=1)
    file: str | None = None
    matching: str | None = None


class GateSpec(Spec):
    """What every ``[gates.<name>]`` has.

    Attributes:
        candidate: None takes the suite's baseline, the pipeline in use, as it is now.
        collection: None takes each.
        level: "error" blocks, "warn" tells, "off" is not evaluated.
        on_inconclusive: what follows where the queries are too few to tell.
    """

    candidate: str | None = None
    collection: str | None = None
    level: Literal["error", "warn", "off"] = "error"
    on_inconclusive: Literal["warn", "fail"] = "warn"


class SampledGate(GateSpec):
    """A gate on the mean of a metric over a sample of queries.

    Attributes:
        metric: None takes the one that decides.
        slice: name of a slice, or None for all queries.
        min_queries: with fewer nothing is gated.
    """

    metric: str | None = None
    slice: str | None = None
    min_queries: int = Field(default=50, ge=2)


class NoWorse(SampledGate):
    """``rule = "no_worse"``: at most the margin is lost against the stored baseline.

    Attributes:
        margin: loss that is accepted; None takes 0.01, and 0.03 on a slice.
    """

    rule: Literal["no_worse"]
    margin: float | None = Field(default=None, gt=0, lt=1)

    @property
    def accepted_loss(self) -> float:
        """The margin, or its default."""
        return self.margin or (0.03 if self.slice else 0.01)


class Better(SampledGate):
    """``rule = "better"``: more than `gain` is gained over the stored baseline."""

    rule: Literal["better"]
    gain: float = Field(default=0.0, ge=0, lt=1)


class AtLeast(SampledGate):
    """``rule = "at_least"``: the candidate's own mean is `value` or more."""

    rule: Literal["at_least"]
    value: float = Field(gt=0, le=1)


class AtMost(GateSpec):
    """``rule = "at_most"``: a measured cost is `value` or less."""

    rule: Literal["at_most"]
    cost: Literal["query_ms_p95", "bytes_per_document", "parameters", "training_minutes"]
    value: float = Field(ge=0)


class MustPass(GateSpec):
    """``rule = "must_pass"``: these queries find a relevant document within the first `k`.

    Attributes:
        queries: their ids, or
        file: a file with one id a line.
    """

    rule: Literal["must_pass"]
    queries: list[str] | None = Field(default=None, min_length=1)
    file: str | None = None
    k: int = Field(default=10, ge=1)


Gate = NoWorse | Better | AtLeast | AtMost | MustPass


class Suite(Spec):
    """The question: candidates, collections, metrics, the baseline and the seed.

    Attributes:
        name: names the folder of the results.
        question: what the reader wants to decide.
        metrics: the first one decides.
        baseline: the candidate that is in use today.
        seed: of everything that draws.
        training: data to train on that are no collection.
        decision, budgets, prices: what counts when `harness decide` weighs the candidates.
        slices, gates: what `harness gate` asks of a candidate.
        diagnosis: what `harness diagnose` looks into.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    question: str = ""
    metrics: list[str] = Field(min_length=1)
    baseline: str
    seed: int = Field(default=13, ge=0, lt=2**32)
    collections: dict[str, CollectionSpec] = Field(min_length=1)
    candidates: dict[str, Candidate] = Field(min_length=1)
    training: dict[str, TrainingSpec] = {}
    decision: DecisionSpec = DecisionSpec()
    budgets: Budgets = Budgets()
    prices: Prices | None = None
    slices: dict[str, SliceSpec] = {}
    gates: dict[str, Gate] = {}
    diagnosis: DiagnosisSpec = DiagnosisSpec()

    _path: Path = PrivateAttr(default=Path())
    _lines: dict[tuple[str, ...], int] = PrivateAttr(default_factory=dict)
    _said: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def locate(self, text: str) -> Path:
        """Return where a path of the file leads; a relative one starts at the folder of the file.

        Raises:
            HarnessError: exit code 2, it exists only relative to the working folder.
        """
        said = Path(text).expanduser()
        found = self._path.parent / said
        if not said.is_absolute() and not _exists(found) and _exists(said):
            raise HarnessError(
                f"'{text}': nothing at '{found.absolute()}', but at '{said.absolute()}'. Paths are "
                "relative to the folder of the suite file: write "
                f"'{Path(os.path.relpath(said, self._path.parent)).as_posix()}'.",
                exit_code=ExitCode.USAGE,
            )
        return found

    def locate_model(self, reference: str) -> str:
        """Return a model's reference; a local folder is located, hub ids and packages stay.

        Raises:
            HarnessError: as of `locate`.
        """
        said = Path(reference).expanduser()
        near = _exists(self._path.parent / said) or said.is_dir()
        is_local = near or reference.startswith((".", "/", "~"))
        if reference.startswith("package:") or not is_local:
            return reference
        return str(self.locate(reference))

    def locate_source(self, source: str) -> str:
        """Return a source of texts whose file or folder is located.

        Raises:
            HarnessError: as of `locate`.
        """
        kind, _, rest = source.partition(":")
        if not rest or kind in {"python", "synthetic"}:
            return source
        return f"{kind}:{self.locate_model(rest) if kind == 'hf' else self.locate(rest)}"

    @property
    def said(self) -> dict[str, Any]:
        """The file as parsed: what the user said, apart from the defaults."""
        return self._said

    def parsed_metrics(self) -> tuple[Metric, ...]:
        """Return the metrics as values, each once, in the order of the file."""
        return tuple(dict.fromkeys(parse_metric(text) for text in self.metrics))

    @property
    def deciding_metric(self) -> Metric:
        """The first metric of the file."""
        return parse_metric(self.metrics[0])

    @property
    def hit_rank(self) -> int:
        """The rank down to which a relevant document makes a query a hit."""
        metric = self.deciding_metric
        return self.diagnosis.k or (10 if metric.in_tokens else metric.cutoff)

    def collections_of(self, role: Literal["target", "general"]) -> list[str]:
        """Return the collections with a role."""
        return [name for name, spec in self.collections.items() if spec.role == role]

    @property
    def learned_from(self) -> set[str]:
        """The names of all data that a candidate learns from, here or elsewhere."""
        recipes = [recipe_of(spec) for spec in self.candidates.values()]
        held_out = [each.dev for each in recipes if isinstance(each, FinetuneSpec) and each.dev]
        named = [each.data for each in recipes if each is not None]
        return {*held_out, *chain.from_iterable([*named, *self.diagnosis.training.values()])}

    def where(self, *keys: str) -> str:
        """Return ``file:line`` of a key, for messages."""
        return f"{self._path}:{line_of(self._lines, keys)}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # a name that no file can have is told where it is read


def has_vectors(spec: Candidate) -> bool:
    """Tell whether a candidate retrieves with vectors, so that it can be truncated."""
    return isinstance(spec, Dense | Vectors | Finetune | Interpolate | Truncate)


def needs(spec: Candidate) -> tuple[str, ...]:
    """Return the candidates that must be worked out before this one."""
    cascade = spec.rerank.candidate if isinstance(spec, Rerank) else None
    recipe = recipe_of(spec)
    mined = recipe.hard_negatives if recipe is not None else None
    guide = spec.finetune.guide if isinstance(spec, Finetune) else None
    others = (cascade, guide, mined.candidate if mined is not None else None)
    return tuple(dict.fromkeys((*spec.parents, *filter(None, others))))


def lineage(suite: Suite, name: str) -> set[str]:
    """Return a candidate and everything that it needs: parents, parts, guides, miners, cascades."""
    found, left = {name}, [name]
    while left:
        new = set(needs(suite.candidates[left.pop()])) - found
        found |= new
        left += new
    return found


def recipe_of(spec: Candidate) -> FinetuneSpec | RerankerFinetuneSpec | None:
    """Return how a model of the candidate is trained, or None."""
    match spec:
        case Finetune():
            return spec.finetune
        case Rerank():
            return spec.rerank.finetune
    return None


def can_search(spec: Candidate) -> bool:
    """Tell whether a candidate finds documents for any query by itself, by words or by vectors."""
    return isinstance(spec, Bm25) or (has_vectors(spec) and not isinstance(spec, Vectors))
