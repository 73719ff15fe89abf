"""Feed: texts tokenised once and in parallel, given to a model as batches of ids on its device.

sentence-transformers tokenises a batch at a time and makes tensors out of lists of ids. Where a
model's preprocessing is no more than its tokenizer, which is tried on a few texts, the same ids
come faster from the tokenizer's own parallel call, and are counted, sorted and padded as arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.hashing import digest
from harness.models.folder import Folder, class_of
from harness.models.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer
    from torch import Tensor

_SAMPLE = ("", "a", "Two words, and a Sentence.")
_LONG = 2000  # words of a text that shows where the model cuts
_UNLIMITED = 1_000_000  # tokens; transformers writes "no limit" as a far larger number


class Tokens(NamedTuple):
    """Ids of texts, cut at the model's limit.

    Attributes:
        ids: int64 [total], text after text.
        ends: int64 [n_texts], where each text's ids end.
        types: int64 [n_texts], how many of them count as the first text of a pair; None as all do.
    """

    ids: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64] | None = None

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """int32 [n_texts], special tokens included."""
        return np.diff(self.ends, prepend=0).astype(np.int32)


@dataclass(frozen=True)
class Feed:
    """How the texts of one side become a model's input.

    Attributes:
        tokenizer: cuts at the model's limit and pads nothing.
        prompt: put before every text.
        special: whether the tokenizer adds its special tokens.
        pad: id that fills a batch.
        left: whether it fills the left.
        names: of the tensors that the model takes.
        constants: its other inputs, the same for every batch.
    """

    tokenizer: Tokenizer
    prompt: str
    special: bool
    pad: int
    left: bool
    names: frozenset[str]
    constants: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Content key of everything that ids depend on: models with one tokenizer share it."""
        return digest("feed", self.tokenizer.to_str(), self.prompt, self.special)

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of texts, the prompt's and special ones included."""
        prompted = [self.prompt + text for text in texts]
        encodings = self.tokenizer.encode_batch_fast(prompted, add_special_tokens=self.special)
        rows = [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        return Tokens(np.concatenate(rows) if rows else np.empty(0, np.int64), ends)

    def padded(self, texts: Batch) -> dict[str, Any]:
        """Return the input for a batch, each text in a row that is filled up to the longest.

        Static embeddings fill nothing: their texts follow each other.
        """
        import torch

        if "offsets" in self.names:
            return {
                **self.constants,
                "input_ids": texts.packed(),
                "offsets": texts.lengths.cumsum(0) - texts.lengths,
            }
        real, columns = texts.grid(left=self.left)
        places = (texts.starts[:, None] + columns).clamp(0, max(len(texts.ids) - 1, 0))
        found = {
            **self.constants,
            "input_ids": torch.where(real, texts.ids[places], self.pad),
            "attention_mask": real.long(),
        }
        if "token_type_ids" in self.names:
            found["token_type_ids"] = torch.zeros_like(places)
            if texts.types is not None:
                found["token_type_ids"] = (real & (columns >= texts.types[:, None])).long()
        return found

    def input_of(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the input for texts on a CPU, in their order."""
        tokens = self.tokenise(texts)
        return self.padded(on_device(tokens, np.arange(len(texts)), "cpu"))

    def gives(self, own: Mapping[str, Any], tokens: Tokens) -> bool:
        """Tell whether tokens become the input that a model's own preprocessing makes."""
        import torch

        ours = self.padded(on_device(tokens, np.arange(len(tokens.ends)), "cpu"))
        return ours.keys() == own.keys() and all(
            torch.equal(ours[name], own[name]) for name in self.names
        )


@dataclass(frozen=True)
class Batch:
    """Texts that are computed together, on a device, and their sizes on the host.

    Attributes:
        ids: int64 [total], of all texts of a shard, on the model's device.
        starts, lengths: int64 [n], where the ids of each text lie, on the same device.
        sizes: the same lengths, on the host.
        types: as of `Tokens`, int64 [n] on the device.
    """

    ids: Tensor
    starts: Tensor
    lengths: Tensor
    sizes: npt.NDArray[np.int32]
    types: Tensor | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return int(self.sizes.max(initial=0))

    def part(self, first: int, last: int) -> Batch:
        """Return some of the texts."""
        types = None if self.types is None else self.types[first:last]
        some = slice(first, last)
        return Batch(self.ids, self.starts[some], self.lengths[some], self.sizes[some], types)

    def grid(self, *, left: bool) -> tuple[Tensor, Tensor]:
        """Return which places of a padded batch hold a token, and which of its text.

        Args:
            left: whether it is padded on the left.

        Returns:
            bool and int64 [n, longest].
        """
        import torch

        columns = torch.arange(self.longest, device=self.ids.device)[None, :]
        if left:
            columns = columns - (self.longest - self.lengths)[:, None]
        return (columns >= 0) & (columns < self.lengths[:, None]), columns

    def positions(self) -> tuple[Tensor, Tensor]:
        """Return the text of each token of the batch, and its place there, int64 [tokens]."""
        import torch

        device, total = self.ids.device, int(self.sizes.sum())
        text = torch.repeat_interleave(
            torch.arange(len(self.sizes), device=device), self.lengths, output_size=total
        )
        before = self.lengths.cumsum(0) - self.lengths
        return text, torch.arange(total, device=device) - before[text]

    def packed(self) -> Tensor:
        """Return the ids of the batch, text after text, int64 [tokens]."""
        text, position = self.positions()
        return self.ids[self.starts[text] + position]


def on_device(tokens: Tokens, order: npt.NDArray[np.integer], device: Any) -> Batch:
    """Return tokenised texts in an order, copied to a device.

    One copy, from memory that the system does not page, so that the host continues meanwhile.
    """
    import torch

    sizes = tokens.lengths[order]
    rows = [tokens.ends[order] - sizes, sizes]
    if tokens.types is not None:
        rows.append(tokens.types[order])
    together = torch.from_numpy(np.concatenate([*rows, tokens.ids], dtype=np.int64))
    if torch.device(device).type == "cuda":
        together = together.pin_memory()
    copied = together.to(device, non_blocking=True)
    count = len(rows) * len(order)
    starts, lengths, *types = copied[:count].reshape(len(rows), -1)
    return Batch(copied[count:], starts, lengths, sizes, types[0] if types else None)


def find_feed(model: SentenceTransformer, *, role: str, prompt: str) -> Feed | None:
    """Return how to feed a model by its tokenizer alone; None where its own way differs from that.

    Args:
        model: loaded.
        role: "query" or "document".
        prompt: put before every text.
    """
    import torch
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer

    kind = type(model[0])
    if kind not in {StaticEmbedding, Transformer} or model.truncate_dim is not None:
        return None
    tokenizer = own_tokenizer(model)
    if tokenizer is None:
        return None
    sample = sample_texts(model)
    own = model.preprocess(sample, prompt=prompt, task=role)
    tensors = {name: value for name, value in own.items() if isinstance(value, torch.Tensor)}
    feed = Feed(
        tokenizer=tokenizer,
        prompt=prompt,
        special=kind is Transformer,
        pad=getattr(model.tokenizer, "pad_token_id", 0) or 0,
        left=getattr(model.tokenizer, "padding_side", "right") == "left",
        names=frozenset(tensors),
        constants={name: value for name, value in own.items() if name not in tensors},
    )
    return feed if feed.gives(own, feed.tokenise(sample)) else None


def expected_feed(weights: Weights) -> str:
    """Return how a model will be fed and why, as far as its files show it.

    A model that is to be fed ids of its tokenizer is tried on a few texts once it is loaded, and
    goes through sentence-transformers, too, where its own preprocessing gives others.
    """
    if weights.layout in ("sparse", "multi-vector"):
        return f"through sentence-transformers, because the model is {weights.layout}"
    listed = Folder(weights.reference, weights.folder, weights.files).modules or ()
    first = class_of(listed[0]["type"]) if listed else "Transformer"
    if first not in {"StaticEmbedding", "Transformer"}:
        return f"through sentence-transformers, because modules.json lists a {first}"
    if weights.tokenizer is None:
        return "through sentence-transformers, because there is no tokenizer.json"
    return "own batches of token ids"


def sample_texts(model: SentenceTransformer) -> list[str]:
    """Return texts that show how a model reads: none, short, and longer than its limit."""
    return [*_SAMPLE, "word, and " * int(min(model.max_seq_length or _LONG, _LONG))]


def own_tokenizer(model: Any) -> Tokenizer | None:
    """Return a tokenizer that cuts where the model does and pads nothing, or None.

    Args:
        model: sentence-transformers' bi-encoder or cross-encoder.
    """
    from tokenizers import Tokenizer

    if isinstance(model[0].tokenizer, Tokenizer):
        return model[0].tokenizer
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return None
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_padding()
    limit = model.max_seq_length or model.tokenizer.model_max_length
    if limit < _UNLIMITED:
        tokenizer.enable_truncation(int(limit), direction=model.tokenizer.truncation_side)
    else:
        tokenizer.no_truncation()
    return tokenizer
