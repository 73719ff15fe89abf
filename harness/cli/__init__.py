"""The command line: each verb calls a function, prints what it returns, exits with a code."""

from harness.cli.verbs import app, main

__all__ = ["app", "main"]
