"""Passages: documents cut into pieces that are searched, while judgements are of the documents.

Lengths are in tokens of four characters each, as in `harness.runs.context`: no model's tokenizer,
so that the same passages are searched by all candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from harness.arrays import Rows

CHARACTERS_PER_TOKEN = 4
SEPARATOR = "#"  # in the id of a passage, before its number

_HEADING = re.compile(r"^(?=#{1,6} )", re.MULTILINE)
_HEADING_ALONE = re.compile(r"^#{1,6} .*\s*\Z", re.MULTILINE)  # at the end of a passage
# Where a passage may end, the best place first: before a heading, after a paragraph, after a
# sentence or line, between words.
_ENDS = (
    _HEADING,
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n\s*"),  # noqa: RUF001 - full stops of CJK
    re.compile(r"\s+"),
)


class Chunking(NamedTuple):
    """How documents are cut.

    Attributes:
        tokens: of a passage at most.
        overlap: of the end of a passage that the next one begins with, at most.
    """

    tokens: int
    overlap: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.tokens} tokens" + (f", {self.overlap} overlap" if self.overlap else "")


USUAL = Chunking(tokens=256, overlap=32)


@dataclass(frozen=True, eq=False)
class SearchedPassages:
    """The pieces of the documents of a collection, in ascending order of their ids.

    Attributes:
        cut: how they were made.
        ids, texts: parallel; an id is ``document#1``, numbered from 1 in the document.
        documents: int32 [n], row of the document that each is of.
    """

    cut: Chunking
    ids: tuple[str, ...] = field(repr=False)
    texts: tuple[str, ...] = field(repr=False)
    documents: Rows = field(repr=False)

    def depth(self, wanted: int) -> int:
        """Return how many passages hold `wanted` documents, whichever they are of."""
        counts = np.sort(np.bincount(self.documents))[::-1]
        return int(min(counts[: wanted - 1].sum() + 1, len(self.ids)))


def cut_documents(ids: Sequence[str], texts: Sequence[str], cut: Chunking) -> SearchedPassages:
    """Cut documents into passages; one without text has none."""
    found = sorted(
        (f"{key}{SEPARATOR}{number}", text, row)
        for row, (key, whole) in enumerate(zip(ids, texts, strict=True))
        for number, text in enumerate(cut_text(whole, cut), start=1)
    )
    return SearchedPassages(
        cut,
        ids=tuple(each[0] for each in found),
        texts=tuple(each[1] for each in found),
        documents=np.array([each[2] for each in found], dtype=np.int32),
    )


def cut_text(text: str, cut: Chunking) -> Iterator[str]:
    r"""Yield the passages of a text.

    A passage ends in its second half: before the last heading there, else after the last paragraph,
    else after the last sentence or line, else after the last word, else where it is full. The next
    one begins with its last words, up to `cut.overlap` tokens, unless a heading separates the two.
    No passage ends with a heading.

    >>> list(cut_text("One two. Three four. Five six.", Chunking(tokens=5, overlap=0)))
    ['One two. Three', 'four. Five six.']
    >>> list(cut_text("# A\n\nOne two.\n\n# B\n\nThree.", Chunking(tokens=5, overlap=2)))
    ['# A\n\nOne two.', '# B\n\nThree.']
    """
    size, overlap = (tokens * CHARACTERS_PER_TOKEN for tokens in cut)
    text = text.strip()
    start = 0
    while start < len(text):
        end = start + size
        if end >= len(text):
            yield text[start:]
            return
        end, is_heading = _end(text, start + size // 2, end)
        alone = _HEADING_ALONE.search(text, start + 1, end)
        if alone is not None:
            end, is_heading = alone.start(), True
        yield text[start:end].strip()
        start = end if is_heading else _word_from(text, end - overlap, end)


def _end(text: str, low: int, high: int) -> tuple[int, bool]:
    """Return the best end between `low` and `high`, and whether a heading follows it."""
    for pattern in _ENDS:
        ends = [found.end() for found in pattern.finditer(text, low + 1, high)]
        if ends:
            return ends[-1], pattern is _HEADING
    return high, False


def _word_from(text: str, low: int, high: int) -> int:
    """Return where the first whole word after `low` begins; `high` if none does before it."""
    found = _ENDS[-1].search(text, low, high)
    return high if found is None or low == high else found.end()
