"""Judging: which pairs people judge next, and what a few judgements say about all queries."""

BATCH = 60  # pairs that are asked at a time
