"""Space: the shape of a candidate's vectors. It is reported and never gated.

A narrow cone or a hub is no fault by itself: good models have both, and clusters are the opposite
of isotropy (Mickus et al. 2024). They matter where failures show them, and that reasons tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.arrays import Counts, Flags, Indices, Rows, Vectors
from harness.diagnosis.subject import Sides, Subject
from harness.diagnosis.values import SpaceHealth
from harness.retrieval.embeddings import unit_length
from harness.retrieval.search import score_pairs, search
from harness.runs.run import Run

_LISTED = 20
_VECTORS = 10_000  # of which the effective rank is taken
_NARROWEST = 16
_CONE, _SKEWED, _FLAT = 0.5, 3.0, 0.25
_ENOUGH = 2  # documents for each dimension, for their spread to be that of the space
_UNUSUAL = 0.999


class Hubs(NamedTuple):
    """Documents with more occurrences than the Poisson law of the mean allows.

    Attributes:
        rows: int [h], most frequent first.
        counts: int [h], queries that return each.
        occurrences: int [n_documents], of every document.
    """

    rows: Indices
    counts: Counts
    occurrences: Counts

    @property
    def skewness(self) -> float:
        """Third standardised moment of the occurrences; 0 where all are alike."""
        spread = self.occurrences - self.occurrences.mean()
        variance = float(np.mean(spread**2))
        return float(np.mean(spread**3) / variance**1.5) if variance > 0 else 0.0


def count_hubs(top: Rows, counted: Flags, *, n_documents: int) -> Hubs:
    """Return the hubs among the counted places of a ranking, [n_queries, k] both."""
    from scipy.stats import poisson

    occurrences = np.bincount(top[counted], minlength=n_documents)
    limit = poisson.ppf(_UNUSUAL, counted.sum() / max(n_documents, 1))
    # Twice is no pattern, however large the corpus is.
    rows = np.flatnonzero(occurrences > max(limit, 2))
    rows = rows[np.argsort(-occurrences[rows], kind="stable")]
    return Hubs(rows, occurrences[rows], occurrences)


def look_at_space(subject: Subject) -> SpaceHealth | None:
    """Describe the vectors that a candidate searches; None where it compares none."""
    if subject.vectors is None:
        return None
    documents = subject.vectors.documents
    run = subject.first.result(subject.store)
    top = np.array(run.documents[:, : subject.k])
    hubs = count_hubs(top, top >= 0, n_documents=len(documents))
    one, two = subject.random_pairs()
    # Log mean exp(-2 squared distance) of pairs of unit vectors (Wang & Isola 2020).
    distances = np.square(one - two).sum(axis=1, dtype=np.float64)
    uniformity = float(np.log(np.exp(-2 * distances).mean())) if len(one) else 0.0
    rows = np.linspace(0, len(documents) - 1, min(_VECTORS, len(documents))).astype(np.int64)
    is_spanned = len(documents) >= _ENOUGH * documents.width
    found = SpaceHealth(
        hub_skewness=hubs.skewness,
        hub_share=float(hubs.counts.sum() / max((top >= 0).sum(), 1)),
        hubs=[subject.collection.document_ids[row] for row in hubs.rows[:_LISTED]],
        mean_cosine=subject.usual_cosine,
        uniformity=uniformity,
        alignment=_alignment(subject, subject.vectors),
        effective_rank=effective_rank(unit_length(documents.take(rows))) if is_spanned else None,
        dimension=documents.width,
        margin_median=_margin(subject, subject.vectors, run),
        widths=_widths(subject, subject.vectors),
        sentences=[],
    )
    return found.model_copy(update={"sentences": list(_sentences(subject, found, hubs))})


def effective_rank(vectors: Vectors) -> float:
    """Return exp of the entropy of the covariance's eigenvalues (Roy & Vetterli 2007).

    >>> round(effective_rank(np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)), 3)
    2.0
    """
    centred = vectors - vectors.mean(axis=0)
    values = np.linalg.eigvalsh((centred.T @ centred).astype(np.float64)).clip(min=0)
    if values.sum() <= 0:
        return 1.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _alignment(subject: Subject, sides: Sides) -> float:
    """Return the mean squared distance of queries and relevant documents at unit length."""
    relevant = subject.facts.relevant
    if not len(relevant.queries):
        return 0.0
    places = subject.sample(np.arange(len(relevant.queries)), most=_VECTORS)
    queries = unit_length(sides.queries.take(relevant.queries[places]))
    documents = unit_length(sides.documents.take(relevant.documents[places]))
    return float(np.square(queries - documents).sum(axis=1, dtype=np.float64).mean())


def _margin(subject: Subject, sides: Sides, run: Run) -> float:
    """Return the median of the best relevant score minus the best other; 0 where there is none."""
    wrong = (run.documents >= 0) & ~subject.facts.are_relevant(run.documents)
    rows = np.flatnonzero(wrong.any(axis=1) & subject.findable)
    if not len(rows):
        return 0.0
    others = run.scores[rows, wrong[rows].argmax(axis=1)]
    own = score_pairs(sides.documents, sides.queries.take(rows), subject.best[rows, None])[:, 0]
    return float(np.median(own - others))


def _widths(subject: Subject, sides: Sides) -> list[tuple[int, float]]:
    """Return the metric at each halving of the vectors, on the same sample of queries."""
    rows = subject.sample(np.arange(subject.n_queries))
    full = sides.documents.width
    widths = [full]
    while widths[-1] // 2 >= _NARROWEST:
        widths.append(widths[-1] // 2)
    forbidden = None if subject.forbidden is None else subject.forbidden[rows]
    depth = max(subject.metric.cutoff if not subject.metric.in_tokens else 0, subject.run.depth)
    found = []
    for width in widths:
        documents, queries = (side if width == full else side.truncated(width) for side in sides)
        run = search(documents, queries.rows(rows), depth=depth, forbidden=forbidden)
        found.append((width, float(subject.score(rows, run).mean())))
    return found


def _sentences(subject: Subject, found: SpaceHealth, hubs: Hubs) -> Iterator[str]:
    k, n_documents = subject.k, len(hubs.occurrences)
    if len(hubs.rows):
        yield (
            f"Hubness: {len(hubs.rows):,} of {n_documents:,} documents are hubs and take "
            f"{found.hub_share:.0%} of the top {k} places (skewness {found.hub_skewness:.1f}"
            f"{', so a few match very many queries' if found.hub_skewness > _SKEWED else ''})."
        )
    else:
        yield f"No hubness in the top {k} (skewness {found.hub_skewness:.1f})."
    cone = (
        ": anisotropic (a narrow cone), so scores differ little, and centring may help"
        if found.mean_cosine > _CONE
        else ""
    )
    yield f"Random documents have a mean cosine of {round(found.mean_cosine, 2) + 0.0:.2f}{cone}."
    if found.effective_rank is not None:
        used = found.effective_rank / found.dimension
        yield (
            f"The vectors of documents vary as if they used {found.effective_rank:.0f} of "
            f"{found.dimension} dimensions equally (effective rank)"
            f"{': truncation should cost little' if used < _FLAT else ''}."
        )
    side = "above" if found.margin_median >= 0 else "below"
    yield (
        f"In the median query, the best relevant document scores {abs(found.margin_median):.3f} "
        f"{side} the best irrelevant one."
    )
    # Of a sample it would stand beside other scores of the same candidates.
    is_whole = len(subject.sample(np.arange(subject.n_queries))) == subject.n_queries
    if len(found.widths) > 1 and is_whole:
        (full, whole), (half, less) = found.widths[:2]
        yield f"{subject.metric} is {less:.3f} at {half} dimensions and {whole:.3f} at all {full}."
