"""The front door: suites, plans and results for Python and notebooks; the verbs call the same."""

from harness.api.results import (
    AuditView,
    DecisionView,
    DiagnosisView,
    GateView,
    Results,
    open_results,
)
from harness.api.suite import Plan, Suite, load

__all__ = [
    "AuditView",
    "DecisionView",
    "DiagnosisView",
    "GateView",
    "Plan",
    "Results",
    "Suite",
    "load",
    "open_results",
]
