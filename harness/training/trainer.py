"""Trainer: one training by sentence-transformers' trainer, guarded, and resumed after a kill."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.errors import ExitCode, HarnessError
from harness.stage import Progress
from harness.suite.training import FinetuneSpec
from harness.training.checkpoints import Checkpoints
from harness.training.data import Shape, TrainingData
from harness.training.losses import LOSSES, build_loss, columns_for

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_LOGS = 50
_LOOKS = 10
_SAMPLED = 64
_COLLAPSED = 0.99
_MOST_DEV_ROWS = 1000
_DEV_BATCH = 32

# What dev data of each shape measure: its name for people, and sentence-transformers' key of it.
_MEASURES: Mapping[Shape, tuple[str, str]] = {
    "pairs": ("ndcg@10", "cosine_ndcg@10"),
    "triplets": ("ndcg@10", "cosine_ndcg@10"),
    "labelled": ("average precision", "cosine_ap"),
    "scored": ("Spearman correlation", "spearman_cosine"),
}


@dataclass(frozen=True)
class Job:
    """What one training is given.

    Attributes:
        label: for people.
        spec: the recipe.
        data: what is learned from.
        dev: what decides when to stop and which checkpoint is kept, or None.
        guide: a loaded model for the GIST loss, or None.
        prompts: put before queries and documents. Of two sentences the first is like a query, and
            a text alone is like a document.
        learning_rate: at its highest.
        seed: of shuffling and dropout.
        device: torch's name.
    """

    label: str
    spec: FinetuneSpec
    data: TrainingData
    dev: TrainingData | None
    guide: SentenceTransformer | None
    prompts: tuple[str, str]
    learning_rate: float
    seed: int
    device: str


class DevResult(NamedTuple):
    """How a training did on its dev data.

    Attributes:
        measure: what was measured.
        n: rows.
        before: value of the parent.
        best: value of the checkpoint that was kept.
        best_step: its step.
        values: (step, value), in order.
    """

    measure: str
    n: int
    before: float
    best: float
    best_step: int
    values: list[tuple[int, float]]


class TrainingOutcome(NamedTuple):
    """What a training gave, besides the weights.

    Attributes:
        loss: mean over the last tenth of the steps.
        steps: that were trained; fewer than planned where dev stopped it.
        planned: steps of all epochs.
        seconds: of all of it, those before a kill included.
        cosine: mean cosine of random texts, before and after.
        dev: what dev data said, or None.
    """

    loss: float
    steps: int
    planned: int
    seconds: float
    cosine: tuple[float, float]
    dev: DevResult | None


def train(
    model: SentenceTransformer, job: Job, *, checkpoints: Checkpoints, progress: Progress
) -> TrainingOutcome:
    """Train a model in place.

    Goes on from the last checkpoint if there is one; the weights are those of a training that was
    never interrupted.

    Raises:
        HarnessError: exit code 4, training diverged or the vectors collapsed.
        OSError: a checkpoint cannot be written.
    """
    from datasets import Dataset

    columns = columns_for(job.spec.loss, job.data)
    rows = len(next(iter(columns.values())))
    planned = job.spec.steps(rows)
    # With an example for the model card set, none are searched behind a bar of its own.
    model.model_card_data.widget = [{"text": next(iter(job.data.texts()))}]
    guard = _Guard(job, model, every=max(1, planned // _LOOKS))
    last = checkpoints.last()
    checkpoints.start(last)
    with progress.task(job.label, total=planned, unit="steps") as advance:
        if last is not None:
            advance(last.step)
        trainer = _trainer(
            model,
            job,
            Dataset.from_dict(columns),
            checkpoints,
            planned=planned,
            resumed=last is not None,
        )
        trainer.add_callback(watching(advance, checkpoints, guard))
        _run(trainer, None if last is None else str(last.path))
    state = trainer.state
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    after = guard.check_vectors(state.global_step)
    dev = None
    if job.dev is not None:
        name, measured = _MEASURES[job.dev.shape]
        key = f"eval_{measured}"
        values = {entry["step"]: float(entry[key]) for entry in state.log_history if key in entry}
        dev = DevResult(
            measure=name,
            n=min(len(job.dev), _MOST_DEV_ROWS),
            before=values[0],
            best=float(state.best_metric),
            best_step=int(state.best_global_step),
            values=sorted(values.items()),
        )
    return TrainingOutcome(
        loss=float(np.mean(losses[-max(1, len(losses) // 10) :])),
        steps=state.global_step,
        planned=planned,
        seconds=checkpoints.seconds(),
        cosine=(guard.before, after),
        dev=dev,
    )


def _trainer(
    model: SentenceTransformer,
    job: Job,
    dataset: Any,
    checkpoints: Checkpoints,
    *,
    planned: int,
    resumed: bool,
) -> Any:
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers
    from transformers import EarlyStoppingCallback, PrinterCallback

    logging.getLogger("transformers").setLevel(logging.ERROR)
    spec = job.spec
    twice = spec.loss == "simcse"  # where every text is there twice, and only there
    apart = LOSSES[spec.loss].in_batch and not twice
    texts = [name for name in dataset.column_names if name != "label"]
    prompts = {
        name: job.prompts[0 if place == 0 and not twice else 1] for place, name in enumerate(texts)
    }
    arguments = usual_arguments(job.device, job.seed)
    if spec.max_steps == planned:
        arguments["max_steps"] = planned
    evaluator = None
    if job.dev is not None:
        evaluator = dev_evaluator(dev_sample(job.dev, seed=job.seed), prompts=job.prompts)
        every = max(1, planned // spec.evaluations)
        arguments |= {
            "eval_strategy": "steps",
            "eval_steps": every,
            "save_strategy": "steps",
            "save_steps": every,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{_MEASURES[job.dev.shape][1]}",
            "greater_is_better": True,
            # A resumed training has measured its start before.
            "eval_on_start": not resumed,
            "restore_callback_states_from_checkpoint": True,
        }
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(checkpoints.folder),
            num_train_epochs=spec.epochs,
            per_device_train_batch_size=spec.batch_size,
            learning_rate=job.learning_rate,
            warmup_steps=spec.warmup_ratio,
            # In-batch negatives: the same text twice in a batch would be its own negative.
            batch_sampler=BatchSamplers.NO_DUPLICATES if apart else _shuffled,
            prompts=prompts if any(job.prompts) else None,
            save_total_limit=2,
            logging_steps=max(1, planned // _LOGS),
            **arguments,
        ),
        train_dataset=dataset,
        evaluator=evaluator,
        loss=build_loss(model, spec, job.guide),
        callbacks=[EarlyStoppingCallback(spec.patience)] if job.dev is not None else [],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def usual_arguments(device: str, seed: int) -> dict[str, Any]:
    """Return what every trainer is given: quiet, seeded, without checkpoints."""
    return {
        "bf16": device.startswith("cuda"),
        "use_cpu": device == "cpu",
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "no",
        "logging_nan_inf_filter": False,  # it would put the mean loss in the place of NaN
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def _run(trainer: Any, checkpoint: str | None) -> None:
    """Run the trainer; a checkpoint that cannot be written raises the system's error."""
    from safetensors import SafetensorError

    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    except RuntimeError as error:
        if "PytorchStreamWriter" not in str(error):
            raise
        raise OSError(str(error)) from error


def _shuffled(dataset: Any, **options: Any) -> Any:
    """Return a sampler of whole shuffled epochs, the same ones when training is resumed.

    sentence-transformers' own draws each epoch from where the last one ended, which a resumed
    training does not know.
    """
    import torch
    from sentence_transformers.base.sampler import DefaultBatchSampler

    class Shuffled(DefaultBatchSampler):
        """Batches of an order that the seed and the epoch decide."""

        def __iter__(self) -> Any:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(dataset), generator=generator).tolist()
            for start in range(0, len(order), self.batch_size):
                yield order[start : start + self.batch_size]

    return Shuffled(dataset, **options)


def watching(
    advance: Callable[[int], None],
    checkpoints: Checkpoints | None = None,
    guard: _Guard | None = None,
) -> Any:
    """Return a trainer's callback that tells its progress, saves in time and asks the guard."""
    from transformers import TrainerCallback

    class Watching(TrainerCallback):
        """After each step, at each logged loss, and once a checkpoint is written."""

        def on_step_end(self, *event: Any, **_: Any) -> None:
            advance(1)
            if checkpoints is not None and checkpoints.is_due():
                event[2].should_save = True
            if guard is not None and event[1].global_step % guard.every == 0:
                guard.check_vectors(event[1].global_step)

        def on_save(self, *event: Any, **_: Any) -> None:
            if checkpoints is not None:
                checkpoints.seal(event[1].global_step)

        def on_log(self, *event: Any, **told: Any) -> None:
            if guard is not None and "loss" in told["logs"]:
                guard.check_loss(told["logs"]["loss"], event[1].global_step)

    return Watching()


class _Guard:
    """Stops a training with a clear message when the loss is no number or all vectors are one.

    Attributes:
        every: steps between two looks at the vectors.
        before: mean cosine of random pairs of texts as the parent encodes them.
    """

    def __init__(self, job: Job, model: SentenceTransformer, *, every: int) -> None:
        texts = np.array(list(dict.fromkeys(job.data.texts())), dtype=object)
        draw = np.random.default_rng(job.seed)
        chosen = draw.choice(len(texts), min(_SAMPLED, len(texts)), replace=False)
        self._texts: list[str] = texts[np.sort(chosen)].tolist()
        self._label = job.label
        self._model = model
        self._fix = f"Lower learning_rate (now {job.learning_rate:g})."
        self.every = every
        self.before = self._mean_cosine()

    def _mean_cosine(self) -> float:
        """Return the mean cosine of two texts of the sample; NaN where a vector is no number."""
        vectors = self._model.encode(
            self._texts, prompt="", normalize_embeddings=True, show_progress_bar=False
        ).astype(np.float64)
        n = len(vectors)
        return float(((vectors.sum(axis=0) ** 2).sum() - n) / max(1, n * (n - 1)))

    def check_vectors(self, step: int) -> float:
        """Return the mean cosine.

        Raises:
            HarnessError: exit code 4, vectors are no numbers or have collapsed to one.
        """
        now = self._mean_cosine()
        if not math.isfinite(now):
            self._stop(f"training diverged by step {step}, vectors are not finite. {self._fix}")
        if now > max(_COLLAPSED, (1 + self.before) / 2):
            self._stop(
                f"embeddings collapsed by step {step}: random texts have a mean cosine of "
                f"{now:.3f}, {self.before:.3f} before training. {self._fix} Or check that the data "
                "hold negatives."
            )
        return now

    def check_loss(self, loss: float, step: int) -> None:
        """Raise if the loss is no number.

        Raises:
            HarnessError: exit code 4.
        """
        if not math.isfinite(loss):
            self._stop(f"training diverged by step {step}, the loss is {loss}. {self._fix}")

    def _stop(self, what: str) -> None:
        raise HarnessError(f"{self._label}: {what}", exit_code=ExitCode.STAGE)


def refuse_dev(name: str, data: TrainingData) -> None:
    """Raise if nothing can be measured on such data.

    Raises:
        HarnessError: exit code 2.
    """
    if data.shape not in _MEASURES:
        raise HarnessError(
            f"finetune: dev: '{name}' has {data.shape}, which has no measure. Name "
            f"{' or '.join(_MEASURES)}.",
            exit_code=ExitCode.USAGE,
        )


def dev_sample(data: TrainingData, *, seed: int) -> TrainingData:
    """Return at most 1,000 rows, drawn evenly."""
    if len(data) <= _MOST_DEV_ROWS:
        return data
    rows = np.random.default_rng(seed).choice(len(data), _MOST_DEV_ROWS, replace=False)
    return data.take(np.sort(rows))


def dev_evaluator(data: TrainingData, *, prompts: tuple[str, str]) -> Any:
    """Return sentence-transformers' evaluator of dev data.

    Queries of pairs are searched in all documents of the data, negatives included.
    """
    from sentence_transformers.sentence_transformer.evaluation import (
        BinaryClassificationEvaluator,
        EmbeddingSimilarityEvaluator,
        InformationRetrievalEvaluator,
    )

    usual: dict[str, Any] = {"batch_size": _DEV_BATCH, "write_csv": False}
    if data.labels is None:
        asked, own, *_ = columns = list(data.columns.values())
        ids = (  # equal texts are one
            {text: f"q{row}" for row, text in enumerate(dict.fromkeys(asked))},
            {text: f"d{row}" for row, text in enumerate(dict.fromkeys(chain(*columns[1:])))},
        )
        texts: list[dict[str, Any]] = [{key: text for text, key in side.items()} for side in ids]
        relevant: dict[str, set[str]] = {}
        for query, document in zip(asked, own, strict=True):
            relevant.setdefault(ids[0][query], set()).add(ids[1][document])
        return InformationRetrievalEvaluator(
            texts[0],
            texts[1],
            relevant,
            query_prompt=prompts[0],
            corpus_prompt=prompts[1],
            **usual,
        )
    first, second = (
        [prompt + text for text in texts]
        for prompt, texts in zip(prompts, data.columns.values(), strict=True)
    )
    labels = data.labels.tolist()
    if data.shape == "labelled":
        usual["similarity_fn_names"] = ["cosine"]
        return BinaryClassificationEvaluator(first, second, list(map(int, labels)), **usual)
    return EmbeddingSimilarityEvaluator(first, second, labels, main_similarity="cosine", **usual)
