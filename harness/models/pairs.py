"""Pairs: queries and documents tokenised once each, and joined as ids.

A tokenizer reads the two texts of a pair apart, cuts the longer one, and puts special tokens
before, between and after them. So a document that is paired with a hundred queries is tokenised
once. Whether a model's tokenizer does just this is tried on pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Ids
from harness.models.feed import Feed, Tokens, own_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer


_WORDS = "word, and "
_SAMPLE = (("", ""), ("a", "Two words, and a Sentence."), ("Two words", ""))


@dataclass(frozen=True)
class PairFeed:
    """How pairs of texts become a model's input.

    Attributes:
        feed: how their ids do, of a tokenizer that cuts nothing.
        limit: tokens of a pair, special ones included; None where nothing is cut.
        before, between, after: int64 ids of the special tokens around query and document.
        first_type: special tokens between them that count as the query's.
    """

    feed: Feed
    limit: int | None
    before: Ids
    between: Ids
    after: Ids
    first_type: int

    @property
    def special(self) -> int:
        """Special tokens of a pair."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, queries: Tokens, documents: Tokens, pairs: npt.NDArray[np.integer]) -> Tokens:
        """Return the ids of pairs, of the ids of their texts without special tokens.

        Args:
            queries: of all queries.
            documents: of all documents.
            pairs: [n, 2], rows of the two.
        """
        sides = (queries, documents)
        lengths = [side.lengths[rows] for side, rows in zip(sides, pairs.T, strict=True)]
        starts = [
            side.ends[rows] - length
            for side, rows, length in zip(sides, pairs.T, lengths, strict=True)
        ]
        one, other = cut(lengths[0], lengths[1], self._room)
        ends = np.cumsum(one + other + self.special, dtype=np.int64)
        begins = ends - one - other - self.special
        ids = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
        for place, special in (
            (begins, self.before),
            (begins + len(self.before) + one, self.between),
            (ends - len(self.after), self.after),
        ):
            ids[place[:, None] + np.arange(len(special))] = special
        document = begins + len(self.before) + one + len(self.between)
        for place, side, start, size in (
            (begins + len(self.before), queries, starts[0], one),
            (document, documents, starts[1], other),
        ):
            steps = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
            ids[np.repeat(place, size) + steps] = side.ids[np.repeat(start, size) + steps]
        return Tokens(ids, ends, len(self.before) + one + self.first_type)

    @property
    def _room(self) -> int | None:
        return None if self.limit is None else max(self.limit - self.special, 0)


def cut(
    one: npt.NDArray[np.integer], other: npt.NDArray[np.integer], room: int | None
) -> tuple[Ids, Ids]:
    """Return how many tokens are kept of two texts: the longer is cut first, as tokenizers do it.

    >>> [each.tolist() for each in cut(np.array([2, 9, 9]), np.array([9, 1, 9]), 7)]
    [[2, 6, 3], [5, 1, 4]]
    """
    first, second = one.astype(np.int64), other.astype(np.int64)
    if room is None:
        return first, second
    short, long = np.minimum(first, second), np.maximum(first, second)
    long = np.where(short > room, short, np.maximum(short, room - short))
    both = short + long > room
    short, long = np.where(both, room // 2, short), np.where(both, room // 2 + room % 2, long)
    fits, swapped = first + second <= room, first > second
    return (
        np.where(fits, first, np.where(swapped, long, short)),
        np.where(fits, second, np.where(swapped, short, long)),
    )


def find_pair_feed(model: Any, pairs: Sequence[tuple[str, str]]) -> PairFeed | None:
    """Return how to feed a cross-encoder pairs joined as ids; None where its own way differs.

    Args:
        model: sentence-transformers' cross-encoder.
        pairs: some that it is to score; others that show where it cuts are tried, too.
    """
    import torch
    from sentence_transformers.base.modules import Transformer

    tokenizer = own_tokenizer(model) if type(model[0]) is Transformer else None
    if tokenizer is None or model.default_prompt_name is not None:
        return None
    limit = tokenizer.truncation["max_length"] if tokenizer.truncation else None
    if tokenizer.truncation and tokenizer.truncation["direction"] != "right":
        return None
    tokenizer.no_truncation()
    long = _WORDS * int(min(limit or 1000, 1000))
    sample = [*_SAMPLE, ("a b", long), (long, "a b"), (long, long), *pairs]
    own = model.preprocess(sample)
    tensors = {name: value for name, value in own.items() if isinstance(value, torch.Tensor)}
    feed = _template(
        tokenizer,
        limit,
        pad=getattr(model.tokenizer, "pad_token_id", 0) or 0,
        left=getattr(model.tokenizer, "padding_side", "right") == "left",
        names=frozenset(tensors),
        constants={name: value for name, value in own.items() if name not in tensors},
    )
    if feed is None:
        return None
    sides = [feed.feed.tokenise([pair[side] for pair in sample]) for side in (0, 1)]
    rows = np.arange(len(sample))
    tokens = feed.join(sides[0], sides[1], np.stack([rows, rows], axis=1))
    return feed if feed.feed.gives(own, tokens) else None


def _template(tokenizer: Tokenizer, limit: int | None, **how: Any) -> PairFeed | None:
    """Return where a tokenizer puts special tokens in a pair; None where that has another form."""
    found = tokenizer.encode("a", "a")
    sides, ids = np.array(found.sequence_ids, dtype=float), np.array(found.ids, dtype=np.int64)
    queries, documents = np.flatnonzero(sides == 0), np.flatnonzero(sides == 1)
    if not len(queries) or not len(documents) or queries[-1] > documents[0]:
        return None
    between = slice(queries[-1] + 1, documents[0])
    return PairFeed(
        feed=Feed(tokenizer=tokenizer, prompt="", special=False, **how),
        limit=limit,
        before=ids[: queries[0]],
        between=ids[between],
        after=ids[documents[-1] + 1 :],
        first_type=found.type_ids[between].count(0),
    )
