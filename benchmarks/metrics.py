"""Metrics over arrays against pytrec_eval from dictionaries."""

from __future__ import annotations

import numpy as np
import pytrec_eval
from ratio import report

from harness.collection import Judgements
from harness.runs.metrics import parse_metric, score
from harness.runs.run import Run

QUERIES, DEPTH, DOCUMENTS, RELEVANT = 2_000, 1_000, 50_000, 5
NAMES = ("ndcg@10", "mrr@1000", "recall@100", "map@1000")


def main() -> None:
    """Score the same run both ways; the means must agree."""
    generator = np.random.default_rng(0)
    rows = np.stack([generator.choice(DOCUMENTS, DEPTH, replace=False) for _ in range(QUERIES)])
    relevant = rows[:, generator.choice(DEPTH, RELEVANT, replace=False)]
    scores = np.broadcast_to(np.arange(DEPTH, 0, -1, dtype=np.float32), rows.shape)
    run = Run(rows.astype(np.int32), np.ascontiguousarray(scores))
    judgements = Judgements(
        np.repeat(np.arange(QUERIES, dtype=np.int32), RELEVANT),
        relevant.reshape(-1).astype(np.int32),
        np.ones(QUERIES * RELEVANT, dtype=np.int32),
    )
    metrics = [parse_metric(name) for name in NAMES]

    def ours() -> np.ndarray:
        return score(run, judgements, metrics, n_queries=QUERIES).values["ndcg@10"]

    def peer() -> np.ndarray:
        given = {f"{q}": {f"{d}": 1 for d in found} for q, found in enumerate(relevant)}
        ranked = {
            f"{q}": dict(zip(map(str, found), map(float, scores[q]), strict=True))
            for q, found in enumerate(rows)
        }
        measures = {"ndcg_cut.10", "recip_rank", "recall.100", "map"}
        values = pytrec_eval.RelevanceEvaluator(given, measures).evaluate(ranked)
        return np.array([values[f"{q}"]["ndcg_cut_10"] for q in range(QUERIES)])

    if np.abs(ours() - peer()).max() > 1e-9:
        raise SystemExit("the values differ")
    report("metrics, pytrec_eval / ours", ours, peer, rounds=3)


if __name__ == "__main__":
    main()
