"""Packing: the texts of a batch one after the other instead of padded, each attending to itself.

A padded batch computes its padding too, and the mask that hides it keeps torch from its fastest
attention. transformers lets a function of one's own be named as a model's attention. The one here
computes each text's attention apart: by torch's flash kernel for texts of different lengths on a
GPU, one text after the other elsewhere, which is the reference. A model is packed only where its
vectors come out as from padded batches, which is tried on a few texts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.models.feed import Batch, Feed

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

_NAME = "harness_packed"
# What some models hand to their attention, and the one here does not know.
_UNKNOWN = ("sliding_window", "softcap", "s_aux", "position_bias", "attention_bias", "cu_seqlens")
_ROUNDINGS = 16.0  # squared, of the number type, by which a cosine may differ from 1


class Segments(NamedTuple):
    """Where the texts of a packed batch lie.

    Attributes:
        ends: int32 [n_texts + 1], from 0 on, on the device.
        longest: tokens of the longest text.
    """

    ends: Tensor
    longest: int


_SEGMENTS: ContextVar[Segments] = ContextVar("segments")


def has_flash(device: torch.device, dtype: torch.dtype | None) -> bool:
    """Tell whether torch's flash kernel runs on a device in a precision."""
    return device.type == "cuda" and dtype is not None and dtype.itemsize == 2


def packed_vectors(model: SentenceTransformer, feed: Feed, batch: Batch) -> Tensor:
    """Return the vectors of a batch [n_texts, dim], its transformer computed without padding."""
    import torch

    first: Any
    first, *rest = model
    text, position = batch.positions()
    ids = batch.ids[batch.starts[text] + position]
    features: dict[str, Any] = {
        **feed.constants,
        "input_ids": ids[None],
        "position_ids": position[None] + first._infer_flatten_position_offset(),
    }
    if "token_type_ids" in feed.names:
        features["token_type_ids"] = torch.zeros_like(features["input_ids"])
    ends = torch.nn.functional.pad(batch.lengths.cumsum(0), (1, 0)).int()
    with _packed_attention(first.model, Segments(ends, batch.longest)):
        hidden = first(features)["token_embeddings"][0]
    real, columns = batch.grid(left=feed.left)
    places = (ends[:-1, None] + columns).clamp(0, len(hidden) - 1)
    features = {
        **feed.constants,
        "input_ids": torch.where(real, ids[places], feed.pad),
        "attention_mask": real.long(),
        "token_embeddings": hidden[places] * real[..., None],
    }
    for module in rest:
        features = module(features)
    vectors: Tensor = features["sentence_embedding"]
    return vectors


def can_pack(model: SentenceTransformer, feed: Feed, batch: Batch, *, role: str) -> bool:
    """Tell whether the vectors of a batch are the same packed as padded, up to rounding.

    Args:
        model: whose attention may be none that can be replaced.
        feed: of these texts.
        batch: of short texts, and one as long as the model reads.
        role: of the texts.
    """
    import torch

    first = model[0]
    compatible = getattr(getattr(first, "model", None), "is_backend_compatible", lambda: False)
    if not compatible() or len(model) < 2:
        return False
    try:
        ours = packed_vectors(model, feed, batch).float()
        theirs = model(feed.padded(batch), task=role)["sentence_embedding"].float()
    except Exception:  # noqa: BLE001 - whatever such a model raises, padding remains
        return False
    error = _ROUNDINGS * torch.finfo(model.dtype or torch.float32).eps ** 2
    cosines = torch.nn.functional.cosine_similarity(ours, theirs)
    return bool((cosines >= 1 - max(error, 1e-6)).all())


@contextmanager
def _packed_attention(model: Any, segments: Segments) -> Iterator[None]:
    """Let a transformer compute the attention of packed texts within the block."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(_NAME, _attention)
    before = model.config._attn_implementation
    model.config._attn_implementation = _NAME
    token = _SEGMENTS.set(segments)
    try:
        yield
    finally:
        _SEGMENTS.reset(token)
        model.config._attn_implementation = before


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - there is no padding to hide
    *,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return the attention of each packed text to itself, as transformers asks for it.

    Args:
        module: transformers' attention.
        query: [1, heads, tokens, width].
        key: the same, perhaps of fewer heads.
        value: as many as of `key`.
        attention_mask: of no use here.
        scaling: of the products.
        is_causal: whether a token sees none after it; None as the module says.
        others: what other kinds of attention need.

    Returns:
        [1, tokens, heads, width], and no weights.

    Raises:
        NotImplementedError: the model's attention is of another kind.
    """
    if any(others.get(name) is not None for name in _UNKNOWN):
        raise NotImplementedError
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    of_segments = _flash if query.is_cuda else _one_by_one
    found = of_segments(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        _SEGMENTS.get(),
        causal=causal,
        scaling=scaling,
    )
    return found[None], None


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    *,
    causal: bool,
    scaling: float | None,
) -> Tensor:
    """Compute attention [tokens, heads, width] on a GPU: torch's flash kernel, of half precision.

    It is called as `torch.nn.attention.varlen` calls it, whose own signature changes.
    """
    import torch

    found = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        segments.ends,
        segments.ends,
        segments.longest,
        segments.longest,
        0.0,
        causal,
        return_debug_mask=False,
        scale=scaling,
    )
    attended: Tensor = found[0]
    return attended


def _one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    *,
    causal: bool,
    scaling: float | None,
) -> Tensor:
    """Compute the same anywhere, text after text."""
    import torch

    attend = torch.nn.functional.scaled_dot_product_attention
    parts = []
    for start, end in itertools.pairwise(segments.ends.tolist()):
        one, keys, values = (each[start:end].transpose(0, 1)[None] for each in (query, key, value))
        found = attend(one, keys, values, is_causal=causal, scale=scaling)
        parts.append(found[0].transpose(0, 1))
    return torch.cat(parts)
