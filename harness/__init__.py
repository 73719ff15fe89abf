"""Decide about an embedding model with evidence: candidates compared on your own collections."""

__version__ = "0.1.0"
