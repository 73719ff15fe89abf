"""Problem: one thing that is wrong with a collection, with its size and some ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_SHOWN_EXAMPLES = 5


NO_QUERIES = "no-queries"  # the check that a query has a relevant document
NOT_JUDGED = "unjudged-query"  # the check that every query is judged


@dataclass(frozen=True)
class Problem:
    """One finding of the audit.

    Attributes:
        severity: an error makes scores wrong, a warning makes them doubtful.
        check: which check, as a stable word.
        message: *where: what, got what. The fix.*
        count: how many documents, queries or judgements are concerned.
        examples: ids of the first five of them.
    """

    severity: Literal["error", "warning"]
    check: str
    message: str
    count: int
    examples: tuple[str, ...] = ()


def error(check: str, message: str, *, ids: Sequence[str]) -> Problem:
    """Return a problem that makes scores wrong; `ids` are all that it concerns."""
    return Problem("error", check, message, len(ids), tuple(ids[:_SHOWN_EXAMPLES]))


def warning(check: str, message: str, *, ids: Sequence[str]) -> Problem:
    """Return a problem that makes scores doubtful; `ids` are all that it concerns."""
    return Problem("warning", check, message, len(ids), tuple(ids[:_SHOWN_EXAMPLES]))
