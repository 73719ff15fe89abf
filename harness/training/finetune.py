"""Fine-tuning: a bi-encoder trained further, and weights between it and its parent.

Both are stored as plain sentence-transformers folders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.environment import device_name, operations_per_second, today
from harness.errors import ExitCode, HarnessError
from harness.models.biencoder import load_sentence_transformer
from harness.models.source import ModelSource
from harness.models.weights import Weights
from harness.stage import Context, Work, unkeyed
from harness.store import Store
from harness.suite.training import FinetuneSpec
from harness.training.checkpoints import Checkpoints
from harness.training.data import TrainingData
from harness.training.mining import Examples
from harness.training.trainer import Job, TrainingOutcome, train
from harness.training.weights import WeightsStage, save_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_LEARNING_RATE = {"static": 1e-2, "transformer": 2e-5}
_CHECKPOINT_SECONDS = 60.0
_SHOWN = 3  # tensors named in a message


@dataclass(frozen=True, eq=False)
class Train(WeightsStage):
    """Stage: trained weights.

    Attributes:
        parent: whose weights training starts from.
        spec: the recipe.
        data: what it learns from.
        prompts: put before queries and documents, as when they are encoded.
        max_length: tokens read of each text; None takes the model's own limit.
        seed: of shuffling and dropout.
        dev: what decides when to stop and which checkpoint is kept, or None.
        guide: of the GIST loss, or None.
        checkpoint_seconds: of training that a kill may lose; or one step, if that takes longer.
    """

    parent: ModelSource
    spec: FinetuneSpec = field(
        metadata=unkeyed(
            "rows, models and the seed have fields of their own",
            *("data", "dev", "guide", "hard_negatives", "learning_curve", "leaks", "seeds"),
        )
    )
    data: Examples
    prompts: tuple[str, str]
    max_length: int | None
    seed: int
    dev: TrainingData | None = None
    guide: ModelSource | None = None
    checkpoint_seconds: float = field(
        default=_CHECKPOINT_SECONDS, metadata=unkeyed("it changes no weight")
    )

    @property
    def label(self) -> str:
        """What is done."""
        return f"fine-tune {self.name}"

    def work(self, store: Store) -> Work:
        """Return the time: forward and backward cost three times an encoding, for each epoch."""
        parent = self.parent.weights(store)
        if parent is None or parent.encoder_parameters is None:
            return Work(seconds=None)
        limit = self.max_length or parent.max_length
        texts = self.data.expected_texts()
        passes = self.spec.steps(len(self.data)) * self.spec.batch_size / max(1, len(self.data))
        if parent.is_static or limit is None:
            return Work(seconds=passes * len(texts) / 1000 + 5)
        tokens = sum(min(len(text) / 4, limit) for text in texts)
        operations = 6 * parent.encoder_parameters * tokens * passes
        return Work(seconds=operations / operations_per_second())

    def run(self, context: Context) -> None:
        """Train and store the weights; a killed training resumes from its checkpoint.

        Raises:
            HarnessError: training diverged, or the store cannot be written.
        """
        key = self.ready_key(context.store)
        checkpoints = Checkpoints(context.store, key, every_seconds=self.checkpoint_seconds)
        parent = self._existing(self.parent, context.store)
        meta: dict[str, Any] = {}
        with checkpoints.alone():
            if self.is_done(context.store):
                return  # another process trained it meanwhile
            with context.store.writing(self.kind, key, meta=meta) as folder:
                model, outcome = self._train(context, parent, checkpoints)
                save_model(model, folder)
                meta |= {  # for reports and the model card
                    "rows": min(len(self.data), outcome.steps * self.spec.batch_size),
                    "shape": self.data.shape,
                    "seed": self.seed,
                    "recipe": self.spec.model_dump(),
                    "learning_rate": self._learning_rate(parent),
                    "device": device_name(context.device),
                    "date": today(),
                    "loss": outcome.loss,
                    "steps": outcome.steps,
                    "planned_steps": outcome.planned,
                    "seconds": outcome.seconds,
                    "mean_cosine": list(outcome.cosine),
                    "dev": outcome.dev._asdict() if outcome.dev is not None else None,
                }
            checkpoints.remove()

    def _learning_rate(self, parent: Weights) -> float:
        kind = "static" if parent.is_static else "transformer"
        return self.spec.learning_rate or _LEARNING_RATE[kind]

    def _train(
        self, context: Context, parent: Weights, checkpoints: Checkpoints
    ) -> tuple[SentenceTransformer, TrainingOutcome]:
        model = load_sentence_transformer(parent, device=context.device)
        if self.max_length is not None and parent.max_length is not None:
            model.max_seq_length = self.max_length
        guide = self.guide.weights(context.store) if self.guide is not None else None
        job = Job(
            label=self.label,
            spec=self.spec,
            data=self.data.read(context.store),
            dev=self.dev,
            guide=None
            if guide is None
            else load_sentence_transformer(guide, device=context.device),
            prompts=self.prompts,
            learning_rate=self._learning_rate(parent),
            seed=self.seed,
            device=context.device,
        )
        try:
            return model, train(model, job, checkpoints=checkpoints, progress=context.progress)
        except HarnessError:
            checkpoints.remove()  # from there it would only diverge again
            raise


@dataclass(frozen=True, eq=False)
class Interpolation(WeightsStage):
    """Stage: weights on the straight line from a model to the trained model.

    Somewhere between the two often lies a model that keeps most of what training gained and of what
    the parent knew (Wortsman et al. 2022, WiSE-FT; Xiao et al. 2023, LM-Cocktail).

    Attributes:
        parent: where training started.
        tuned: where it ended; tokenizer and settings are taken from here.
        share: of the trained weights, between 0 and 1.
    """

    parent: ModelSource
    tuned: ModelSource
    share: float

    @property
    def label(self) -> str:
        """What is done."""
        return f"interpolate {self.name}"

    def run(self, context: Context) -> None:
        """Average every float tensor of the two models and store the result as a model's folder.

        Raises:
            HarnessError: the two models have tensors of different names or shapes.
        """
        key = self.ready_key(context.store)
        model, start = (
            load_sentence_transformer(self._existing(end, context.store), device="cpu")
            for end in (self.tuned, self.parent)
        )
        trained, before = model.state_dict(), start.state_dict()
        names = trained.keys() | before.keys()
        differing = sorted(
            name
            for name in names
            if getattr(trained.get(name), "shape", None) != getattr(before.get(name), "shape", None)
        )
        if differing:
            shown = ", ".join(differing[:_SHOWN]) + (", …" if len(differing) > _SHOWN else "")
            raise HarnessError(
                f"{self.label}: {len(differing)} of {len(names)} tensors differ in name or shape "
                f"between the two models ({shown}). Interpolate between weights of one "
                "architecture and one vocabulary.",
                exit_code=ExitCode.STAGE,
            )
        mixed = {
            name: tensor.lerp(before[name].to(tensor.dtype), 1 - self.share)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in trained.items()
        }
        model.load_state_dict(mixed)
        with context.store.writing(self.kind, key, meta={"share": self.share}) as folder:
            save_model(model, folder)
