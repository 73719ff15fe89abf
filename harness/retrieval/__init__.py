"""Retrieval: the stages that turn texts into vectors, indexes, runs and latencies."""
