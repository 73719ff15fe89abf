"""The front door: suites, plans and results for Python and notebooks; the verbs call the same."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api.compared import Compared, compare
    from harness.api.regression import assert_no_regression
    from harness.api.results import Results, open_results
    from harness.api.store import StoreView, open_store
    from harness.api.suite import Plan, Suite, load
    from harness.api.views import Audit, Decision, Diagnosis, GateReport

_PLACES = {
    "compared": ("Compared", "compare"),
    "regression": ("assert_no_regression",),
    "results": ("Results", "open_results"),
    "store": ("StoreView", "open_store"),
    "suite": ("Plan", "Suite", "load"),
    "views": ("Audit", "Decision", "Diagnosis", "GateReport"),
}
__all__ = [
    "Audit",
    "Compared",
    "Decision",
    "Diagnosis",
    "GateReport",
    "Plan",
    "Results",
    "StoreView",
    "Suite",
    "assert_no_regression",
    "compare",
    "load",
    "open_results",
    "open_store",
]


def __getattr__(name: str) -> Any:
    """Load what is used first: what reads results loads no plan."""
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"harness.api.{module}"), name)
    raise AttributeError(f"module 'harness.api' has no attribute {name!r}")
