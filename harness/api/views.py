"""Views: what verbs find, as values that a notebook shows and `print` writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import PrivateAttr

from harness.decision.verdict import Decision as DecisionValues
from harness.diagnosis.values import Diagnosis as DiagnosisValues
from harness.errors import counted
from harness.gates.report import GateReport as GateValues
from harness.results.audit import Audit as AuditValues

if TYPE_CHECKING:
    from harness.results.values import Results
    from reports.diagnosis_tables import CollectionTexts


class Audit(AuditValues):
    """An audit that a notebook shows, and `print` writes as the command line does."""

    def __repr__(self) -> str:
        said = (
            f"{name}: {counted(len(found), 'problem')}" for name, found in self.problems.items()
        )
        return f"Audit of {', '.join(said)}"

    def __str__(self) -> str:
        from reports import audit_view, notebook

        return notebook.text(audit_view.render(self))

    def _repr_html_(self) -> str:
        from reports import audit_view, notebook

        return notebook.printed(audit_view.render(self))


class Decision(DecisionValues):
    """A decision that a notebook shows, and `print` writes as the command line does."""

    _failed: list[str] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, found: DecisionValues, failed: list[str]) -> Self:
        """Return the same decision with what was left out of it, and why."""
        made = cls.model_construct(**dict(found))
        made._failed = failed
        return made

    @property
    def failed(self) -> list[str]:
        """Candidates and collections that were left out since stages failed, and why."""
        return self._failed

    def __repr__(self) -> str:
        return f"Decision: {self.sentence}"

    def __str__(self) -> str:
        from reports import decision_view, notebook

        return notebook.text(decision_view.render(self))

    def _repr_html_(self) -> str:
        from reports import decision_view

        return str(decision_view.banner(self))


class Diagnosis(DiagnosisValues):
    """A diagnosis that a notebook shows, and `print` writes as the command line does."""

    _texts: Mapping[str, CollectionTexts] = PrivateAttr(default_factory=dict)
    _results: Results | None = PrivateAttr(default=None)
    _failed: list[str] = PrivateAttr(default_factory=list)

    @classmethod
    def of(
        cls,
        found: DiagnosisValues,
        texts: Mapping[str, CollectionTexts],
        results: Results,
        failed: list[str],
    ) -> Self:
        """Return the same diagnosis with the texts that it shows and what was left out of it.

        Args:
            found: the diagnosis.
            texts: by collection.
            results: of its run.
            failed: a sentence for each candidate or collection that is left out, and the reasons.
        """
        made = cls.model_construct(**dict(found))
        made._texts, made._results, made._failed = texts, results, failed
        return made

    @property
    def failed(self) -> list[str]:
        """Candidates and collections that were left out since stages failed, and why."""
        return self._failed

    @property
    def texts(self) -> Mapping[str, CollectionTexts]:
        """The texts that it shows, by collection."""
        return self._texts

    @property
    def results(self) -> Results | None:
        """The results of its run, for what remedies gained there."""
        return self._results

    def __repr__(self) -> str:
        from reports import diagnosis_tables

        said = [
            f"{one.candidate} on {one.collection}: "
            f"{diagnosis_tables.headline(one, self.metric, self.k)}"
            for one in self.candidates
        ]
        return f"Diagnosis: {' '.join(said)}"

    def __str__(self) -> str:
        from reports import diagnosis_view, notebook

        return notebook.text(diagnosis_view.render(self, self._texts, self._results))

    def _repr_html_(self) -> str:
        from reports import diagnosis_view, notebook

        return notebook.printed(diagnosis_view.render(self, self._texts, self._results))


class GateReport(GateValues):
    """A report of gates that a notebook shows, and `print` writes as the command line does."""

    @classmethod
    def of(cls, found: GateValues) -> Self:
        """Return the same report."""
        return cls.model_construct(**dict(found))

    def __repr__(self) -> str:
        from reports import gate_view

        return gate_view.headline(self)

    def __str__(self) -> str:
        from reports import gate_view, notebook

        return notebook.text(gate_view.render(self))

    def _repr_html_(self) -> str:
        from reports import notebook

        return notebook.gates(self)
