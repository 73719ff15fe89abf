"""Bi-encoder: a sentence-transformers model, or bare static embeddings, behind one `encode`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.errors import ExitCode, HarnessError
from harness.models import Side, engines
from harness.models.batches import FIRST_TOKENS, Budget, compute_in_batches, copied_to_host
from harness.models.feed import Batch, Feed, Tokens, find_feed, on_device, sample_texts
from harness.models.loading import computing, loading, refuse_random
from harness.models.packing import can_pack, has_flash, packed_vectors
from harness.models.weights import StaticFiles, Weights
from harness.store import Store

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor


class BiEncoder:
    """A loaded bi-encoder.

    Args:
        weights: what to load.
        device: torch's name of the device.
        dtype: torch's name of the type of weights and arithmetic; vectors are float32.
        max_length: tokens read of each text; None takes the model's own limit.

    Attributes:
        weights: what was loaded.
        model: sentence-transformers' model.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str,
        dtype: str = "float32",
        max_length: int | None = None,
    ) -> None:
        self.weights = weights
        self.model = load_sentence_transformer(weights, device=device, dtype=dtype)
        if max_length is not None and weights.max_length is not None:
            self.model.max_seq_length = max_length
        self.model.eval()
        self._budget = None if weights.is_static else Budget.of(weights.key, device, dtype)
        self._feeds: dict[tuple[Side, str], Feed | None] = {}
        self._packed: dict[tuple[Side, str], bool] = {}

    @property
    def batch_tokens(self) -> int | None:
        """Tokens of a batch, padding included; None where the model pads nothing."""
        return None if self._budget is None else self._budget.tokens or FIRST_TOKENS

    def run_by(self, engine: engines.Engine, store: Store) -> None:
        """Let an engine compute the model's transformer; it was loaded in float32 on a CPU.

        Raises:
            HarnessError: exit code 4, the engine cannot.
        """
        feed = None if self.weights.is_static else self.feed(role="document", prompt="")
        if feed is None:
            raise HarnessError(
                f"model '{self.weights.reference}': {engine.name} runs only transformers that read "
                'their tokenizer\'s output, not this model. Use engine = "torch".',
                exit_code=ExitCode.STAGE,
            )
        examples = [feed.input_of(texts) for texts in engines.EXAMPLES]
        engines.run_by(engine, self.model[0], examples, weights=self.weights, store=store)

    def feed(self, *, role: Side, prompt: str) -> Feed | None:
        """Return how to feed the model texts of a role; None where only `encode` can."""
        place = (role, prompt)
        if place not in self._feeds:
            with computing(self.weights):
                self._feeds[place] = find_feed(self.model, role=role, prompt=prompt)
        return self._feeds[place]

    def encode_tokens(
        self, tokens: Tokens, *, feed: Feed, role: Side, advance: Callable[[int], None]
    ) -> Callable[[], npt.NDArray[np.float32]]:
        """Hand tokenised texts to the device in batches, the longest first.

        A batch that does not fit into its memory is tried again in parts.

        Args:
            tokens: of n texts.
            feed: that made the tokens.
            role: of the texts.
            advance: called with the number of texts that were just handed over.

        Returns:
            a function that waits for the device and returns float32 [n, dim], as `encode` does; it
            may be called in another thread, while the next texts are handed over.

        Raises:
            HarnessError: exit code 4, the model fails, or gives no vector a text.
        """
        import torch

        self.packs(role=role, prompt=feed.prompt)
        order = np.argsort(-tokens.lengths, kind="stable")
        with computing(self.weights), torch.inference_mode():
            whole = on_device(tokens, order, self.model.device)
            found = copied_to_host(
                compute_in_batches(
                    whole,
                    partial(self._vectors, feed, role),
                    budget=self._budget,
                    advance=advance,
                )
            )

        def vectors() -> npt.NDArray[np.float32]:
            with computing(self.weights):
                stacked = found()
            ordered = np.empty_like(stacked)
            ordered[order] = self._one_a_text(stacked, len(order))
            return ordered

        return vectors

    def packs(self, *, role: Side, prompt: str) -> bool:
        """Tell whether texts are computed without padding: on a GPU, in half precision."""
        import torch

        place, feed = (role, prompt), self.feed(role=role, prompt=prompt)
        if place not in self._packed:
            self._packed[place] = False
            if feed is not None and has_flash(self.model.device, self.model.dtype):
                sample = feed.tokenise(sample_texts(self.model))
                batch = on_device(sample, np.arange(len(sample.ends)), self.model.device)
                with computing(self.weights), torch.inference_mode():
                    self._packed[place] = can_pack(self.model, feed, batch, role=role)
        return self._packed[place]

    def _vectors(self, feed: Feed, role: Side, batch: Batch) -> Tensor:
        """Return the vectors of a batch [n_texts, dim]."""
        if self._packed[role, feed.prompt]:
            return packed_vectors(self.model, feed, batch)
        vectors: Tensor = self.model(feed.padded(batch), task=role)["sentence_embedding"]
        return vectors

    def encode(self, texts: Sequence[str], *, role: Side, prompt: str) -> npt.NDArray[np.float32]:
        """Encode one batch of texts, at full width, as the model's last module leaves them.

        Returns:
            float32 [n_texts, dim].

        Raises:
            HarnessError: exit code 4, the model fails, or gives no vector a text.
        """
        encode = self.model.encode_query if role == "query" else self.model.encode_document
        with computing(self.weights):
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
                f"model '{self.weights.reference}': {count} texts got vectors of the shape "
                f"{vectors.shape}. Name a model with one vector per text.",
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
        kept = {"dtype": getattr(torch, dtype)}
        if weights.chosen.pooling is not None:
            model = _pooled(weights, device=device, model_kwargs=kept)
        else:
            model = SentenceTransformer(
                str(weights.folder),
                device=device,
                local_files_only=True,
                trust_remote_code=weights.chosen.trust_remote_code,
                model_kwargs=kept,
            )
        refuse_random(weights, model.transformers_model)
        return model


def _pooled(weights: Weights, *, device: str, model_kwargs: dict[str, Any]) -> SentenceTransformer:
    """Return a bare transformer with the pooling that the user chose."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    trusted = {"trust_remote_code": weights.chosen.trust_remote_code}
    transformer = Transformer(
        str(weights.folder),
        model_kwargs={**model_kwargs, "local_files_only": True, **trusted},
        processor_kwargs={"local_files_only": True, **trusted},
        config_kwargs={"local_files_only": True, **trusted},
    )
    mode = {"mean": "mean", "cls": "cls", "last": "lasttoken"}[str(weights.chosen.pooling)]
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=mode)
    return SentenceTransformer(modules=[transformer, pooling], device=device)


def _load_static(weights: Weights, *, device: str) -> SentenceTransformer:
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    files = StaticFiles(weights.files)
    [matrix] = load_file(str(weights.folder / files.weights)).values()
    tokenizer = Tokenizer.from_file(str(weights.folder / files.tokenizer))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, matrix.float())], device=device)
