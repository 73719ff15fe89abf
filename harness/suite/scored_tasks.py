"""Scored tasks: ``[tasks.<name>]``, what mteb scores by its own evaluators."""

from __future__ import annotations

from harness.suite.table import Spec


class TaskSpec(Spec):
    """``[tasks.<name>]``: clustering, pair classification or semantic similarity of mteb.

    One score for each candidate that gives vectors of texts, without an interval; it decides
    nothing.

    Attributes:
        source: ``mteb:<task>[/<subset>]``, or ``mteb:<module or file.py>:<class>``.
        split: None takes "test", or the only one that mteb scores.
    """

    source: str
    split: str | None = None
