"""The sign-flip permutation test against scipy's and ranx's: one pair, and a family of 190."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from ranx.statistical_tests.fisher_randomization_test import fisher_randomization_test
from ratio import report
from scipy import stats

from harness.statistics.families import FamilyTests, max_t
from harness.statistics.pairs import paired
from harness.statistics.posterior import posterior_means

QUERIES, CANDIDATES, PERMUTATIONS = 10_000, 20, 10_000
RANX_PERMUTATIONS = 1_000
FIRST, SECOND = 0, 10  # the pair that all test


def main() -> None:
    """Test the same pair all ways; p must agree within Monte Carlo error."""
    generator = np.random.default_rng(0)
    quality = generator.random((QUERIES, 1))  # a query is hard or easy for all
    noise = generator.normal(0, 0.3, (QUERIES, CANDIDATES))
    scores = np.clip(quality + noise + 0.0003 * np.arange(CANDIDATES), 0, 1)
    pairs = list(combinations(range(CANDIDATES), 2))
    differences = np.stack([scores[:, a] - scores[:, b] for a, b in pairs], axis=1)
    pair = scores[:, FIRST] - scores[:, SECOND]

    def ours() -> float:
        return float(paired(pair[:, None], seed=1, permutations=PERMUTATIONS).p[0])

    def family() -> FamilyTests:
        return max_t(differences, seed=1, permutations=PERMUTATIONS)

    def scipy_pair() -> float:
        return float(
            stats.permutation_test(
                (pair,),
                np.mean,
                permutation_type="samples",
                n_resamples=PERMUTATIONS,
                rng=np.random.default_rng(1),
                vectorized=True,
                batch=100,
            ).pvalue
        )

    def ranx_pair() -> float:
        p, _ = fisher_randomization_test(scores[:, FIRST], scores[:, SECOND], RANX_PERMUTATIONS)
        return float(p)

    theirs = (scipy_pair(), ranx_pair(), family().p[pairs.index((FIRST, SECOND))])
    if any(abs(ours() - p) > 0.05 for p in theirs):
        raise SystemExit(f"p differs: {ours()} against {theirs}")
    whole, tenth = f"{len(pairs)} pairs", PERMUTATIONS // RANX_PERMUTATIONS
    report("sign flips, a pair: scipy.stats.permutation_test / ours", ours, scipy_pair, rounds=3)
    print(f"below, a peer tests one pair and we test {whole}: times {len(pairs)} for the family")
    report(f"one pair by scipy.stats.permutation_test / {whole}", family, scipy_pair, rounds=3)
    print(f"and ranx flips a tenth as often: times {len(pairs) * tenth} for the family")
    report(f"one pair by ranx's fisher / {whole}", family, ranx_pair, rounds=3)
    report(
        "means of 20 candidates, 1,000 draws: scipy.stats.bootstrap / posterior_means",
        lambda: posterior_means(scores, seed=1, draws=1_000),
        lambda: stats.bootstrap(
            (scores,),
            np.mean,
            n_resamples=1_000,
            method="percentile",
            batch=10,
            rng=np.random.default_rng(1),
        ),
        rounds=3,
    )


if __name__ == "__main__":
    main()
