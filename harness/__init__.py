"""Decide about an embedding model with evidence: candidates compared on your own collections.

import harness

suite = harness.load("suites/quickstart.toml")  # or harness.Suite(name=…, candidates=…, …)
suite.plan()                                    # what there is to do; runs nothing
results = suite.run()
results.scores, results.comparisons             # pandas DataFrames
results.figure("differences")                   # a plotly figure
suite.decide()                                  # keep, switch, fine-tune, rerank, truncate?

harness.compare({"a": run, "b": run}, judgements) # runs of any systems, without a suite
harness.open("results/quickstart")              # what a run has left, without running
harness.open_store().show()                     # what is stored, and which suites need it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import Plan, Results, Suite, assert_no_regression, compare, load, open_store
    from harness.api import open_results as open  # noqa: A004 - as gzip.open and others
    from harness.environment import __version__
    from harness.errors import HarnessError
    from harness.gates.score import audit_score

_PLACES = {
    "HarnessError": ("harness.errors", "HarnessError"),
    "Plan": ("harness.api", "Plan"),
    "Results": ("harness.api", "Results"),
    "Suite": ("harness.api", "Suite"),
    "assert_no_regression": ("harness.api", "assert_no_regression"),
    "audit_score": ("harness.gates.score", "audit_score"),
    "compare": ("harness.api", "compare"),
    "load": ("harness.api", "load"),
    "open": ("harness.api", "open_results"),
    "open_store": ("harness.api", "open_store"),
    "__version__": ("harness.environment", "__version__"),
}
__all__ = [
    "HarnessError",
    "Plan",
    "Results",
    "Suite",
    "__version__",
    "assert_no_regression",
    "audit_score",
    "compare",
    "load",
    "open",
    "open_store",
]


def __getattr__(name: str) -> Any:
    """Load what is used first: `import harness` alone loads nothing else."""
    if name not in _PLACES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
