"""Reasons: why queries fail, each with a detector that looks at misses and hits alike.

A reason counts only as a contrast: a detector never asks whether the query failed, and names the
queries in which the reason could show at all. `reason` what all share; one module for each family.
"""

from __future__ import annotations

from harness.diagnosis.reasons import (
    acronyms,
    judgements,
    length,
    literals,
    neighbours,
    pipeline,
    words,
)
from harness.diagnosis.reasons.reason import Reason

# In the order in which they are looked for.
REASONS: tuple[Reason, ...] = (
    pipeline.PROMPT,
    length.TRUNCATION,
    length.POSITION,
    length.LENGTH,
    words.VOCABULARY,
    words.IGNORED,
    words.FRAGMENTS,
    acronyms.ACRONYM,
    literals.NUMBER,
    literals.NEGATION,
    neighbours.COPIES,
    neighbours.HUBS,
    neighbours.ASPECTS,
    judgements.UNJUDGED,
    judgements.LEAK,
    pipeline.PHANTOM,
)
