"""Populations of paired differences with an exact mean of 0, as metrics have them."""

from collections.abc import Callable

import numpy as np
from scipy.stats import norm

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

_NDCG = np.append(1 / np.log2(np.arange(2, 12)), 0)  # of one relevant document, by its rank
_RANKS = np.append(1 / np.arange(1, 11), 2) / (1 / np.arange(1, 11)).sum()
_RANKS /= _RANKS.sum()


def _exchanged(rng: np.random.Generator, shape: tuple[int, int], changed: float) -> np.ndarray:
    scores = rng.choice(_NDCG, p=_RANKS, size=(2, *shape))
    return np.where(rng.random(shape) < changed, scores[0] - scores[1], 0)


def exchangeable(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Two systems of equal quality, nDCG of one relevant document, about 70% ties."""
    return _exchanged(rng, shape, 0.37)


def sparse(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """The same with about 92% ties."""
    return _exchanged(rng, shape, 0.1)


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(0, 0.25, shape)


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """60% ties, 34% gain 0.14, 6% lose 0.6 to 1."""
    return _skewed(rng.random(shape))


def very_skewed(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """2% lose 0.63, the others gain between 0 and 0.026."""
    return _very_skewed(rng.random(shape))


def _skewed(u: np.ndarray) -> np.ndarray:
    return np.where(u < 0.06, -1 + 0.4 * u / 0.06, np.where(u < 0.66, 0, 0.06 * 0.8 / 0.34))


def _very_skewed(u: np.ndarray) -> np.ndarray:
    return np.where(u < 0.02, -0.63, (u - 0.02) / 0.98 * 2 * 0.02 * 0.63 / 0.98)


POPULATIONS: dict[str, Draw] = {
    "exchangeable": exchangeable,
    "normal": normal,
    "sparse": sparse,
    "skewed": skewed,
    "very skewed": very_skewed,
}


def family(
    name: str, rng: np.random.Generator, shape: tuple[int, int], *, alike: float = 0.2
) -> np.ndarray:
    """Draw candidates whose differences go together: of a normal copula where quantiles are known.

    Args:
        name: of `POPULATIONS`.
        rng: generator.
        shape: queries, candidates.
        alike: correlation within the copula; the populations of two systems stay independent.
    """
    quantiles = {"skewed": _skewed, "very skewed": _very_skewed, "normal": _normal}
    if name not in quantiles:
        return POPULATIONS[name](rng, shape)
    shared = rng.standard_normal((shape[0], 1))
    own = rng.standard_normal(shape)
    return quantiles[name](norm.cdf(np.sqrt(alike) * shared + np.sqrt(1 - alike) * own))


def _normal(u: np.ndarray) -> np.ndarray:
    return 0.25 * norm.ppf(u)
