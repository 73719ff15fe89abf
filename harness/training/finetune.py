"""Fine-tuning: a bi-encoder trained on pairs, stored as a plain sentence-transformers folder."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.encoding import ModelSource
from harness.environment import device_name, operations_per_second, today
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.models.biencoder import load_sentence_transformer
from harness.models.weights import Weights, read_weights
from harness.recipe import FinetuneSpec
from harness.stage import Context, StoredStage, Work
from harness.store import Store
from harness.training.examples import Examples

_LEARNING_RATE = {"static": 1e-2, "transformer": 2e-5}


@dataclass(frozen=True, eq=False)
class Train(StoredStage):
    """Stage: trained weights. As a model source it gives them once they exist.

    Attributes:
        name: the candidate, for people.
        parent: whose weights training starts from.
        spec: the recipe.
        data: what it learns from.
        prompts: put before queries and documents, as when they are encoded.
        max_length: tokens read of each text; None takes the model's own limit.
        seed: of shuffling and dropout.
    """

    kind = "weights"

    name: str
    parent: ModelSource
    spec: FinetuneSpec
    data: Examples
    prompts: tuple[str, str]
    max_length: int | None
    seed: int

    @property
    def label(self) -> str:
        """What is done."""
        return f"fine-tune {self.name}"

    def key(self, store: Store) -> str | None:
        """Key of the recipe: what training starts from, learns from, and how."""
        parent, data = self.parent.weights(store), self.data.key(store)
        if parent is None or data is None:
            return None
        left_out = {"data", "hard_negatives", "learning_curve", "leaks", "seeds"}
        recipe = self.spec.model_dump(exclude=left_out)
        return digest(
            "train", 2, parent.key, recipe, data, self.prompts, self.max_length, self.seed
        )

    def weights(self, store: Store) -> Weights | None:
        """Return the trained weights, known by their own content; None before the training."""
        artifact = self.artifact(store)
        return None if artifact is None else read_trained(self.name, artifact.path)

    def work(self, store: Store) -> Work:
        """Return the time: forward and backward cost three times an encoding, for each epoch."""
        parent = self.parent.weights(store)
        if parent is None or parent.encoder_parameters is None:
            return Work(seconds=None)
        limit = self.max_length or parent.max_length
        texts = self.data.expected_texts()
        if parent.is_static or limit is None:
            return Work(seconds=self.spec.epochs * len(texts) / 1000 + 5)
        tokens = sum(min(len(text) / 4, limit) for text in texts)
        operations = 6 * parent.encoder_parameters * tokens * self.spec.epochs
        return Work(seconds=operations / operations_per_second())

    def run(self, context: Context) -> None:
        """Train and store the weights.

        Raises:
            HarnessError: training diverged.
        """
        key = self.ready_key(context.store)
        parent = self.parent.weights(context.store)
        if parent is None:
            raise LookupError(f"{self.label}: the parent's weights do not exist yet")
        model = load_sentence_transformer(parent, device=context.device)
        if self.max_length is not None and parent.max_length is not None:
            model.max_seq_length = self.max_length
        meta: dict[str, Any] = {
            "rows": len(self.data),
            "seed": self.seed,
            "recipe": self.spec.model_dump(),
            "learning_rate": self.learning_rate(parent),
            "device": device_name(context.device),
            "date": today(),
        }
        started = time.perf_counter()
        meta["loss"] = self._train(model, parent, context)
        meta["seconds"] = time.perf_counter() - started
        with context.store.writing(self.kind, key, meta=meta) as folder:
            save_model(model, folder)

    def learning_rate(self, parent: Weights) -> float:
        """Return the learning rate: the suite's, or the usual one for this kind of model."""
        kind = "static" if parent.is_static else "transformer"
        return self.spec.learning_rate or _LEARNING_RATE[kind]

    def _train(self, model: Any, parent: Weights, context: Context) -> float:
        """Train in place and return the mean training loss."""
        from datasets import Dataset
        from sentence_transformers import (
            SentenceTransformerTrainer,
            SentenceTransformerTrainingArguments,
        )
        from sentence_transformers.sentence_transformer.training_args import BatchSamplers
        from transformers import PrinterCallback

        spec = self.spec
        query, document = self.prompts
        data = self.data.read(context.store)
        # With an example for the model card set, none are searched behind a bar of its own.
        model.model_card_data.widget = [{"text": next(iter(data.texts()))}]
        dataset = Dataset.from_dict({name: list(col) for name, col in data.columns.items()})
        prompts = {name: query if name == "anchor" else document for name in data.columns}
        steps = max(1, -(-len(data) // spec.batch_size)) * spec.epochs
        with (
            tempfile.TemporaryDirectory() as scratch,
            context.progress.task(self.label, total=steps, unit="steps") as advance,
        ):
            arguments = SentenceTransformerTrainingArguments(
                output_dir=scratch,
                num_train_epochs=spec.epochs,
                per_device_train_batch_size=spec.batch_size,
                learning_rate=self.learning_rate(parent),
                warmup_steps=spec.warmup_ratio,
                # In-batch negatives: the same text twice in a batch would be its own negative.
                batch_sampler=BatchSamplers.NO_DUPLICATES,
                prompts=prompts if query or document else None,
                bf16=context.device.startswith("cuda"),
                use_cpu=context.device == "cpu",
                seed=self.seed,
                data_seed=self.seed,
                save_strategy="no",
                logging_strategy="no",
                logging_nan_inf_filter=False,  # it would put the mean loss in the place of NaN
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            )
            trainer = SentenceTransformerTrainer(
                model=model,
                args=arguments,
                train_dataset=dataset,
                loss=_loss(model, spec),
                callbacks=[advancing(advance)],
            )
            trainer.remove_callback(PrinterCallback)
            loss = float(trainer.train().training_loss)
        if not math.isfinite(loss):
            raise HarnessError(
                f"{self.label}: training diverged, the loss is {loss}. Lower learning_rate "
                f"(now {self.learning_rate(parent):g}).",
                exit_code=ExitCode.STAGE,
            )
        return loss


@cache
def read_trained(name: str, path: Path) -> Weights:
    """Read trained weights once a process: an artifact never changes."""
    files = [str(file.relative_to(path)) for file in path.rglob("*") if file.name != "meta.json"]
    kept = [file for file in files if Path(file).suffix in {".json", ".txt", ".safetensors"}]
    return read_weights(name, path, kept)


def save_model(model: Any, folder: Path) -> None:
    """Save a model as sentence-transformers does; a full disk is an OSError."""
    from safetensors import SafetensorError

    try:
        model.save_pretrained(str(folder), create_model_card=False)
    except SafetensorError as error:
        raise OSError(str(error)) from error  # so it tells a full disk


def _loss(model: Any, spec: FinetuneSpec) -> Any:
    from sentence_transformers.sentence_transformer.losses import (
        MatryoshkaLoss,
        MultipleNegativesRankingLoss,
    )

    loss = MultipleNegativesRankingLoss(model)
    return MatryoshkaLoss(model, loss, matryoshka_dims=spec.matryoshka) if spec.matryoshka else loss


def advancing(advance: Callable[[int], None]) -> Any:
    """Return a callback of a trainer that tells the progress of each step."""
    from transformers import TrainerCallback

    class Advancing(TrainerCallback):
        """Tells the progress of each step."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """Count one step."""
            advance(1)

    logging.getLogger("transformers").setLevel(logging.ERROR)
    return Advancing()
