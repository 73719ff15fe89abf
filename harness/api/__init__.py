"""The front door: suites, plans and results for Python and notebooks; the verbs call the same."""

from harness.api.results import (
    Audit,
    Decision,
    Diagnosis,
    GateReport,
    Results,
    open_results,
)
from harness.api.suite import Plan, Suite, load

__all__ = [
    "Audit",
    "Decision",
    "Diagnosis",
    "GateReport",
    "Plan",
    "Results",
    "Suite",
    "load",
    "open_results",
]
