"""Training a cross-encoder: relevant pairs against mined negatives, by binary cross-entropy."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.environment import device_name, operations_per_second, today
from harness.errors import ExitCode, HarnessError
from harness.models.crossencoder import load_cross_encoder
from harness.models.source import ModelSource
from harness.stage import Context, Work, unkeyed
from harness.store import Store
from harness.suite.training import RerankerFinetuneSpec
from harness.training.data import TrainingData
from harness.training.mining import Examples
from harness.training.trainer import usual_arguments, watching
from harness.training.weights import WeightsStage, save_model


@dataclass(frozen=True, eq=False)
class TrainReranker(WeightsStage):
    """Stage: a trained cross-encoder.

    A cross-encoder is trained further; of any other transformer the encoder is taken, with a new
    head of one output.

    Attributes:
        base: whose weights training starts from.
        spec: the recipe.
        examples: what it learns from.
        max_length: tokens of query and document together, as when it is run; None takes the
            model's own limit.
        seed: of the head, of shuffling and of dropout.
    """

    base: ModelSource
    spec: RerankerFinetuneSpec = field(
        metadata=unkeyed(
            "rows and the seed have fields of their own",
            *("data", "hard_negatives", "leaks", "seeds"),
        )
    )
    examples: Examples
    max_length: int | None
    seed: int

    @property
    def label(self) -> str:
        """What is done."""
        return f"train the reranker of {self.name}"

    @property
    def steps(self) -> int:
        """How many batches it learns from."""
        every = self.spec.epochs * -(-self._rows // self.spec.batch_size)
        return every if self.spec.max_steps is None else min(every, self.spec.max_steps)

    @property
    def _rows(self) -> int:
        negatives = self.examples.negatives
        mined = 0 if negatives is None else negatives.spec.per_query
        return len(self.examples) * (1 + mined + self.examples.data.negatives)

    def work(self, store: Store) -> Work:
        """Return the time: forward and backward cost three times a scoring."""
        base = self.base.weights(store)
        if base is None or base.encoder_parameters is None:
            return Work(seconds=None)
        texts = self.examples.expected_texts()
        usual = 2 * sum(map(len, texts)) / max(len(texts), 1) / 4
        read = min(usual, self.max_length or base.max_length or usual)
        tokens = self.steps * self.spec.batch_size * read
        return Work(seconds=6 * base.encoder_parameters * tokens / operations_per_second())

    def run(self, context: Context) -> None:
        """Train and store the weights.

        Raises:
            HarnessError: training diverged.
        """
        from transformers import set_seed

        key = self.ready_key(context.store)
        base = self._existing(self.base, context.store)
        rows = labelled(self.examples.read(context.store))
        meta: dict[str, Any] = {
            "rows": min(len(rows.labels), self.steps * self.spec.batch_size),
            "steps": self.steps,
            "seed": self.seed,
            "recipe": self.spec.model_dump(),
            "device": device_name(context.device),
            "date": today(),
        }
        started = time.perf_counter()
        set_seed(self.seed)  # a new head is drawn as the model is loaded
        model = load_cross_encoder(
            base, device=context.device, max_length=self.max_length, new_head=True
        )
        restore_segments(model)
        meta["loss"] = self._train(model, rows, context)
        meta["seconds"] = time.perf_counter() - started
        with context.store.writing(self.kind, key, meta=meta) as folder:
            save_model(model, folder)

    def _train(self, model: Any, rows: Labelled, context: Context) -> float:
        """Train in place and return the mean training loss."""
        import torch
        from datasets import Dataset
        from sentence_transformers.cross_encoder import (
            CrossEncoderTrainer,
            CrossEncoderTrainingArguments,
        )
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
        from transformers import PrinterCallback

        dataset = Dataset.from_dict(
            {"query": rows.queries, "document": rows.documents, "label": rows.labels.tolist()}
        )
        with (
            tempfile.TemporaryDirectory() as scratch,
            context.progress.task(self.label, total=self.steps, unit="steps") as advance,
        ):
            arguments = CrossEncoderTrainingArguments(
                output_dir=scratch,
                num_train_epochs=self.spec.epochs,
                max_steps=self.steps,
                per_device_train_batch_size=self.spec.batch_size,
                learning_rate=self.spec.learning_rate,
                warmup_steps=self.spec.warmup_ratio,
                logging_strategy="no",
                **usual_arguments(context.device, self.seed),
            )
            # All relevant pairs together weigh as much as the others.
            n, relevant = len(rows.labels), float(rows.labels.sum())
            weight = (n - relevant) / relevant if 0 < relevant < n else 1.0
            trainer = CrossEncoderTrainer(
                model=model,
                args=arguments,
                train_dataset=dataset,
                loss=BinaryCrossEntropyLoss(
                    model, pos_weight=torch.tensor(weight, device=model.device)
                ),
                callbacks=[watching(advance)],
            )
            trainer.remove_callback(PrinterCallback)
            loss = float(trainer.train().training_loss)
        if not math.isfinite(loss):
            raise HarnessError(
                f"{self.label}: training diverged, the loss is {loss}. Lower learning_rate "
                f"(now {self.spec.learning_rate:g}).",
                exit_code=ExitCode.STAGE,
            )
        return loss


class Labelled(NamedTuple):
    """Pairs of texts, with the probability that they belong together.

    Attributes:
        queries, documents: parallel texts.
        labels: float64 [n], from 0 to 1.
    """

    queries: list[str]
    documents: list[str]
    labels: npt.NDArray[np.float64]


def labelled(data: TrainingData) -> Labelled:
    """Return training data as pairs of texts with labels.

    A pair with its negatives becomes a row with label 1 and a row with label 0 for each negative;
    rows that have labels or scores from 0 to 1 stay as they are.
    """
    first, *others = (list(column) for column in data.columns.values())
    if data.labels is not None:
        return Labelled(first, others[0], data.labels)
    return Labelled(
        queries=first * len(others),
        documents=[text for column in others for text in column],
        labels=np.repeat([1.0] + [0.0] * (len(others) - 1), len(first)),
    )


def restore_segments(model: Any) -> None:
    """Let the tokenizer tell query from document where the model has embeddings for it.

    A tokenizer that was saved without ``token_type_ids`` among its inputs drops them without a
    word, and every token then counts as the query's.
    """
    names = model.tokenizer.model_input_names
    segments = getattr(model.config, "type_vocab_size", 0) or 0
    if segments > 1 and "token_type_ids" not in names:
        model.tokenizer.model_input_names = [names[0], "token_type_ids", *names[1:]]
