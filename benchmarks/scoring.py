"""Metrics and statistics over arrays against pytrec_eval, ranx and scipy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
from ratio import Limit, Row, race

from harness.collection import Judgements
from harness.runs.metrics import parse_metric, score
from harness.runs.run import Run
from harness.statistics.families import max_t
from harness.statistics.pairs import paired
from harness.statistics.posterior import posterior_means

METRICS = {
    "ndcg@10": ("ndcg_cut.10", "ndcg_cut_10"),
    "mrr@1000": ("recip_rank", "recip_rank"),
    "recall@100": ("recall.100", "recall_100"),
    "map@1000": ("map", "map"),
}
QUERIES, CANDIDATES, PERMUTATIONS, DRAWS = 10_000, 20, 10_000, 10_000


def metrics() -> Iterator[Row]:
    """C7: four metrics of a deep run."""
    import pytrec_eval
    import ranx

    queries, depth, pool, relevant = 2_000, 1_000, 50_000, 5
    generator = np.random.default_rng(0)
    rows = np.stack([generator.choice(pool, depth, replace=False) for _ in range(queries)])
    found = rows[:, generator.choice(depth, relevant, replace=False)]
    scores = np.broadcast_to(np.arange(depth, 0, -1, dtype=np.float32), rows.shape)
    run = Run(rows.astype(np.int32), np.ascontiguousarray(scores))
    judgements = Judgements(
        np.repeat(np.arange(queries, dtype=np.int32), relevant),
        found.reshape(-1).astype(np.int32),
        np.ones(queries * relevant, dtype=np.int32),
    )
    asked = [parse_metric(name) for name in METRICS]

    def ours() -> np.ndarray:
        values = score(run, judgements, asked, n_queries=queries).values
        return np.array([values[name].mean() for name in METRICS])

    def dictionaries() -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
        given = {f"{q}": {f"{d}": 1 for d in each} for q, each in enumerate(found)}
        ranked = {
            f"{q}": dict(zip(map(str, each), map(float, scores[q]), strict=True))
            for q, each in enumerate(rows)
        }
        return given, ranked

    def by_pytrec() -> np.ndarray:
        given, ranked = dictionaries()
        measures = {measure for measure, _ in METRICS.values()}
        values = pytrec_eval.RelevanceEvaluator(given, measures).evaluate(ranked)
        return np.array(
            [np.mean([each[key] for each in values.values()]) for _, key in METRICS.values()]
        )

    def by_ranx() -> np.ndarray:
        given, ranked = dictionaries()
        values = ranx.evaluate(ranx.Qrels(given), ranx.Run(ranked), list(METRICS))
        return np.array([values[name] for name in METRICS])

    workload = "4 metrics of 2,000 queries (of 10,000) x 1,000 ranks"
    for name, peer, target in (
        ("pytrec_eval, from dictionaries", by_pytrec, 20.0),
        ("ranx, from dictionaries, warm", by_ranx, 40.0),
    ):
        yield race(
            workload,
            name,
            ours=ours,
            peer=peer,
            same=lambda a, b: np.abs(a - b).max() <= 1e-9,
            target=target,
            rounds=3,
        )


def _scores() -> np.ndarray:
    """Return float64 [queries, candidates]: a query is hard or easy for all of them."""
    generator = np.random.default_rng(0)
    quality = generator.random((QUERIES, 1))
    noise = generator.normal(0, 0.3, (QUERIES, CANDIDATES))
    return np.clip(quality + noise + 0.0003 * np.arange(CANDIDATES), 0, 1)


def permutations() -> Iterator[Row]:
    """C8: sign flips of one pair, and of all pairs of 20 candidates at once."""
    from ranx.statistical_tests.fisher_randomization_test import fisher_randomization_test
    from scipy import stats

    scores, flips_of_ranx = _scores(), 1_000
    pairs = list(combinations(range(CANDIDATES), 2))
    first, second = pairs[9]
    differences = np.stack([scores[:, a] - scores[:, b] for a, b in pairs], axis=1)
    pair = differences[:, 9]

    def by_scipy() -> float:
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

    def by_ranx() -> float:
        p, _ = fisher_randomization_test(scores[:, first], scores[:, second], flips_of_ranx)
        return float(p)

    def family() -> float:
        return float(max_t(differences, seed=1, permutations=PERMUTATIONS).p[9])

    def close(a: float, b: float) -> bool:
        return abs(a - b) <= 0.05

    setting = f"{QUERIES:,} queries, {PERMUTATIONS:,} permutations"
    yield race(
        f"sign flips of one pair, {setting}",
        "scipy.stats.permutation_test",
        ours=lambda: float(paired(pair[:, None], seed=1, permutations=PERMUTATIONS).p[0]),
        peer=by_scipy,
        same=close,
        rounds=3,
    )
    for name, peer, times in (
        ("scipy.stats.permutation_test, one pair times 190", by_scipy, 1),
        ("ranx's Fisher test, one pair and 1,000 permutations times 1,900", by_ranx, 10),
    ):
        row = race(
            f"sign flips of 190 pairs of {CANDIDATES} candidates with max-T, {setting}",
            name,
            ours=family,
            peer=peer,
            same=close,
            target=1_000,
            rounds=3,
            times=times * len(pairs),
        )
        yield replace(row, limits=(Limit(float(np.median(row.seconds)), 0.5, "s"),))


def resampling() -> Iterator[Row]:
    """C9: draws of the means of 20 candidates."""
    from scipy import stats

    scores, drawn = _scores(), 1_000

    def ours() -> np.ndarray:
        return posterior_means(scores, seed=1, draws=DRAWS).std(axis=0)

    def peer() -> np.ndarray:
        return stats.bootstrap(
            (scores,),
            np.mean,
            n_resamples=drawn,
            method="percentile",
            batch=10,
            rng=np.random.default_rng(1),
        ).standard_error

    row = race(
        f"means of {CANDIDATES} candidates, {QUERIES:,} queries, {DRAWS:,} draws",
        "scipy.stats.bootstrap, percentile, 1,000 draws times 10",
        ours=ours,
        peer=peer,
        same=lambda a, b: np.abs(a / b - 1).max() <= 0.1,
        rounds=3,
        times=DRAWS / drawn,
    )
    yield replace(row, limits=(Limit(float(np.median(row.seconds)), 2.0, "s"),))
