"""Suite: the question as data, its candidates, collections, metrics and baseline."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, SerializeAsAny

from harness.collection.mteb_task import SOURCE as MTEB
from harness.collection.mteb_task import task_place
from harness.collection.passages import Chunking
from harness.collection.raw import RawCollection
from harness.errors import ExitCode, HarnessError
from harness.runs.metrics import Metric, parse_metric
from harness.suite.columns import Columns
from harness.suite.gates import Gate, SliceSpec
from harness.suite.kinds.kind import CandidateSpec
from harness.suite.table import Spec
from harness.suite.toml_lines import line_of
from harness.suite.training import (
    Data,
    FinetuneSpec,
    LanguageModelSpec,
    TrainingSpec,
)
from harness.urls import path_of


class PassagesSpec(Spec):
    """``passages = {…}``: how documents are cut before they are searched.

    Attributes:
        tokens: of a passage at most, four characters each.
        overlap: tokens of the end of a passage that the next one begins with, at most.
    """

    tokens: int = Field(ge=8, le=100_000)
    overlap: int = Field(default=0, ge=0)


class CollectionSpec(Spec):
    """``[collections.<name>]``: where the texts come from and which split is scored.

    Attributes:
        source: ``beir:<folder>``, ``pairs:<file>``, ``folder:<folder>``, ``trec:<folder>``,
            ``hf:<dataset>``, ``ir_datasets:<id>``, ``mteb:<task>[/<subset>]`` or ``mteb:<module or
            file.py>:<class>``, ``python:stdlib`` or ``python:<package>``; ``frames:<name>`` where
            Python gave the texts themselves.
        questions: for a folder: the file of questions and the files that answer them.
        passages: how documents are split; None splits the files of a folder into 256 tokens with an
            overlap of 32, and nothing else. A document scores by its best passage.
        split: which judgements to score; "all" for those of every split. Where a file of pairs
            names no splits, all are scored unless a candidate learns from the collection.
        exclude_identical_ids: never return the document whose id is the query's (ArguAna, Quora).
        role: "target" is what the suite decides on. "general" is scored and reported for every
            candidate, to see what training forgets; it takes no part in decision and gates.
        judgements: a CSV of further judgements, which override those of the split.
        clusters: queries that are not independent evidence: a key of ``queries.jsonl`` or a column
            of the file of pairs, whose equal values form a cluster; or "document", for queries that
            share a relevant document.
        instruction: takes the place of ``{instruction}`` in query prompts.
        columns: of a file or dataset of pairs, and of its corpus; for TREC, "query" is the field of
            a topic.
        corpus: where the documents are, if a file of pairs names them by id: a table, a BEIR
            folder, a folder of files, or another collection of the suite. None takes the documents
            of the pairs.
    """

    source: str
    columns: Columns = Columns()
    corpus: str | None = None
    questions: str | None = None
    passages: PassagesSpec | None = None
    split: str = "test"
    exclude_identical_ids: bool = False
    role: Literal["target", "general"] = "target"
    judgements: str | None = None
    clusters: str | None = None
    instruction: str | None = Field(default=None, min_length=1)

    @property
    def cut(self) -> Chunking | None:
        """How documents are to be cut; None where that is not said."""
        said = self.passages
        return None if said is None else Chunking(said.tokens, said.overlap)


class PublishedSpec(Spec):
    """``published = {…}``: where to look for models with better scores on the same kind of task.

    Attributes:
        results: an MTEB results folder, or mteb's own cache.
        reference: the baseline's name there, such as ``sentence-transformers/all-MiniLM-L6-v2``.
        kind: of tasks, mteb's type in lower case.
        tasks: by name; empty takes all of the kind.
        languages: ISO 639-3 codes; empty takes all.
        max_parameters: largest model.
        licences: accepted ones; empty takes all.
    """

    results: str
    reference: str
    kind: Literal["retrieval", "reranking", "clustering", "sts", "pairclassification"] = "retrieval"
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
        severe_losses: share of queries that may lose 0.5 or more to a truncation.
        severe_losses_any_change: the same for every other change; None for no limit.
        wrong_labels: share of contradicted judgements from which the verdict is to fix the data.
        forgetting: mean loss that training may cause on general collections.
        forgetting_each: loss that it may cause on any one of them.
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
        candidates: to diagnose; empty takes the baseline and the recommended one, else the best
            other.
        k: a query is a hit if a relevant document is in the top k; None takes the cutoff of the
            deciding metric, and 10 for one in tokens.
        neutral: space in which clusters are searched, best of no candidate under test: a candidate
            with vectors, or a model as ``model`` names it; None for an automatic choice.
        discovery: "strict" controls the family-wise error rate, "exploratory" the false discovery
            rate.
        references: references for clusters of differences; empty takes the baseline.
        training: training data of candidates trained elsewhere, named as in a recipe.
        language_model: writes a sentence about each cluster, of which up to 20 texts are sent to
            it; None for titles alone, which are phrases of the texts.
    """

    candidates: list[str] = []
    k: int | None = Field(default=None, ge=1)
    neutral: str | None = None
    discovery: Literal["strict", "exploratory"] = "strict"
    references: list[str] = []
    training: dict[str, Data] = {}
    language_model: LanguageModelSpec | None = None


class LanguageJudgeSpec(LanguageModelSpec):
    """``language_model`` of ``[judging]``: a language model that grades pairs from 0 to 3.

    Attributes:
        max_requests: the budget over all runs; the most useful pairs come first.
        domain: what the collection is about, for the prompt.
        temperature: requested from the server; 0 for the same answer each time.
    """

    max_requests: int = Field(default=2000, ge=1)
    domain: str = ""
    temperature: float = Field(default=0.0, ge=0, le=2)


class JudgingSpec(Spec):
    """``[judging]``: the model that grades pairs beside people in `harness judge`; one of these.

    Attributes:
        candidate: a candidate that reranks with a cross-encoder, whose scores are taken.
        model: hub id, local folder or ``package:<name>`` of a cross-encoder.
        language_model: at a server.
    """

    candidate: str | None = None
    model: str | None = None
    language_model: LanguageJudgeSpec | None = None


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


class TaskSpec(Spec):
    """``[tasks.<name>]``: clustering, pair classification or semantic similarity of mteb.

    One score for each candidate that gives vectors of texts, without an interval; it decides
    nothing.

    Attributes:
        source: ``mteb:<task>[/<subset>]``, or ``mteb:<module or file.py>:<class>``.
        split: None takes "test", or the only one that mteb scores.
    """

    source: str
    split: str | None = None


class Suite(Spec):
    """The question: candidates, collections, metrics, the baseline and the seed.

    Attributes:
        name: name of the results folder.
        question: what the reader wants to decide.
        metrics: the first one decides.
        baseline: the candidate in use today.
        seed: of all random choices.
        training: training data that are not a collection.
        tasks: of mteb other than retrieval, scored by mteb's own evaluators.
        decision: what counts when `harness decide` weighs the candidates.
        budgets: what a candidate may cost at most, else `harness decide` excludes it.
        prices: what turns measured costs into money.
        slices: named subsets of the queries, for gates.
        gates: what `harness gate` asks of a candidate.
        diagnosis: what `harness diagnose` looks into.
        judging: the model that grades pairs beside people; None for people alone.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    question: str = ""
    metrics: list[str] = Field(min_length=1)
    baseline: str
    seed: int = Field(default=13, ge=0, lt=2**32)
    collections: dict[str, CollectionSpec] = Field(min_length=1)
    candidates: dict[str, SerializeAsAny[CandidateSpec]] = Field(min_length=1)
    training: dict[str, TrainingSpec] = {}
    tasks: dict[str, TaskSpec] = {}
    decision: DecisionSpec = DecisionSpec()
    budgets: Budgets = Budgets()
    prices: Prices | None = None
    slices: dict[str, SliceSpec] = {}
    gates: dict[str, Gate] = {}
    diagnosis: DiagnosisSpec = DiagnosisSpec()
    judging: JudgingSpec | None = None

    _path: Path = PrivateAttr(default=Path())
    _lines: dict[tuple[str, ...], int] = PrivateAttr(default_factory=dict)
    _said: dict[str, Any] = PrivateAttr(default_factory=dict)
    _given: dict[str, RawCollection] = PrivateAttr(default_factory=dict)
    _unjudged: bool = PrivateAttr(default=False)
    _limit: int | None = PrivateAttr(default=None)
    _asked: dict[str, frozenset[str]] = PrivateAttr(default_factory=dict)

    @property
    def limit(self) -> int | None:
        """How many queries of each split a sample has; None where all is scored."""
        return self._limit

    @property
    def unjudged(self) -> bool:
        """Whether a collection in which nothing is judged asks all of its queries."""
        return self._unjudged

    def with_unjudged(self) -> Suite:
        """Return the suite that asks all queries of a collection in which nothing is judged."""
        copy = self.model_copy()
        copy._unjudged = True
        return copy

    def limited(self, queries: int) -> Suite:
        """Return the suite on a sample, with a name of its own and without slices and gates."""
        name = f"{self.name}.limit-{queries}"
        copy = self.model_copy(update={"name": name, "slices": {}, "gates": {}})
        copy._limit = queries
        return copy

    @property
    def asked(self) -> Mapping[str, frozenset[str]]:
        """The ids of the only queries that are asked, of the collections that are not asked all."""
        return self._asked

    def asking(self, queries: Mapping[str, frozenset[str]], candidates: set[str]) -> Suite:
        """Return the suite of some candidates, which need no other, on some queries.

        Args:
            queries: the ids to ask, by collection; what is trained on others stays.
            candidates: to ask.
        """
        learned = {data.partition(":")[0] for data in self.learned_from}
        kept = {
            "collections": {
                name: each
                for name, each in self.collections.items()
                if name in queries or name in learned
            },
            "candidates": {
                name: each for name, each in self.candidates.items() if name in candidates
            },
        }
        baseline = self.baseline if self.baseline in candidates else min(candidates)
        rest = {"baseline": baseline, "diagnosis": DiagnosisSpec(), "slices": {}, "gates": {}}
        copy = self.model_copy(update={**kept, **rest})
        copy._asked = dict(queries)
        return copy

    @property
    def path(self) -> Path:
        """The file; of a suite that is built in Python the working folder, as ``Path()``."""
        return self._path

    @property
    def has_file(self) -> bool:
        """Whether a file says all of it."""
        return self._path != Path()

    @property
    def given(self) -> Mapping[str, RawCollection]:
        """The collections whose texts Python gave, by name."""
        return self._given

    def locate(self, text: str) -> Path:
        """Return where a path of the file leads; a relative one starts at the folder of the file.

        Raises:
            HarnessError: exit code 2, it exists only relative to the working folder.
        """
        said = path_of(text).expanduser()
        found = said if "://" in text else self._path.parent / said
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
        near = _exists(self._path.parent / said) or (_exists(said) and said.is_dir())
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
        if kind == MTEB and task_place(rest).code.endswith(".py"):
            file, _, task = rest.rpartition(":")
            return f"{kind}:{self.locate(file)}:{task}"
        if not rest or kind in {"python", "ir_datasets", "synthetic", "frames", MTEB}:
            return source
        if kind != "hf":
            return f"{kind}:{self.locate(rest)}"
        folder, _, subset = rest.rpartition("/")
        if folder and _exists(self._path.parent / folder / "README.md"):  # it names the subsets
            return f"hf:{self.locate(folder)}/{subset}"
        return f"hf:{self.locate_model(rest)}"

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
        """Return the collections with a role; of those that are `cut_otherwise` only the first.

        They have the same queries, and would count as often.
        """
        others = self.cut_otherwise
        return [
            name
            for name, spec in self.collections.items()
            if spec.role == role and name not in others
        ]

    @property
    def cut_otherwise(self) -> dict[str, str]:
        """The collections that differ from an earlier one in their passages alone, and that one."""
        first: dict[str, str] = {}
        found: dict[str, str] = {}
        for name, spec in self.collections.items():
            other = first.setdefault(spec.model_dump_json(exclude={"passages"}), name)
            if spec.cut != self.collections[other].cut:
                found[name] = other
        return found

    @property
    def learned_from(self) -> set[str]:
        """The names of all data that a candidate learns from, here or elsewhere."""
        recipes = [spec.recipe for spec in self.candidates.values()]
        held_out = [each.dev for each in recipes if isinstance(each, FinetuneSpec) and each.dev]
        named = [each.data for each in recipes if each is not None]
        return {*held_out, *chain.from_iterable([*named, *self.diagnosis.training.values()])}

    def where(self, *keys: str) -> str:
        """Return ``file:line`` of a key, or the suite's name where it has no file, for messages."""
        if not self.has_file:
            return f"suite '{self.name}'"
        return f"{self._path}:{line_of(self._lines, keys)}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # a name that no file can have is told where it is read


def lineage(suite: Suite, name: str) -> set[str]:
    """Return a candidate and everything that it needs: parents, parts, guides, miners, cascades."""
    found, left = {name}, [name]
    while left:
        new = set(suite.candidates[left.pop()].needs) - found
        found |= new
        left += new
    return found
