"""Context: how much of the relevant text reaches a prompt of a stated number of tokens.

What a retrieval-augmented generator gets to read is not k documents but as much text as fits. The
prompt is filled with whole documents in rank order; the one that exceeds the budget is cut there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Values
from harness.collection import Judgements
from harness.collection.passages import CHARACTERS_PER_TOKEN


class ContextValues(NamedTuple):
    """Per-query values, float64 [n_queries] each."""

    precision: Values
    recall: Values


def document_tokens(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the tokens of each text, int64 [n], counted as four characters each.

    The generator's tokenizer is not known here, and one count for all candidates keeps them
    comparable; for English prose four characters a token is within a few percent.
    """
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    return -(-lengths // CHARACTERS_PER_TOKEN)


def fill_context(
    documents: npt.NDArray[np.int32],
    judgements: Judgements,
    tokens: npt.NDArray[np.int64],
    *,
    budget: int,
    level: int,
) -> ContextValues:
    """Return the precision and recall of the prompt's tokens.

    Precision is the relevant tokens in the prompt divided by all tokens in it. Recall is the
    relevant tokens in the prompt divided by those of all relevant documents in the corpus, or by
    the budget where they would not all fit. A query without results or relevant text scores 0.

    Three documents of 4 tokens, the second relevant, and a budget of 6: half of it fits.

    >>> judged = Judgements(*(np.array(x, np.int32) for x in ([0], [1], [1])))
    >>> run = np.array([[0, 1, 2]], np.int32)
    >>> found = fill_context(run, judged, np.array([4, 4, 4]), budget=6, level=1)
    >>> found.precision.round(3).tolist(), found.recall.tolist()
    ([0.333], [0.5])

    Args:
        documents: int32 [n_queries, k] rows, best first; -1 is an empty place.
        judgements: of these queries.
        tokens: int64 [n_documents].
        budget: tokens of the prompt.
        level: lowest grade that is relevant.
    """
    sizes = np.where(documents >= 0, tokens[documents.clip(min=0)], 0)
    before = np.cumsum(sizes, axis=1) - sizes
    reached = np.clip(budget - before, 0, sizes)
    relevant = (judgements.grades >= level) & (judgements.documents >= 0)
    queries, rows = judgements.queries[relevant], judgements.documents[relevant]
    found = (reached * (judgements.grades_of(documents) >= level)).sum(axis=1)
    total = np.bincount(queries, weights=tokens[rows], minlength=len(documents))
    return ContextValues(
        precision=found / np.maximum(reached.sum(axis=1), 1),
        recall=found / np.maximum(np.minimum(total, budget), 1),
    )
