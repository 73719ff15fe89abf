"""Contrast: how much more often some queries show a reason than others, such as misses than hits.

Every table of two by two is compared here: misses and hits, queries inside and outside a cluster,
failed queries that a change recovers with and without the reason.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags
from harness.statistics.distributions import normal_quantile

_CONFIDENCE = 0.95


class Contrast(NamedTuple):
    """A table of two by two: some queries and the others, with and without a reason.

    Attributes:
        chosen, others: how many; `_with` of those that show the reason.
        odds_ratio, low, high: with 0.5 added to every cell (Haldane-Anscombe), 95% interval.
        p: Fisher's exact test.
    """

    chosen: int
    chosen_with: int
    others: int
    others_with: int
    odds_ratio: float
    low: float
    high: float
    p: float


def contrast(
    chosen: Flags, shows: Flags, *, alternative: Literal["two-sided", "greater"] = "two-sided"
) -> Contrast:
    """Compare some queries, such as the misses, with the others.

    Args:
        chosen: bool [n].
        shows: bool [n], which queries show a reason.
        alternative: "greater" where only more among the chosen counts.
    """
    from scipy.stats import fisher_exact

    cells = np.array(
        [
            [(chosen & shows).sum(), (chosen & ~shows).sum()],
            [(~chosen & shows).sum(), (~chosen & ~shows).sum()],
        ]
    )
    ratio, low, high = odds_ratio(cells)
    return Contrast(
        chosen=int(cells[0].sum()),
        chosen_with=int(cells[0, 0]),
        others=int(cells[1].sum()),
        others_with=int(cells[1, 0]),
        odds_ratio=ratio,
        low=low,
        high=high,
        p=float(fisher_exact(cells, alternative=alternative).pvalue),
    )


def odds_ratio(cells: npt.NDArray[np.integer]) -> tuple[float, float, float]:
    """Return the odds ratio of a table of two by two and its 95% interval, 0.5 added to each cell.

    >>> [round(value, 2) for value in odds_ratio(np.array([[10, 10], [5, 20]]))]
    [3.73, 1.04, 13.3]
    """
    filled = cells + 0.5
    log = np.log(filled[0, 0] * filled[1, 1] / (filled[0, 1] * filled[1, 0]))
    half = normal_quantile((1 + _CONFIDENCE) / 2) * np.sqrt((1 / filled).sum())
    return float(np.exp(log)), float(np.exp(log - half)), float(np.exp(log + half))


def adjusted_odds(tags: list[Flags], missed: Flags) -> list[float | None]:
    """Return each reason's odds ratio where all others are held fixed, by one ridge logit.

    Args:
        tags: bool [n] each, which queries show a reason.
        missed: bool [n].

    Returns:
        None for a reason that all queries show or none, and for all where all queries miss or none.
    """
    from sklearn.linear_model import LogisticRegression

    usable = [0 < tag.sum() < len(tag) for tag in tags]
    if not any(usable) or missed.all() or not missed.any():
        return [None] * len(tags)
    table = np.stack([tag for tag, use in zip(tags, usable, strict=True) if use], axis=1)
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(table.astype(np.float64), missed)
    ratios = iter(np.exp(fitted.coef_[0]).tolist())
    return [next(ratios) if use else None for use in usable]
