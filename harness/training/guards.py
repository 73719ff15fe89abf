"""Guards: training stops with a clear message when the loss is no number or all vectors are one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import ExitCode, HarnessError
from harness.training.data import TrainingData

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_SAMPLED = 64
_COLLAPSED = 0.99


class Guard:
    """Watches one training.

    Args:
        label: of the training, for messages.
        model: that is trained.
        data: what it learns from; a sample of its texts is encoded now and then.
        learning_rate: for messages.
        seed: of the sample.
        every: steps between two looks at the vectors.

    Attributes:
        before: mean cosine of random pairs of texts as the parent encodes them.
    """

    def __init__(
        self,
        label: str,
        model: SentenceTransformer,
        data: TrainingData,
        *,
        learning_rate: float,
        seed: int,
        every: int,
    ) -> None:
        texts = np.array(list(dict.fromkeys(data.texts())), dtype=object)
        draw = np.random.default_rng(seed)
        chosen = draw.choice(len(texts), min(_SAMPLED, len(texts)), replace=False)
        self._texts: list[str] = texts[np.sort(chosen)].tolist()
        self._label = label
        self._model = model
        self._fix = f"Lower learning_rate (now {learning_rate:g})."
        self._every = every
        self.before = self.mean_cosine()

    def mean_cosine(self) -> float:
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
        now = self.mean_cosine()
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

    def callback(self) -> Any:
        """Return what lets transformers' trainer ask the guard."""
        from transformers import TrainerCallback

        guard = self

        class Guarding(TrainerCallback):
            """Looks at every logged loss, and now and then at the vectors."""

            def on_log(self, *event: Any, **told: Any) -> None:
                if "loss" in told["logs"]:
                    guard.check_loss(told["logs"]["loss"], event[1].global_step)

            def on_step_end(self, *event: Any, **_: Any) -> None:
                step = event[1].global_step
                if step % guard._every == 0:
                    guard.check_vectors(step)

        return Guarding()

    def _stop(self, what: str) -> None:
        raise HarnessError(f"{self._label}: {what}", exit_code=ExitCode.STAGE)
