"""Labels: how often independent systems agree on a document that the judgements do not know."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from harness.collection import Judgements
from harness.decision.situation import Contradiction
from harness.runs.run import Run

_DEEP = 100
_NEAR = 10


def contradiction(
    lexical: Sequence[Run], dense: Sequence[Run], judgements: Judgements, *, n_documents: int
) -> Contradiction | None:
    """Count the queries on which two independent systems agree, and those against the judgements.

    Where a lexical and a dense system return the same first document, and both have every document
    that is judged relevant far below, the judgement is more likely wrong than both systems. Among
    the agreed queries the share of contradicted ones is close to the share of wrong judgements:
    on six collections with a fifth of the judgements moved to random documents it was 0.17 to 0.27,
    with two fifths 0.25 to 0.44, and untouched at most 0.10. Two systems of one kind fail alike,
    and their agreement tells less.

    Args:
        lexical: runs that match words.
        dense: runs over the same queries that compare vectors.
        judgements: of these queries.
        n_documents: size of the corpus; far below means beyond rank 100, or beyond a twentieth of
            a small corpus.

    Returns:
        counts for the pair of systems that agrees most often; None where there is no pair.
    """
    deep = max(_NEAR, min(_DEEP, n_documents // 20))
    best: Contradiction | None = None
    for one, two in product(lexical, dense):
        found = [judgements.grades_of(run.documents[:, :deep]) > 0 for run in (one, two)]
        agreed = (one.documents[:, 0] == two.documents[:, 0]) & (one.documents[:, 0] >= 0)
        lost = ~(found[0].any(axis=1) | found[1].any(axis=1))
        counts = Contradiction(int(agreed.sum()), int((agreed & lost).sum()))
        if best is None or counts.agreed > best.agreed:
            best = counts
    return best
