"""Sign flips: the null hypothesis that the sign of each unit's difference is a coin toss.

One stream of tosses is read by every test. All arithmetic that decides is on exact sums, so that
neither threads nor the BLAS library nor the other columns change a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Values
from harness.statistics.units import SAME, Units, column_sums, deviations, on_grid

_WORD_BITS = 64
_BLOCK_BYTES = 32_000_000  # tosses held at a time, as float64


def coin_tosses(count: int, *, seed: int, rows: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield `rows` rows of 0 and 1 for `count` units, in blocks of bounded memory.

    The bits are one stream of the counter-based generator Philox and every row starts at a whole
    64-bit word, so neither the size of the blocks nor the number of threads changes a toss.

    Args:
        count: columns.
        seed: 0 <= seed < 2**128.
        rows: in all blocks together.
    """
    generator = np.random.Philox(key=seed)
    words = -(-count // _WORD_BITS)
    block = max(1, _BLOCK_BYTES // (8 * count))
    for start in range(0, rows, block):
        height = min(block, rows - start)
        raw = generator.random_raw(height * words).astype("<u8").view(np.uint8)
        yield np.unpackbits(raw.reshape(height, -1), axis=1, count=count)


class Flipped(NamedTuple):
    """Sums over units under some sign flips, one row per flip of all signs.

    Attributes:
        sums: float64 [rows, n_columns], of s * D, signs times the units' sums.
        weighted: float64 [rows, n_columns], of s * size * D.
        sizes: float64 [rows, 1], of s * size.
        squares: float64 [rows, 1], of s * size^2.
    """

    sums: Values
    weighted: Values
    sizes: Values
    squares: Values


@dataclass(frozen=True)
class SignFlips:
    """Columns prepared for the studentised sign-flip test; build with `sign_flips`.

    The statistic is the share R = T^2 / (T^2 + G - 1) of T = mean / standard error over G units:
    it orders flips as |T| does, lies in [0, 1] and is defined where the standard error is 0.

    Attributes:
        integers: float64 [n_units, n_columns], the units' sums on an exact grid.
        sizes: float64 [n_units].
        mean: float64 [n_columns], of the integers.
        squares: float64 [n_columns], sum of the squared integers.
        centred_squares: the same after the mean is taken off.
    """

    integers: Values
    sizes: Values
    mean: Values
    squares: Values
    centred_squares: Values

    def flips(self, *, seed: int, permutations: int) -> Iterator[Flipped]:
        """Yield the flipped sums of `permutations` rows of coin tosses, in blocks."""
        sizes, width = self.sizes[:, None], self.integers.shape[1]
        alike = np.ptp(self.sizes) == 0
        columns = [self.integers, sizes, sizes**2]
        if not alike:
            columns.append(sizes * self.integers)
        stacked = np.hstack(columns)
        total = stacked.sum(axis=0)
        for tosses in coin_tosses(len(stacked), seed=seed, rows=permutations):
            flipped = 2 * (tosses.astype(np.float64) @ stacked) - total
            sums, weighted = flipped[:, :width], flipped[:, width + 2 :]
            yield Flipped(
                sums=sums,
                weighted=sums * self.sizes[0] if alike else weighted,
                sizes=flipped[:, [width]],
                squares=flipped[:, [width + 1]],
            )

    def observed(self) -> Values:
        """Return R of the signs as they are, [n_columns]."""
        sizes = self.sizes[:, None]
        return self._share(
            column_sums(self.integers),
            column_sums(sizes * self.integers),
            self.squares,
        )

    def shares(self, flipped: Flipped) -> Values:
        """Return R under the null hypothesis of no difference, [rows, n_columns]; exact."""
        return self._share(flipped.sums, flipped.weighted, self.squares)

    def centred_shares(self, flipped: Flipped) -> Values:
        """Return R around the observed means, [rows, n_columns], for intervals.

        Flips of differences with a large mean agree in every column and would make the columns
        look more alike than their errors are.
        """
        return self._share(
            flipped.sums - self.mean * flipped.sizes,
            flipped.weighted - self.mean * flipped.squares,
            self.centred_squares,
        )

    def t(self, share: Values) -> Values:
        """Return |T| of R; infinite where the standard error is 0."""
        certain = 1 - share <= SAME
        ratio = share / np.where(certain, 1.0, 1 - share)
        t: Values = np.where(certain, np.inf, np.sqrt((len(self.sizes) - 1) * ratio))
        return t

    def share_of(self, t: Values) -> Values:
        """Return R of |T|, the reverse of `t`."""
        share: Values = t**2 / (t**2 + len(self.sizes) - 1)
        return share

    def _share(self, sums: Values, weighted: Values, squares: Values) -> Values:
        mean = sums / self.sizes.sum()
        residual = squares - 2 * mean * weighted + mean**2 * (self.sizes**2).sum()
        total = sums**2 + len(self.sizes) * np.maximum(residual, 0)
        some = (total > 0) & (squares > 0)
        share: Values = np.divide(sums**2, total, out=np.zeros_like(total), where=some)
        return share


def sign_flips(sample: Units) -> SignFlips:
    """Put the units' sums on the exact grid and prepare their sign flips."""
    integers, _ = on_grid(sample.sums, sample.sizes)
    mean = column_sums(integers) / sample.sizes.sum()
    residuals = deviations(Units(integers, sample.sizes), mean)
    return SignFlips(
        integers=integers,
        sizes=sample.sizes,
        mean=mean,
        squares=column_sums(integers**2),
        centred_squares=column_sums(residuals**2),
    )


def permutation_p(extreme: npt.NDArray[np.integer], permutations: int) -> Values:
    """Return the permutation p, (b + 1) / (B + 1): the observed signs are one more flip."""
    p: Values = (extreme + 1) / (permutations + 1)
    return p
