"""Training: candidates that the suite makes itself, by sentence-transformers' trainer."""
