"""A small learning curve, for those who tell of it."""

from __future__ import annotations

from harness.results.learning_curve import LearningCurve


def curve(**changes: object) -> LearningCurve:
    """Return a curve of 100 to 800 pairs from which no gain becomes likely."""
    value = {
        "pairs": 100,
        "seen": True,
        "entropy": 1.0,
        "entropy_low": 0.9,
        "entropy_high": 1.1,
        "score": 0.5,
        "score_low": 0.4,
        "score_high": 0.6,
        "p_worthwhile": 0.3,
    }
    points = [{**value, "pairs": pairs} for pairs in (0, 100, 200, 400, 800)]
    usual = {
        "candidate": "tuned",
        "parent": "static",
        "baseline": "static",
        "metric": "ndcg@10",
        "collections": ["small"],
        "n": 60,
        "held_out": "small:dev",
        "held_out_pairs": 100,
        "negatives": 99,
        "points": points,
        "forecasts": [{**value, "pairs": pairs, "seen": False} for pairs in (100, 800, 1600, 3200)],
        "a": 3.0,
        "b": 0.2,
        "c": 0.1,
        "gain": 0.01,
        "level": 0.8,
        "enough": None,
        "doubled": 0.02,
        "doubled_low": -0.01,
        "doubled_high": 0.04,
        "horizon": 4,
    }
    return LearningCurve.model_validate({**usual, **changes})
