"""Token counts of texts, by the model's own fast tokenizer, without loading torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.models.weights import Weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CHARACTERS_PER_TOKEN = 4
_BATCH = 2048


def load_tokenizer(weights: Weights) -> Tokenizer | None:
    """Return the model's own fast tokenizer, which cuts and pads nothing; None if it has none."""
    return None if weights.tokenizer is None else _load_tokenizer(weights.tokenizer, weights.key)


@lru_cache(maxsize=1)  # what one remembers of the texts it has read, 90 MB, it never gives back
def _load_tokenizer(path: Path, _key: str) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def token_counts(weights: Weights, texts: Sequence[str]) -> npt.NDArray[np.int32]:
    """Return the number of tokens of each text, special tokens included, before any truncation.

    Where the model has no fast tokenizer the count is estimated at four characters a token.

    Returns:
        int32 [n_texts].
    """
    tokenizer = load_tokenizer(weights)
    if tokenizer is None:
        return np.array(
            [math.ceil(len(text) / _CHARACTERS_PER_TOKEN) for text in texts], dtype=np.int32
        )
    counts = np.empty(len(texts), dtype=np.int32)
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        counts[start : start + len(batch)] = [
            len(encoding) for encoding in tokenizer.encode_batch_fast(batch)
        ]
    return counts


def unread_from(
    weights: Weights, texts: Sequence[str], *, prompt: str, max_length: int | None
) -> npt.NDArray[np.int64]:
    """Return the character from which on a model does not read each text, int64 [n_texts].

    That is the length of a text that it reads whole. Where the model has no fast tokenizer four
    characters count as a token.

    Args:
        weights: of the model.
        texts: without the prompt.
        prompt: put before each.
        max_length: tokens read, special ones included; None takes the model's own limit.
    """
    ends = np.array([len(text) for text in texts], dtype=np.int64)
    limit = max_length or weights.max_length
    if limit is None or weights.is_static:
        return ends
    tokenizer = load_tokenizer(weights)
    if tokenizer is None:
        return np.minimum(ends, max(limit * _CHARACTERS_PER_TOKEN - len(prompt), 0))
    for start in range(0, len(texts), _BATCH):
        batch = [prompt + text for text in texts[start : start + _BATCH]]
        for row, encoding in enumerate(tokenizer.encode_batch(batch), start=start):
            if len(encoding) > limit:
                special = sum(encoding.special_tokens_mask)
                content = [
                    span
                    for span, mask in zip(
                        encoding.offsets, encoding.special_tokens_mask, strict=True
                    )
                    if not mask
                ]
                first_unread = content[max(limit - special, 0)][0]
                ends[row] = max(first_unread - len(prompt), 0)
    return ends
