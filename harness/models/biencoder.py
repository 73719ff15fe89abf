"""Bi-encoder: a sentence-transformers model, or bare static embeddings, behind one `encode`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from harness.models.loading import loading
from harness.models.weights import Weights, static_files

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Role = Literal["query", "document"]


class BiEncoder:
    """A loaded bi-encoder.

    Args:
        weights: what to load.
        device: torch's name of the device.
        dtype: "float32" or "bfloat16", of the weights and the arithmetic; vectors are float32.
        max_length: tokens read of each text; None takes the model's own limit.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str,
        dtype: str = "float32",
        max_length: int | None = None,
    ) -> None:
        self.model = load_sentence_transformer(weights, device=device, dtype=dtype)
        if max_length is not None and weights.max_length is not None:
            self.model.max_seq_length = max_length

    def encode(self, texts: Sequence[str], *, role: Role, prompt: str) -> npt.NDArray[np.float32]:
        """Encode one batch of texts, at full width, as the model's last module leaves them.

        Returns:
            float32 [n_texts, dim].
        """
        encode = self.model.encode_query if role == "query" else self.model.encode_document
        vectors = encode(
            list(texts),
            prompt=prompt,
            batch_size=len(texts),
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, dtype=np.float32)


def load_sentence_transformer(
    weights: Weights, *, device: str, dtype: str = "float32"
) -> SentenceTransformer:
    """Load weights of any bi-encoder layout as a plain SentenceTransformer.

    Raises:
        HarnessError: the folder is a cross-encoder's, or sentence-transformers refuses it.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    with loading(weights):
        if weights.layout == "static":
            return _load_static(weights, device=device)
        return SentenceTransformer(
            str(weights.folder),
            device=device,
            local_files_only=True,
            model_kwargs={"dtype": getattr(torch, dtype)},
        )


def _load_static(weights: Weights, *, device: str) -> SentenceTransformer:
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    files = static_files(weights.folder, weights.files)
    [matrix] = load_file(str(weights.folder / files.weights)).values()
    tokenizer = Tokenizer.from_file(str(weights.folder / files.tokenizer))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, matrix.float())], device=device)
