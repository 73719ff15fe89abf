"""Cross-encoder: reads query and document together and gives one score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import ExitCode, HarnessError
from harness.models.loading import loading
from harness.models.weights import Weights


class CrossEncoder:
    """A loaded cross-encoder with one output.

    Args:
        weights: what to load.
        device: torch's name of the device.
        dtype: "float32" or "bfloat16".
        max_length: tokens of query and document together; None takes the model's own limit.

    Raises:
        HarnessError: the folder can not be loaded, or the model classifies into several labels.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str,
        dtype: str = "float32",
        max_length: int | None = None,
    ) -> None:
        self.model = load_cross_encoder(weights, device=device, dtype=dtype, max_length=max_length)
        if self.model.num_labels != 1:
            raise HarnessError(
                f"model '{weights.reference}': a reranker gives one score, got "
                f"{self.model.num_labels} labels. Name a cross-encoder trained for ranking.",
                exit_code=ExitCode.USAGE,
            )

    def score(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """Score one batch of (query, document) pairs; larger is more relevant.

        Returns:
            float32 [n_pairs], the raw output: a sigmoid would only squeeze scores into ties.
        """
        import torch

        scores = self.model.predict(
            list(pairs),
            batch_size=len(pairs),
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
            convert_to_numpy=True,
        )
        return np.asarray(scores, dtype=np.float32).reshape(-1)


def load_cross_encoder(
    weights: Weights,
    *,
    device: str,
    dtype: str = "float32",
    max_length: int | None = None,
    new_head: bool = False,
) -> Any:
    """Load weights as sentence-transformers' CrossEncoder.

    Args:
        weights: of a cross-encoder, or of any transformer with `new_head`.
        device: torch's name of the device.
        dtype: "float32" or "bfloat16".
        max_length: tokens of query and document together; None takes the model's own limit.
        new_head: give one output, with a head of random weights where the model has none.

    Raises:
        HarnessError: the folder can not be loaded.
    """
    import torch
    from sentence_transformers import CrossEncoder as Model

    with loading(weights):
        return Model(
            str(weights.folder),
            device=device,
            num_labels=1 if new_head else None,
            max_length=max_length,
            local_files_only=True,
            model_kwargs={"dtype": getattr(torch, dtype)},
        )
