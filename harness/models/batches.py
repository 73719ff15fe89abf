"""Batches: texts of like length together, as many at once as a device computes well.

On a CPU small batches are faster, since they fit its cache. On a GPU a batch grows until it gains
nothing or does not fit into the memory, which is tried once and remembered by the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from harness.models.feed import Batch

if TYPE_CHECKING:
    from torch import Tensor

_TEXTS_UNPADDED = 4096
_CPU_TOKENS = 2048
FIRST_TOKENS = 16_384
_GAIN = 1.1  # in tokens a second, without which a batch is not doubled
_SLOW_SECONDS = 1.0  # a batch that takes longer keeps the device busy in any case


@dataclass
class Budget:
    """How many tokens a batch may hold, padding included; None until that was tried."""

    tokens: int | None = None

    _known: ClassVar[dict[Hashable, Budget]] = {}

    @classmethod
    def of(cls, model: Hashable, device: str, dtype: str) -> Budget:
        """Return the budget of a model on a device, the same for as long as the process lives."""
        if not device.startswith("cuda"):
            return cls(_CPU_TOKENS)
        return cls._known.setdefault((model, device, dtype), cls())

    def grow(self, compute: Callable[[int], None], *, most: int) -> None:
        """Double the batch as long as that makes it faster; once.

        Args:
            compute: computes a batch of about so many tokens, and waits for it.
            most: tokens that there are.
        """
        from torch import OutOfMemoryError

        if self.tokens is not None:
            return
        self.tokens = size = FIRST_TOKENS
        best = 0.0
        while True:
            try:
                compute(size)  # the first of its shape also chooses how it is computed
                started = time.perf_counter()
                compute(size)
                rate = size / (seconds := time.perf_counter() - started)
            except OutOfMemoryError:
                return
            if rate < best * _GAIN:
                return
            best, self.tokens = rate, size
            if size >= most or seconds > _SLOW_SECONDS:
                return
            size *= 2

    def shrink(self, tokens: int) -> None:
        """Take batches of half of so many tokens from now on: these did not fit into memory."""
        self.tokens = max(tokens // 2, 1)


def texts_of(longest: int, tokens: int | None) -> int:
    """Return how many texts a batch holds, the longest first, of at most so many tokens.

    Args:
        longest: tokens of the longest text, to which the others are padded.
        tokens: that a batch may hold; None where nothing is padded.
    """
    return _TEXTS_UNPADDED if tokens is None else max(tokens // max(longest, 1), 1)


def batches(
    lengths: npt.NDArray[np.integer], *, tokens: int | None
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield rows in batches of like length, the longest first.

    A padded batch costs its longest text times its size, which a token budget bounds; static
    embeddings pad nothing. Longest first, so that what does not fit into memory fails at once.

    Args:
        lengths: [n], tokens that the model reads of each text.
        tokens: that a batch may hold, padding included; None where nothing is padded.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = texts_of(int(lengths[order[start]]), tokens)
        yield order[start : start + size]
        start += size


def compute_in_batches(
    texts: Batch,
    compute: Callable[[Batch], Tensor],
    *,
    budget: Budget | None,
    advance: Callable[[int], None],
) -> Tensor:
    """Return what a model computes of texts, float32 [n_texts, …] on its device.

    Args:
        texts: the longest first.
        compute: what the model gives for a batch [n_texts of it, …].
        budget: of a batch; None where nothing is padded.
        advance: called with the number of texts that were just handed to the device.

    Raises:
        torch.OutOfMemoryError: one text alone does not fit into the memory.
    """
    import torch

    def tried(tokens: int) -> None:
        compute(texts.part(0, texts_of(texts.longest, tokens)))
        if texts.ids.is_cuda:
            torch.cuda.synchronize(texts.ids.device)

    if budget is not None:
        budget.grow(tried, most=texts.longest * len(texts.sizes))
    parts: list[Tensor] = []
    first = 0
    while first < len(texts.sizes):
        longest = int(texts.sizes[first])
        some = texts.part(first, first + texts_of(longest, budget.tokens if budget else None))
        try:
            parts.append(compute(some).float())
        except torch.OutOfMemoryError:
            if budget is None or len(some.sizes) == 1:
                raise
            budget.shrink(longest * len(some.sizes))
            torch.cuda.empty_cache()
            continue
        advance(len(some.sizes))
        first += len(some.sizes)
    return torch.cat(parts)


def copied_to_host(tensor: Tensor) -> Callable[[], npt.NDArray[np.float32]]:
    """Start to copy a tensor to the host, and return a function that waits for the copy."""
    import torch

    if not tensor.is_cuda:
        return tensor.numpy
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream(tensor.device))

    def finished() -> npt.NDArray[np.float32]:
        done.synchronize()
        array: npt.NDArray[np.float32] = host.numpy()
        return array

    return finished
