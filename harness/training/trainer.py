"""Trainer: one training by sentence-transformers' trainer, guarded, and resumed after a kill."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.stage import Progress
from harness.suite.training import FinetuneSpec
from harness.training import dev as dev_data
from harness.training.checkpoints import Checkpoints
from harness.training.data import TrainingData
from harness.training.dev import DevResult
from harness.training.guards import Guard
from harness.training.losses import LOSSES, build_loss, columns_for

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_LOGS = 50
_LOOKS = 10


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
        OSError: a checkpoint can not be written.
    """
    from datasets import Dataset

    columns = columns_for(job.spec.loss, job.data)
    rows = len(next(iter(columns.values())))
    planned = job.spec.steps(rows)
    # With an example for the model card set, none are searched behind a bar of its own.
    model.model_card_data.widget = [{"text": next(iter(job.data.texts()))}]
    guard = Guard(
        job.label,
        model,
        job.data,
        learning_rate=job.learning_rate,
        seed=job.seed,
        every=max(1, planned // _LOOKS),
    )
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
        for callback in (advancing(advance), checkpoints.callback(), guard.callback()):
            trainer.add_callback(callback)
        _run(trainer, None if last is None else str(last.path))
    state = trainer.state
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    after = guard.check_vectors(state.global_step)
    return TrainingOutcome(
        loss=float(np.mean(losses[-max(1, len(losses) // 10) :])),
        steps=state.global_step,
        planned=planned,
        seconds=checkpoints.seconds(),
        cosine=(guard.before, after),
        dev=None if job.dev is None else _dev_result(job.dev, job.seed, state),
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
    arguments: dict[str, Any] = {}
    if spec.max_steps == planned:
        arguments["max_steps"] = planned
    evaluator = None
    if job.dev is not None:
        measured = dev_data.dev_sample(job.dev, seed=job.seed)
        evaluator = dev_data.evaluator(measured, prompts=job.prompts)
        every = max(1, planned // spec.evaluations)
        arguments |= {
            "eval_strategy": "steps",
            "eval_steps": every,
            "save_strategy": "steps",
            "save_steps": every,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{dev_data.MEASURES[job.dev.shape].key}",
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
            prompts=_prompts(list(dataset.column_names), job.prompts, twice=twice),
            bf16=job.device.startswith("cuda"),
            use_cpu=job.device == "cpu",
            seed=job.seed,
            data_seed=job.seed,
            save_total_limit=2,
            logging_steps=max(1, planned // _LOGS),
            logging_nan_inf_filter=False,  # it would put the mean loss in the place of NaN
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **{"save_strategy": "no", **arguments},
        ),
        train_dataset=dataset,
        evaluator=evaluator,
        loss=build_loss(model, spec, job.guide),
        callbacks=[EarlyStoppingCallback(spec.patience)] if job.dev is not None else [],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _run(trainer: Any, checkpoint: str | None) -> None:
    """Run the trainer; a checkpoint that can not be written is told as the system's error."""
    from safetensors import SafetensorError

    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    except RuntimeError as error:
        if "PytorchStreamWriter" not in str(error):
            raise
        raise OSError(str(error)) from error


def _prompts(columns: list[str], prompts: tuple[str, str], *, twice: bool) -> dict[str, str] | None:
    """Return the prompt of each column, or None where there is none at all."""
    texts = [name for name in columns if name != "label"]
    by_column = {
        name: prompts[0 if place == 0 and not twice else 1] for place, name in enumerate(texts)
    }
    return by_column if any(prompts) else None


def _dev_result(data: TrainingData, seed: int, state: Any) -> DevResult:
    measure = dev_data.MEASURES[data.shape]
    key = f"eval_{measure.key}"
    values = {entry["step"]: float(entry[key]) for entry in state.log_history if key in entry}
    return DevResult(
        measure=measure.name,
        n=len(dev_data.dev_sample(data, seed=seed)),
        before=values[0],
        best=float(state.best_metric),
        best_step=int(state.best_global_step),
        values=sorted(values.items()),
    )


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


def advancing(advance: Callable[[int], None]) -> Any:
    """Return a callback of a trainer that tells the progress of each step."""
    from transformers import TrainerCallback

    class Advancing(TrainerCallback):
        """Tells the progress of each step."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            advance(1)

    return Advancing()
