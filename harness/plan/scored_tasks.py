"""Scored tasks: clustering, pair classification and similarity, by mteb's own evaluators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from harness.arrays import Vectors
from harness.collection.mteb_task import SOURCE, ScoredTask, score_task, scored_task
from harness.errors import ExitCode, HarnessError, usage_error
from harness.models import Side
from harness.plan.candidates import Planner
from harness.plan.dense import DenseModel
from harness.providers.embedding import Embedder
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.space import Space
from harness.stage import Context, StoredStage, Work, keyed_by, unkeyed
from harness.store import Store

ScoredTasks = dict[tuple[str, str], "ScoreTask"]  # by candidate and task


@dataclass(frozen=True, eq=False)
class ScoreTask(StoredStage):
    """Stage: the main score of a candidate in a task, which mteb computes from its vectors.

    As in mteb, texts have the prompt of no side: a model with instructions reads the task's before
    each, all others read the text alone.

    Attributes:
        name: of the candidate, for people.
        task: of mteb.
        model: how the candidate makes vectors.
    """

    kind = "task-scores"

    name: str = field(metadata=unkeyed("for people"))
    task: ScoredTask
    model: DenseModel = field(metadata=keyed_by("_spaces"))

    @property
    def label(self) -> str:
        """What is done."""
        return f"score {self.task.name} with {self.name}"

    @cached_property
    def _spaces(self) -> tuple[Space, ...]:
        """The spaces of no texts, which stand for the model, its prompts, width and codes."""
        return tuple(self._space(side, ())[1] for side in (None, "query", "document"))

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return that it is not known: the texts are read at run time."""
        return Work(seconds=None)

    def run(self, context: Context) -> None:
        """Encode what the task asks for, and let mteb score it."""
        encoder = _Encoder(self, context)
        key = self.ready_key(context.store)
        meta = {"label": self.label, "score": score_task(self.task, encoder)}
        context.store.put(self.kind, key, arrays={}, meta=meta)

    def result(self, store: Store) -> float:
        """Return the stored score."""
        return float(self.stored(store).meta["score"])

    def vectors(self, context: Context, side: Side | None, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, float32 [n, width], encoding those that are not stored.

        Args:
            context: store and device.
            side: None for texts that are neither queries nor documents.
            texts: to encode.
        """
        encode, space = self._space(side, texts)
        if not encode.is_done(context.store):
            encode.run(context)
        found, _ = space.read(context.store)
        return found.block(0, len(found))

    def _space(self, side: Side | None, texts: Sequence[str]) -> tuple[Encode, Space]:
        model, items = self.model, Texts(self.task.name, texts, self.task.instruction or None)
        if side is None and not model.is_instructed:
            model = replace(model, prompts=("", ""))
        encode = model.encode(side or ("query" if model.is_instructed else "document"), items)
        # mteb compares the vectors as a model gives them; those of a truncation are normalised.
        return encode, replace(model.space(encode, encode), similarity="dot")


class _Encoder:
    """A candidate by mteb's `EncoderProtocol`."""

    mteb_model_meta = None

    def __init__(self, stage: ScoreTask, context: Context) -> None:
        self._stage = stage
        self._context = context

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> Vectors:
        """Return the vectors of the texts of a data loader."""
        texts = [text for batch in inputs for text in batch["text"]]
        side: Side | None = None
        if prompt_type is not None:
            side = "query" if prompt_type.value == "query" else "document"
        return self._stage.vectors(self._context, side, texts)

    def similarity(self, one: Any, two: Any) -> Any:
        """Return the similarity of each of one with each of the others."""
        from mteb.similarity_functions import cos_sim, dot_score

        return (dot_score if self._stage.model.similarity == "dot" else cos_sim)(one, two)

    def similarity_pairwise(self, one: Any, two: Any) -> Any:
        """Return the similarity of each of one with its partner."""
        from mteb.similarity_functions import pairwise_cos_sim, pairwise_dot_score

        by_dot = self._stage.model.similarity == "dot"
        return (pairwise_dot_score if by_dot else pairwise_cos_sim)(one, two)


def scored_tasks(planner: Planner) -> ScoredTasks:
    """Return the stages of all tasks; what gives no vectors of texts is left out, with a warning.

    Raises:
        HarnessError: exit code 2, all tasks that do not exist or are no task of this kind.
    """
    suite = planner.suite
    found: dict[str, ScoredTask] = {}
    problems: list[str] = []
    for name, spec in suite.tasks.items():
        source = suite.locate_source(spec.source)
        kind, _, rest = source.partition(":")
        try:
            if kind != SOURCE or not rest:
                raise usage_error(f"source {source!r} is not a task. Write mteb:<task>[/<subset>].")
            found[name] = scored_task(rest, spec.split)
        except HarnessError as error:
            problems += [f"{suite.where('tasks', name)}: {text}" for text in error.problems]
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    able = dict(_encoders(planner))
    left = [f"'{name}'" for name in planner.replicas.names if name not in able]
    if found and left:
        planner.warnings.append(
            f"[tasks]: no score for {', '.join(left)}: mteb compares vectors of texts that a model "
            "encodes here."
        )
    return {
        (name, task): ScoreTask(name, facts, model)
        for task, facts in found.items()
        for name, model in able.items()
    }


def _encoders(planner: Planner) -> Iterator[tuple[str, DenseModel]]:
    """Yield the candidates that encode any text as one vector, at no price."""
    for name in planner.replicas.names:
        model = planner.models.get(name)
        if not isinstance(model, DenseModel) or model.model is None or model.is_asymmetric:
            continue
        if not isinstance(model.model, Embedder):
            yield name, model
