"""Judging: which pairs people judge next, and what a few judgements say about all queries."""
