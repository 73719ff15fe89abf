"""Examples: the rows that one training learns from, with the negatives that are mined for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.collection.texts import normalise
from harness.hashing import text_hashes
from harness.stage import Keyed
from harness.store import Store
from harness.training.data import Origin, Shape, TrainingData
from harness.training.mining import MineNegatives


@dataclass(frozen=True, eq=False)
class Examples(Keyed):
    """Rows of training data; their negatives exist once they are mined.

    Attributes:
        data: all rows that there are.
        negatives: the stage that mines them, of pairs; None takes the rows as they are.
        rows: int64 [n], those that are trained on, ascending; None takes all.
    """

    data: TrainingData
    negatives: MineNegatives | None = None
    rows: npt.NDArray[np.int64] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.data) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> Shape:
        """What a row is before mining."""
        return self.data.shape

    @property
    def taught(self) -> tuple[Shape, int]:
        """What a row is once its negatives are mined, and how many of them it has."""
        if self.negatives is None:
            return self.data.shape, self.data.negatives
        return "triplets", self.negatives.spec.per_query

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where the rows come from."""
        return self.data.origins

    @cached_property
    def known(self) -> TrainingData:
        """The rows as far as they are known before mining."""
        return self.data if self.rows is None else self.data.take(self.rows)

    def read(self, store: Store) -> TrainingData:
        """Return the rows with their negatives.

        Raises:
            InputMissingError: they are not mined yet.
        """
        if self.negatives is None:
            return self.known
        mined = self.data.with_negatives(self.negatives.texts(store))
        return mined if self.rows is None else mined.take(self.rows)

    def expected_texts(self) -> list[str]:
        """Return texts as many and as long as will be read, as far as that is known before."""
        texts = list(self.known.texts())
        if self.negatives is not None:
            texts += self.negatives.spec.per_query * list(self.known.columns["positive"])
        return texts

    def part(self, numerator: int, denominator: int) -> Examples:
        """Return a share of the rows, the same on every machine.

        A hash of the first text orders the rows, so that the rows of one query stay together and a
        smaller share lies within every larger one.
        """
        order = by_hash(next(iter(self.known.columns.values())))
        count = len(order) * numerator // denominator
        return self.only(np.sort(order[:count]))

    def only(self, rows: npt.NDArray[np.int64]) -> Examples:
        """Return some of the rows, by their numbers here."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])


def by_hash(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the numbers of texts in the order of their hashes; equal texts stand together."""
    hashes = text_hashes(normalise(text) for text in texts)
    words = np.ascontiguousarray(hashes).view(">u8")
    return np.lexsort((np.arange(len(words)), words[:, 1], words[:, 0])).astype(np.int64)
