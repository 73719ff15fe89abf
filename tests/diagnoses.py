"""A small diagnosis in which everything is present once, from which reports are tested."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.diagnosis.files import QueryRows
from harness.diagnosis.values import (
    CandidateDiagnosis,
    Counterfactual,
    DataHealth,
    Diagnosis,
    Exemplar,
    FailureCluster,
    Finding,
    GapSplit,
    Reversal,
    ScoreBounds,
    SpaceHealth,
    StageCount,
    TrainingCoverage,
    TrainingView,
    Unjudged,
)

QUERIES = {f"q{place}": f"what is the dose of drug {place}" for place in range(1, 7)}
DOCUMENTS = {f"d{place}": f"the dose of drug {place} is small" for place in range(1, 7)}


def cluster(**others: Any) -> FailureCluster:
    """Return a cluster of two queries about doses."""
    values: dict[str, Any] = {
        "key": "c1",
        "mode": "loss",
        "reference": None,
        "region": "topic",
        "predicate": "",
        "label": ["dose", "drug"],
        "inside": ["small"],
        "n": 2,
        "share": 1 / 3,
        "mean": 0.1,
        "rest": 0.8,
        "ratio": 4.5,
        "ratio_low": 2.1,
        "ratio_high": 9.0,
        "p_adjusted": 0.002,
        "impact": 0.23,
        "stability": 0.9,
        "reasons": ["truncation"],
        "exemplars": [
            Exemplar(
                query="q1",
                role="typical",
                retrieved=["d2", "d3"],
                relevant=["d1"],
                rank=40,
                margin=0.12,
            )
        ],
        "members": ["q1", "q2"],
    }
    return FailureCluster(**{**values, **others})


def finding(**others: Any) -> Finding:
    """Return a finding that a counterfactual confirms."""
    values: dict[str, Any] = {
        "reason": "truncation",
        "title": "The answer lies beyond the limit",
        "sentence": "2 of 3 misses and 0 of 3 hits have their answer beyond 256 tokens.",
        "lever": "chunking",
        "misses": 3,
        "misses_with": 2,
        "hits": 3,
        "hits_with": 0,
        "odds_ratio": 11.7,
        "low": 1.2,
        "high": 90.0,
        "p_adjusted": 0.03,
        "status": "confirmed",
        "recoverable": 0.023,
        "counterfactual": Counterfactual(
            change="the best chunk embedded alone",
            tried=2,
            failed=2,
            recovered=2,
            control_failed=2,
            control_recovered=0,
            gain=0.4,
            low=0.1,
            high=0.7,
        ),
        "queries": ["q1", "q2"],
        "evidence": {"q1": "The answer starts at token 310 of 512.", "q2": "It starts at 400."},
    }
    return Finding(**{**values, **others})


def candidate(**others: Any) -> CandidateDiagnosis:
    """Return the diagnosis of a candidate called minilm on small."""
    values: dict[str, Any] = {
        "candidate": "minilm",
        "collection": "small",
        "n": 6,
        "stages": [
            StageCount(stage="retrieved", n=3, share=0.5, loss=0.1),
            StageCount(stage="rerankable", n=2, share=1 / 3, loss=0.2),
            StageCount(stage="lost", n=1, share=1 / 6, loss=0.1),
        ],
        "gap": GapSplit(achieved=0.5, ordering_loss=0.3, first_stage_loss=0.2, depth=100),
        "neutral": "potion-base-8M, a static model that is not under test",
        "detectable": "A slice of 20% of the queries that fails with probability 0.75 would show.",
        "clusters": [cluster(), cluster(key="c2", mode="documents", members=["d1"], n=1)],
        "findings": [finding()],
        "space": SpaceHealth(
            hub_skewness=3.2,
            hub_share=0.2,
            hubs=["d2"],
            mean_cosine=0.1,
            uniformity=-3.1,
            alignment=0.6,
            effective_rank=120.0,
            dimension=384,
            margin_median=-0.02,
            widths=[(64, 0.4), (384, 0.5)],
            sentences=["Few documents are hubs."],
        ),
        "training": TrainingView(
            source="small:train",
            pairs=100,
            coverage=[
                TrainingCoverage(
                    cluster="", nearest=0.7, rest=0.7, examples=["what is a drug"], to_add=[]
                ),
                TrainingCoverage(
                    cluster="c1",
                    nearest=0.5,
                    rest=0.75,
                    examples=["how much of a drug"],
                    to_add=["d1"],
                ),
            ],
            sentences=["Cluster c1 lies far from the training pairs."],
        ),
        "warnings": [],
    }
    return CandidateDiagnosis(**{**values, **others})


def health(**others: Any) -> DataHealth:
    """Return the health of small."""
    values: dict[str, Any] = {
        "collection": "small",
        "bounds": [
            ScoreBounds(candidate="minilm", mean=0.5, low=0.4, high=0.9),
            ScoreBounds(candidate="bm25", mean=0.45, low=0.3, high=0.8),
        ],
        "reversible": [
            Reversal(
                better="minilm",
                worse="bm25",
                difference=0.05,
                unjudged=20,
                needed=3,
                sentence="'minilm' leads 'bm25' by 0.050 ndcg@10; 3 of 20 would end it.",
            )
        ],
        "unjudged": [
            Unjudged(
                query="q1",
                document="d2",
                rank=1,
                candidates=["minilm", "bm25"],
                likelihood=0.6,
                why="Both return it first.",
            )
        ],
        "duplicate_groups": [["d2", "d3"]],
        "leaks": ["q6"],
    }
    return DataHealth(**{**values, **others})


def diagnosis(**others: Any) -> Diagnosis:
    """Return the diagnosis of a suite called small."""
    values: dict[str, Any] = {
        "suite": "small",
        "metric": "ndcg@10",
        "k": 10,
        "discovery": "strict",
        "candidates": [candidate()],
        "data": [health()],
    }
    return Diagnosis(**{**values, **others})


def rows() -> QueryRows:
    """Return the rows of minilm on small."""
    return QueryRows(
        candidate="minilm",
        collection="small",
        query_ids=list(QUERIES),
        stages=["rerankable", "rerankable", "lost", "retrieved", "retrieved", "retrieved"],
        ranks=[40, 12, None, 1, 2, 1],
        losses=np.array([1, 1, 1, 0, 0.4, 0]),
        misses=np.array([True, True, True, False, False, False]),
        reasons=[["truncation"], ["truncation"], [], [], [], []],
        places=np.arange(12.0).reshape(6, 2),
        clusters=["c1", "c1", "", "", "", ""],
    )
