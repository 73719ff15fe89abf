"""Facts: what a diagnosis knows about a collection, whatever the candidate; each found once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.collection import Collection
from harness.diagnosis.standing import Relevant, relevant_pairs


@dataclass(frozen=True, eq=False)
class Facts:
    """A collection as the diagnoses of all its candidates see it.

    Attributes:
        collection: texts and judgements.
        level: the lowest grade that is relevant.
    """

    collection: Collection
    level: int = 1

    @cached_property
    def relevant(self) -> Relevant:
        """The relevant pairs that can be found."""
        return relevant_pairs(self.collection, level=self.level)

    @cached_property
    def judged(self) -> npt.NDArray[np.int64]:
        """Keys of all pairs with a judgement of any grade, sorted; see `pair_keys`."""
        judged = self.collection.judgements
        known = judged.documents >= 0
        return np.sort(pair_keys(judged.queries[known], judged.documents[known]))

    @cached_property
    def relevant_keys(self) -> npt.NDArray[np.int64]:
        """Keys of the relevant pairs, sorted."""
        return np.sort(pair_keys(*self.relevant))

    def are_relevant(self, documents: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Tell which documents of a ranking, [n_queries, k], are relevant to their query."""
        rows = np.arange(len(documents), dtype=np.int64)[:, None]
        held: npt.NDArray[np.bool_] = np.isin(pair_keys(rows, documents), self.relevant_keys)
        return held & (documents >= 0)


def pair_keys(
    queries: npt.NDArray[np.integer], documents: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """Return one integer per pair of rows, which is negative where the document is -1."""
    keys: npt.NDArray[np.int64] = (queries.astype(np.int64) << 32) + documents
    return keys
