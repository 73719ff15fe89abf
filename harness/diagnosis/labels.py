"""Labels: the words that tell the texts of a cluster from those around it."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.arrays import Flags, Values
from harness.diagnosis.regions import Regions
from harness.diagnosis.words import Terms

SHOWN = 4  # terms of a label
_SHORTLIST = 40
_NEIGHBOURS = 5  # times as many texts: those around, from which a label tells apart
_LEAST_Z = 1.5  # of a term's log-odds
_FEWEST, _FEWEST_SHARE = 2, 0.1  # texts of a side that hold a term; fewer are strays


def name_region(regions: Regions, inside: Flags) -> tuple[str, ...]:
    """Return the terms that tell some texts from those around them, strongest first.

    Function words name nothing: there may be no term.

    Args:
        regions: of the texts.
        inside: bool [n_texts], by row.
    """
    distances = np.square(regions.points - regions.points[inside].mean(axis=0)).sum(axis=1)
    distances[inside] = np.inf
    count = min(_NEIGHBOURS * int(inside.sum()), int((~inside).sum()))
    around = np.zeros_like(inside)
    around[np.argsort(distances, kind="stable")[:count]] = True
    return distinctive_terms(regions.terms, inside, around)


def distinctive_terms(
    terms: Terms, inside: Flags, outside: Flags, *, shown: int = SHOWN
) -> tuple[str, ...]:
    """Return the terms that stand more often in some texts than in others, strongest first.

    Class-based TF-IDF (Grootendorst 2022) makes a short list, which is put in order by the z of
    the log-odds ratio with an informative Dirichlet prior, the words of all texts (Monroe, Colaresi
    & Quinn 2008). Left out are function words, terms that share a word with a stronger one, and
    those that fewer than a tenth of the texts hold.

    Args:
        terms: of all texts.
        inside: bool [n_texts], the texts to name.
        outside: bool [n_texts], those to tell them from.
        shown: terms at most; fewer where fewer tell the sides apart.
    """
    ours, theirs, everyone = (
        _sums(terms, rows) for rows in (inside, outside, np.ones_like(inside))
    )
    fewest = max(_FEWEST, _FEWEST_SHARE * int(inside.sum()))
    usable = (ours >= fewest) & terms.content
    weights = np.where(usable, _class_tf_idf(ours, theirs), 0)
    shortlist = np.argsort(-weights, kind="stable")[: min(_SHORTLIST, np.count_nonzero(weights))]
    z = _log_odds(ours, theirs, everyone)
    words: list[str] = []
    used: set[str] = set()
    for place in shortlist[np.argsort(-z[shortlist], kind="stable")].tolist():
        stems = set(terms.stems[place])
        if z[place] < _LEAST_Z or len(words) == shown:
            break
        if not stems & used:
            used |= stems
            words.append(terms.shown[place])
    return tuple(words)


def _sums(terms: Terms, rows: Flags) -> Values:
    """Return how many of the texts hold each term, float64 [n_terms]."""
    present: Any = terms.counts[np.flatnonzero(rows)]
    held: Values = np.bincount(present.indices, minlength=terms.counts.shape[1]).astype(np.float64)
    return held


def _class_tf_idf(ours: Values, theirs: Values) -> Values:
    """Return tf * log(1 + A / f): A the mean words of a class, f the term's count in both."""
    both = ours + theirs
    average = both.sum() / 2
    weights: Values = ours * np.log1p(average / np.maximum(both, 1))
    return weights


def _log_odds(ours: Values, theirs: Values, everyone: Values) -> Values:
    """Return z of each term's log-odds ratio; the prior weighs as much as the smaller side."""
    strength = max(1.0, min(ours.sum(), theirs.sum()))
    prior = everyone * (strength / max(1.0, everyone.sum())) + 0.01
    total = prior.sum()

    def odds(counts: Values) -> Values:
        logs: Values = np.log((counts + prior) / (counts.sum() + total - counts - prior))
        return logs

    variance = 1 / (ours + prior) + 1 / (theirs + prior)
    z: Values = (odds(ours) - odds(theirs)) / np.sqrt(variance)
    return z
