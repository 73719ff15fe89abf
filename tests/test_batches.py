from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.models import batches as module
from harness.models.batches import Budget, batches, compute_in_batches
from harness.models.feed import Tokens, on_device

if TYPE_CHECKING:
    from torch import Tensor


@given(
    lengths=st.lists(st.integers(0, 600), min_size=1, max_size=200),
    tokens=st.sampled_from([None, 2048, 65_536]),
)
def test_batches_hold_every_text_once_the_longest_first_within_the_budget(
    lengths: list[int], tokens: int | None
):
    counts = np.array(lengths, dtype=np.int32)
    found = list(batches(counts, tokens=tokens))
    order = np.concatenate(found)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(counts[order]) <= 0).all()
    for rows in found if tokens is not None else []:
        assert len(rows) == 1 or len(rows) * counts[rows].max() <= tokens


class Device:
    """A device whose batches take as long as is said, and whose memory is limited."""

    def __init__(self, seconds: dict[int, float], *, memory: int) -> None:
        self.seconds, self.memory, self.now = seconds, memory, 0.0

    def compute(self, tokens: int) -> None:
        import torch

        if tokens > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.now += self.seconds.get(tokens, tokens / 1e6)


@pytest.mark.parametrize(
    ("seconds", "memory", "most", "tokens"),
    [
        ({}, 10**9, 10**6, 16_384),  # a batch of twice the size takes twice as long
        ({32_768: 0.017, 65_536: 0.018, 131_072: 0.04}, 10**9, 10**6, 65_536),
        ({32_768: 0.017, 65_536: 0.018}, 40_000, 10**6, 32_768),  # no memory for more
        ({32_768: 0.017, 65_536: 0.018}, 10**9, 30_000, 32_768),  # no texts for more
        ({32_768: 1.1, 16_384: 2.0}, 10**9, 10**6, 16_384),  # slow enough
        ({}, 10_000, 10**6, 16_384),  # not even the first: it is tried in parts
    ],
)
def test_a_batch_grows_until_speed_memory_or_the_texts_stop_it(
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[int, float],
    memory: int,
    most: int,
    tokens: int,
):
    device = Device(seconds, memory=memory)
    monkeypatch.setattr(module.time, "perf_counter", lambda: device.now)
    budget = Budget()
    budget.grow(device.compute, most=most)
    assert budget.tokens == tokens
    device.memory = 0
    budget.grow(device.compute, most=most)  # it is not tried again
    assert budget.tokens == tokens


def test_a_cpu_tries_nothing_and_a_gpu_once_for_each_model_and_type():
    assert Budget.of("a", "cpu", "float32").tokens == 2048
    gpu = Budget.of("a test", "cuda:7", "float32")
    assert gpu.tokens is None
    assert Budget.of("a test", "cuda:7", "float32") is gpu
    assert Budget.of("a test", "cuda:7", "float16") is not gpu


def some_tokens(lengths: list[int]) -> Tokens:
    ids = np.arange(sum(lengths), dtype=np.int64)
    return Tokens(ids, np.cumsum(lengths, dtype=np.int64))


def sums(batch: Any) -> Tensor:
    import torch

    text, _ = batch.positions()
    zeros = torch.zeros(len(batch.sizes), dtype=torch.float64)
    return zeros.index_add(0, text, batch.packed().double())[:, None]


def test_a_batch_that_does_not_fit_is_tried_again_in_parts_and_loses_nothing():
    import torch

    tokens = some_tokens([5, 40, 1, 7, 30, 2, 8, 8])
    order = np.argsort(-tokens.lengths, kind="stable")
    texts, sizes, advanced = on_device(tokens, order, "cpu"), [], []

    def limited(batch: Any) -> Tensor:
        if batch.longest * len(batch.sizes) > 50:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(batch.sizes))
        return sums(batch)

    budget = Budget(1000)
    found = compute_in_batches(texts, limited, budget=budget, advance=advanced.append)
    whole = compute_in_batches(texts, sums, budget=Budget(1000), advance=lambda _: None)
    assert torch.equal(found, whole)
    assert found.dtype == torch.float32
    assert sum(sizes) == sum(advanced) == 8
    assert budget.tokens is not None
    assert budget.tokens <= 80  # 40 tokens of one text fit, those of two do not


def test_a_text_that_does_not_fit_alone_is_an_error():
    import torch

    def never(_: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    tokens = some_tokens([5, 4])
    texts = on_device(tokens, np.array([0, 1]), "cpu")
    with pytest.raises(torch.OutOfMemoryError):
        compute_in_batches(texts, never, budget=Budget(100), advance=lambda _: None)
