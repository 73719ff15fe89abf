"""Plan: a suite turned into keyed stages, and their execution."""
