"""Synthetic queries: a language model writes questions to passages that have none, to train on."""
