"""Search on a GPU: half precision proposes, float64 settles, and only the run leaves the device.

The answer is that of `harness.retrieval.search` to the last bit: sums are taken in the order in
which numpy takes them, and the run is ordered by the same keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.arrays import Rows
from harness.retrieval.embeddings import Embeddings, is_far_from_one, unit_length
from harness.runs.run import Run

if TYPE_CHECKING:
    from torch import Tensor

_UPLOAD_ROWS = 65_536
_PROPOSE_BYTES = 2**30  # of scores at a time
_SETTLE_BYTES = 2**30  # of float64 products at a time
_SHARE_OF_MEMORY = 0.4  # that documents may take; their half-precision copy takes half of it again
_BYTES_ON_CPU = 2**30
_MARGIN = 132
_LARGEST_HALF = 30_000.0
_NO_KEY = -(2**63)


class Nearest(NamedTuple):
    """The best documents of each query among some.

    Attributes:
        keys: int64 [q, k], ascending with (score in float32, row), best first.
        unseen: float64 [q], no document that was left out scores more.
    """

    keys: Tensor
    unseen: Tensor


def search_on(
    device: str,
    documents: Embeddings,
    queries: Embeddings,
    *,
    depth: int,
    forbidden: Rows | None,
    resident: Tensor | None = None,
) -> Run:
    """Return the `depth` nearest documents of each query, best first.

    Args:
        device: torch's name of it.
        documents: resident on the device where they fit, else uploaded part by part.
        queries: of the same width.
        depth: ranks, at most the number of documents.
        forbidden: int32 [n_queries], a row that the query must not be given, or -1.
        resident: the same vectors as stored, of any larger width, on the device already; or None.
    """
    import torch

    depth = min(depth, len(documents))
    asked = torch.from_numpy(queries.block(0, len(queries))).to(device)
    banned = None if forbidden is None else torch.from_numpy(forbidden).to(device)
    found = torch.full((len(queries), depth), _NO_KEY, dtype=torch.int64, device=device)
    left = torch.arange(len(queries), device=device)
    fetch = depth + _MARGIN + depth // 8
    while len(left):
        best: Nearest | None = None
        for start, part in _parts(documents, device, resident):
            mine = None if banned is None else banned[left] - start
            near = _nearest(part, asked[left], min(fetch, len(part)), forbidden=mine)
            keys = torch.where(near.keys == _NO_KEY, near.keys, near.keys + start)
            best = _best(best, Nearest(keys, near.unseen), depth)
        if best is None:
            break
        found[left, : best.keys.shape[1]] = best.keys
        last = _scores(found[left, -1]).double()
        full = (found[left, -1] != _NO_KEY) & (last > best.unseen)
        left = left[~(full | (best.unseen == -torch.inf))]
        fetch *= 4
    return _run(found)


def upload(documents: Embeddings, device: str) -> Tensor | None:
    """Return vectors as they are stored, float32 [n, width] on the device; None if too many."""
    stored = replace(documents, normalised=False)
    if type(documents) is not Embeddings or _rows_that_fit(documents, device) < 2 * len(documents):
        return None
    return next((part for _, part in _parts(stored, device)), None)


def _rows_that_fit(documents: Embeddings, device: str) -> int:
    import torch

    free = torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else _BYTES_ON_CPU
    return int(_SHARE_OF_MEMORY * free) // (4 * documents.width)


def _parts(
    documents: Embeddings, device: str, resident: Tensor | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, float32 [n, width] on the device), as large as its memory allows."""
    import torch

    if resident is not None:
        whole = resident[:, : documents.width].contiguous()
        if documents.normalised:
            whole = whole.clone() if whole.data_ptr() == resident.data_ptr() else whole
            _normalise(whole)
        yield 0, whole
        return
    rows = max(_rows_that_fit(documents, device), _UPLOAD_ROWS)
    for first in range(0, len(documents), rows):
        last = min(first + rows, len(documents))
        part = torch.empty((last - first, documents.width), dtype=torch.float32, device=device)
        for start in range(first, last, _UPLOAD_ROWS):
            stop = min(start + _UPLOAD_ROWS, last)
            block = part[start - first : stop - first]
            if type(documents) is Embeddings:
                block.copy_(torch.from_numpy(documents.unscaled(start, stop)))
                if documents.normalised:
                    _normalise(block)
            else:  # what codes stand for is read on the CPU
                block.copy_(torch.from_numpy(documents.block(start, stop)))
        yield first, part


def _normalise(block: Tensor) -> None:
    """Scale rows to unit length in place, to the bits of `embeddings.unit_length`."""
    import torch

    # torch's square root of float32 is not rounded correctly everywhere; by way of float64 it is.
    norms = sum_as_numpy(torch.square(block)).double().sqrt().float()
    odd = np.flatnonzero(is_far_from_one(norms.cpu().numpy()))
    rows = torch.from_numpy(odd).to(block.device)
    right = torch.from_numpy(unit_length(block[rows].cpu().numpy())).to(block.device)
    block /= norms[:, None]
    block[rows] = right


def _nearest(
    documents: Tensor, queries: Tensor, fetch: int, *, forbidden: Tensor | None
) -> Nearest:
    """Propose `fetch` documents of each query, settle them, and bound what was left out."""
    import torch

    norms = torch.linalg.vector_norm(documents, dim=1)
    longest, asked = norms.max(), torch.linalg.vector_norm(queries, dim=1)
    largest = max(float(documents.abs().max()), float(queries.abs().max()))
    half = max(largest, float(longest * asked.max())) < _LARGEST_HALF
    short = documents.half() if half else documents
    mine = queries.half() if half else queries
    rows, last = _propose(short, mine, fetch)
    keys = torch.cat(
        [
            _settle(documents, queries[chosen], rows[chosen])
            for chosen in torch.split(
                torch.arange(len(queries), device=rows.device),
                max(1, _SETTLE_BYTES // (8 * documents.shape[1] * fetch)),
            )
        ]
    )
    if forbidden is not None:
        keys[rows == forbidden[:, None]] = _NO_KEY
    keys = keys.sort(dim=1, descending=True).values
    if fetch == len(documents):
        return Nearest(keys, torch.full_like(last, -torch.inf))
    # What half precision does to the vectors is measured; a product is summed in float32, at worst
    # with the last two bits lost each time, and rounded to the type of the scores.
    lost = torch.linalg.vector_norm(documents - short.float(), dim=1).max().double()
    lost_asked = torch.linalg.vector_norm(queries - mine.float(), dim=1).double()
    size, sizes = longest.double(), asked.double()
    error = lost_asked * (size + lost) + sizes * lost
    error += documents.shape[1] * 2.0**-22 * (sizes + lost_asked) * (size + lost)
    error += last.abs() * (2.0**-10 if half else 2.0**-23) + 2.0**-24
    return Nearest(keys, last + error)


def _propose(documents: Tensor, queries: Tensor, fetch: int) -> tuple[Tensor, Tensor]:
    """Return the `fetch` best rows by plain products, int64 [q, fetch], and the lowest score."""
    import torch

    block = max(fetch, min(len(documents), 131_072))
    step = max(1, _PROPOSE_BYTES // (documents.element_size() * block))
    rows, last = [], []
    for asked in torch.split(queries, step):
        best: tuple[Tensor, Tensor] | None = None
        for start, part in zip(
            range(0, len(documents), block), torch.split(documents, block), strict=True
        ):
            top = torch.topk(asked @ part.T, min(fetch, len(part)), dim=1, sorted=False)
            values, places = top.values, top.indices + start
            if best is not None:
                values = torch.cat([best[0], values], dim=1)
                places = torch.cat([best[1], places], dim=1)
                top = torch.topk(values, min(fetch, values.shape[1]), dim=1, sorted=False)
                values, places = top.values, places.gather(1, top.indices)
            best = values, places
        if best is not None:
            rows.append(best[1])
            last.append(best[0].min(dim=1).values.double())
    return torch.cat(rows), torch.cat(last)


def _settle(documents: Tensor, queries: Tensor, rows: Tensor) -> Tensor:
    """Return the keys of the exact scores of each query's rows, int64 like `rows`."""
    import torch

    products = documents[rows].double() * queries[:, None, :].double()
    scores = sum_as_numpy(products).float() + 0.0  # -0.0 becomes 0.0: the two are a tie
    if not bool(scores.isfinite().all()):
        raise ValueError("a score is NaN or infinite")
    bits = scores.view(torch.int32).long()
    ascending = torch.where(bits < 0, -(bits & 0x7FFFFFFF) - 1, bits)
    return (ascending << 32) + rows


def sum_as_numpy(terms: Tensor) -> Tensor:
    """Sum the last axis in the order of numpy's pairwise sum, so that no bit differs from it."""
    n = terms.shape[-1]
    if n > 128:
        half = n // 2 - n // 2 % 8
        if 2 * half == n:
            parts = sum_as_numpy(terms.reshape(*terms.shape[:-1], 2, half))
            return parts[..., 0] + parts[..., 1]
        return sum_as_numpy(terms[..., :half]) + sum_as_numpy(terms[..., half:])
    whole = n - n % 8
    if whole:
        lanes = terms[..., :8]
        for start in range(8, whole, 8):
            lanes = lanes + terms[..., start : start + 8]
        while lanes.shape[-1] > 1:
            lanes = lanes[..., 0::2] + lanes[..., 1::2]
        total = lanes[..., 0]
    else:
        total = terms[..., 0]
    for place in range(whole or 1, n):
        total = total + terms[..., place]
    return total


def _best(before: Nearest | None, more: Nearest, depth: int) -> Nearest:
    """Return the best `depth` of both, and what neither has seen."""
    import torch

    if before is None:
        return Nearest(more.keys[:, :depth], more.unseen)
    keys = torch.cat([before.keys, more.keys], dim=1).sort(dim=1, descending=True).values
    return Nearest(keys[:, :depth], torch.maximum(before.unseen, more.unseen))


def _scores(keys: Tensor) -> Tensor:
    """Return the float32 scores of keys."""
    import torch

    ascending = keys >> 32
    bits = torch.where(ascending < 0, -(ascending + 1) + 2**31, ascending)
    return torch.where(bits >= 2**31, bits - 2**32, bits).int().view(torch.float32)


def _run(keys: Tensor) -> Run:
    """Read rows and scores out of ordered keys."""
    import torch

    empty = keys == _NO_KEY
    rows = torch.where(empty, -1, keys & 0xFFFFFFFF).int()
    scores = torch.where(empty, 0.0, _scores(keys))
    return Run(documents=rows.cpu().numpy(), scores=scores.cpu().numpy())
