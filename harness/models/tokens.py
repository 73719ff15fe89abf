"""Token counts of texts, by the model's own fast tokenizer, without loading torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.models.weights import Weights

_CHARACTERS_PER_TOKEN = 4
_BATCH = 2048


def token_counts(weights: Weights, texts: Sequence[str]) -> npt.NDArray[np.int32]:
    """Return the number of tokens of each text, special tokens included, before any truncation.

    Where the model has no fast tokenizer the count is estimated at four characters a token.

    Returns:
        int32 [n_texts].
    """
    path = weights.tokenizer
    if path is None:
        return np.array(
            [math.ceil(len(text) / _CHARACTERS_PER_TOKEN) for text in texts], dtype=np.int32
        )
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = np.empty(len(texts), dtype=np.int32)
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        counts[start : start + len(batch)] = [
            len(encoding) for encoding in tokenizer.encode_batch_fast(batch)
        ]
    return counts
