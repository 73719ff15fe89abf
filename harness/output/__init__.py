"""Output: the results folder, its files, its history, and trained models taken out of the store."""
