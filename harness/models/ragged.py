"""Ragged: models that give a text rows of numbers, some texts more than others.

A sparse encoder gives a weight for each of some terms, a late-interaction model a vector for each
token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from harness.models import Side
from harness.models.batches import FIRST_TOKENS, Budget
from harness.models.loading import computing, loading, refuse_random
from harness.models.weights import Weights

# The weight that a sparse encoder gives to one term, by its number in the vocabulary.
TERM = np.dtype([("term", np.int32), ("weight", np.float32)])


@dataclass(frozen=True)
class Ragged:
    """The rows of n texts, one after the other.

    Attributes:
        values: [total] of `TERM`, or float32 [total, dim].
        sizes: int64 [n], rows of each text.
    """

    values: npt.NDArray[Any]
    sizes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """int64 [n], rows up to the end of each text."""
        ends: npt.NDArray[np.int64] = np.cumsum(self.sizes)
        return ends

    def each(self) -> list[npt.NDArray[Any]]:
        """Return the rows of each text."""
        return np.split(self.values, self.ends[:-1]) if len(self) else []


def end_to_end(rows: Sequence[npt.NDArray[Any]]) -> Ragged:
    """Return the rows of some texts, at least one, one after the other."""
    return Ragged(np.concatenate(rows), np.array([len(each) for each in rows], dtype=np.int64))


class RaggedEncoder(ABC):
    """A loaded model that gives several rows a text, in float32.

    Args:
        weights: what to load.
        device: torch's name of the device.
        max_length: tokens read of each text; None takes the model's own limit.
    """

    _class: ClassVar[str]  # of sentence-transformers

    def __init__(self, weights: Weights, *, device: str, max_length: int | None = None) -> None:
        import sentence_transformers

        self.weights = weights
        with loading(weights):
            self.model = getattr(sentence_transformers, self._class)(
                str(weights.folder),
                device=device,
                local_files_only=True,
                trust_remote_code=weights.chosen.trust_remote_code,
            )
            refuse_random(weights, self.model.transformers_model)
        if max_length is not None:
            self.model.max_seq_length = max_length
        self.model.eval()
        self._budget = Budget.of(weights.key, device, "float32")

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch, padding included."""
        return self._budget.tokens or FIRST_TOKENS

    def feed(self, **_: object) -> None:
        """Return None: texts go the model's own way."""
        return None  # noqa: RET501  what a bi-encoder may give, too

    @abstractmethod
    def encode(self, texts: Sequence[str], *, role: Side, prompt: str) -> Ragged:
        """Encode one batch of texts.

        Raises:
            HarnessError: exit code 4, the model fails.
        """

    def _encoded(self, texts: Sequence[str], role: Side, prompt: str, **how: Any) -> Any:
        encode = self.model.encode_query if role == "query" else self.model.encode_document
        with computing(self.weights):
            return encode(
                list(texts), prompt=prompt, batch_size=len(texts), show_progress_bar=False, **how
            )


class SparseModel(RaggedEncoder):
    """A sparse encoder: of each text the terms whose weight is not 0, ascending.

    Args:
        weights, device, max_length: as of `RaggedEncoder`.
        most: terms kept of each text, those of the greatest weights; None takes the model's own.
    """

    _class = "SparseEncoder"

    def __init__(
        self,
        weights: Weights,
        *,
        device: str,
        max_length: int | None = None,
        most: int | None = None,
    ) -> None:
        super().__init__(weights, device=device, max_length=max_length)
        self._most = most

    def encode(self, texts: Sequence[str], *, role: Side, prompt: str) -> Ragged:
        """Return the terms of each text."""
        how = {"convert_to_sparse_tensor": False, "save_to_cpu": True}
        found = self._encoded(texts, role, prompt, **how, max_active_dims=self._most)
        matrix: npt.NDArray[np.float32] = found.float().numpy()
        rows, terms = np.nonzero(matrix)
        values = np.empty(len(rows), dtype=TERM)
        values["term"], values["weight"] = terms, matrix[rows, terms]
        return Ragged(values, np.bincount(rows, minlength=len(texts)))


class MultiVectorModel(RaggedEncoder):
    """A late-interaction model: of each text the vectors of the tokens that are compared.

    Args:
        weights, device: as of `RaggedEncoder`.
        pooling: of a document's n token vectors about n / `pooling` are kept, means of clusters,
            as sentence-transformers' `HierarchicalTokenPooling` makes them; None keeps all.
    """

    _class = "MultiVectorEncoder"

    def __init__(self, weights: Weights, *, device: str, pooling: float | None = None) -> None:
        from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

        super().__init__(weights, device=device)
        self._pooling = None if pooling is None else HierarchicalTokenPooling(pooling)

    def encode(self, texts: Sequence[str], *, role: Side, prompt: str) -> Ragged:
        """Return the token vectors of each text."""
        how = {"convert_to_numpy": True, "token_pooling": self._pooling}
        found = self._encoded(texts, role, prompt, **how)
        return end_to_end([np.asarray(each, dtype=np.float32) for each in found])
