"""Catalogue: all reasons, in the order in which they are looked for."""

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
from harness.diagnosis.reasons.signs import Reason

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
