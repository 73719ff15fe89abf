"""Statistics: intervals, paired tests and what may be concluded from them.

The unit is the query, or a cluster of correlated queries. A test reads per-query values and knows
nothing of metrics, candidates or files. Randomness comes from streams that an explicit seed keys,
and what decides is computed from exact sums: results are bit-identical whatever the threads.

`pairs` one pair, and who loses · `families` several at once · `inferiority` showing that nothing is
lost · `verdicts` the four answers · `posterior` draws, also over several collections · `power` how
many queries · `seeds` several trainings · `forecast` what more training pairs would bring ·
`claims` a mean whose per-query values are not at hand · below them `units` means over queries or
clusters, `unseen` losses not yet seen, `sign_flips` the null hypothesis, `distributions` quantiles.
"""

from harness.statistics.pairs import (
    LARGEST_EFFECT,
    TIE,
    Interval,
    PairedTests,
    mean_interval,
    paired,
)

__all__ = ["LARGEST_EFFECT", "TIE", "Interval", "PairedTests", "mean_interval", "paired"]
