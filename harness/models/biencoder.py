"""Bi-encoder: a sentence-transformers model, or bare static embeddings, behind one `encode`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from harness.errors import ExitCode, HarnessError
from harness.models.feed import Feed, Tokens, find_feed
from harness.models.loading import computing, loading, refuse_random
from harness.models.weights import Weights, static_files

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Side = Literal["query", "document"]


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
        self._weights = weights
        self.model = load_sentence_transformer(weights, device=device, dtype=dtype)
        if max_length is not None and weights.max_length is not None:
            self.model.max_seq_length = max_length
        self.model.eval()
        self._feeds: dict[tuple[Side, str], Feed | None] = {}

    def feed(self, *, role: Side, prompt: str) -> Feed | None:
        """Return how to feed the model texts of a role; None where only `encode` can."""
        place = (role, prompt)
        if place not in self._feeds:
            with computing(self._weights):
                self._feeds[place] = find_feed(self.model, role=role, prompt=prompt)
        return self._feeds[place]

    def encode_tokens(
        self,
        tokens: Tokens,
        batches: Iterable[npt.NDArray[np.integer]],
        *,
        feed: Feed,
        role: Side,
        advance: Callable[[int], None],
    ) -> npt.NDArray[np.float32]:
        """Encode tokenised texts as `encode` does, and wait for the device once, at the end.

        Args:
            tokens: of n texts.
            batches: rows of the texts that are encoded together; each row in one.
            feed: that made the tokens.
            role: of the texts.
            advance: called with the number of texts that were just handed to the device.

        Returns:
            float32 [n, dim].

        Raises:
            HarnessError: exit code 4, the model fails, or gives no vector a text.
        """
        import torch

        order, parts = [], []
        with computing(self._weights), torch.inference_mode():
            ids = torch.from_numpy(tokens.ids).to(self.model.device)
            for rows in batches:
                found = self.model(feed.batch(ids, tokens, rows), task=role)
                parts.append(found["sentence_embedding"].float())
                order.append(rows)
                advance(len(rows))
            stacked = torch.cat(parts).cpu().numpy()
        vectors = np.empty_like(stacked)
        vectors[np.concatenate(order)] = self._one_a_text(stacked, len(tokens.ends))
        return vectors

    def encode(self, texts: Sequence[str], *, role: Side, prompt: str) -> npt.NDArray[np.float32]:
        """Encode one batch of texts, at full width, as the model's last module leaves them.

        Returns:
            float32 [n_texts, dim].

        Raises:
            HarnessError: exit code 4, the model fails, or gives no vector a text.
        """
        encode = self.model.encode_query if role == "query" else self.model.encode_document
        with computing(self._weights):
            vectors = np.asarray(
                encode(
                    list(texts),
                    prompt=prompt,
                    batch_size=len(texts),
                    show_progress_bar=False,
                    convert_to_numpy=True,
                ),
                dtype=np.float32,
            )
        return self._one_a_text(vectors, len(texts))

    def _one_a_text(self, vectors: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
        if vectors.ndim != 2 or len(vectors) != count:
            raise HarnessError(
                f"model '{self._weights.reference}': {count} texts got vectors of the shape "
                f"{vectors.shape}. Name a model that gives one vector a text.",
                exit_code=ExitCode.STAGE,
            )
        return vectors


def load_sentence_transformer(
    weights: Weights, *, device: str, dtype: str = "float32"
) -> SentenceTransformer:
    """Load weights of any bi-encoder layout as a plain SentenceTransformer.

    Raises:
        HarnessError: the folder is a cross-encoder's, or sentence-transformers refuses it.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    # cuDNN's attention makes a plan for every new shape, which takes longer than a batch.
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    with loading(weights):
        if weights.layout == "static":
            return _load_static(weights, device=device)
        model = SentenceTransformer(
            str(weights.folder),
            device=device,
            local_files_only=True,
            model_kwargs={"dtype": getattr(torch, dtype)},
        )
        refuse_random(weights, model.transformers_model)
        return model


def _load_static(weights: Weights, *, device: str) -> SentenceTransformer:
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    files = static_files(weights.folder, weights.files)
    [matrix] = load_file(str(weights.folder / files.weights)).values()
    tokenizer = Tokenizer.from_file(str(weights.folder / files.tokenizer))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, matrix.float())], device=device)
