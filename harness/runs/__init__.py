"""Runs: ranked documents for each query, read, written and scored against judgements."""
