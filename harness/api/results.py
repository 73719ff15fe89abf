"""Results: what a run found, as DataFrames, figures and values that a notebook shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ExitCode, HarnessError, no_such
from harness.results.values import Costs
from harness.results.values import Results as ResultValues

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from harness.api.views import Decision, Diagnosis, GateReport
    from harness.output.exchange import Ranx
    from reports.plots import Plot
    from reports.stored import Stored


_TITLE_PX = 56


def open_results(folder: str | Path) -> Results:
    """Open a results folder, such as "results/quickstart", without running anything.

    Raises:
        HarnessError: there are no results, or another version wrote them.
    """
    from reports.stored import read_results as opened

    return Results(opened(Path(folder)))


@dataclass(frozen=True, repr=False)
class Results:
    """What a run found, read from its results folder.

    Attributes:
        stored: all that the folder holds, as values.
        took: how long the run took beside what was planned; "" where it was only opened.
    """

    stored: Stored
    took: str = ""

    @property
    def values(self) -> ResultValues:
        """What results.json holds."""
        return self.stored.results

    @property
    def folder(self) -> Path:
        """Where the results lie."""
        return self.stored.folder

    @property
    def report(self) -> Path:
        """The page: one HTML file that needs no server."""
        return self.folder / "report.html"

    @property
    def failed(self) -> list[str]:
        """Candidates and collections that were left out since stages failed, and why."""
        return self.values.failed

    @property
    def scores(self) -> pd.DataFrame:
        """A row per candidate, collection and metric: mean, 95% interval (low, high), n.

        Only the suite's metrics; `values.scores` has MTEB's other cutoffs, too.
        """
        shown = set(self.values.metrics)
        rows = [each.model_dump() for each in self.values.scores if each.metric in shown]
        return _frame(rows).drop(columns="by_seed")

    @property
    def per_query(self) -> pd.DataFrame:
        """A row per candidate, collection, query and metric: its value."""
        import pandas as pd

        from reports.lookup import PER_QUERY, reading

        path = self.folder / PER_QUERY
        with reading(path):
            return pd.read_parquet(path)

    @property
    def comparisons(self) -> pd.DataFrame:
        """A row per candidate, reference, collection and metric: difference, interval, p, verdict.

        The reference is the baseline or the candidate's parent, by `role`.
        """
        return _frame([asdict(each) for each in self.values.comparisons])

    @property
    def costs(self) -> pd.DataFrame:
        """A row per candidate and collection: latency, bytes, parameters, training."""
        rows = [each.model_dump() for each in self.stored.costs.costs]
        return _frame(rows or [dict.fromkeys(Costs.__annotations__)])[: len(rows)]

    @property
    def decision(self) -> Decision:
        """The verdict with its evidence.

        Raises:
            HarnessError: nothing is decided yet.
        """
        from harness.api.views import Decision

        if self.stored.decision is None:
            raise self._not_yet("decision", "decide")
        return Decision.of(self.stored.decision, self.failed)

    @property
    def diagnosis(self) -> Diagnosis:
        """Where candidates fail, why, and what would help.

        Raises:
            HarnessError: nothing is diagnosed yet.
        """
        from harness.api.views import Diagnosis
        from reports.written import diagnosed

        found = diagnosed(self.stored)
        if found is None:
            raise self._not_yet("diagnosis", "diagnose")
        return Diagnosis.of(found.diagnosis, found.texts, self.stored.results, self.failed)

    @property
    def gate(self) -> GateReport:
        """What the gates found.

        Raises:
            HarnessError: no gate was evaluated yet.
        """
        from harness.api.views import GateReport

        if self.stored.gates is None:
            raise self._not_yet("gate", "gate")
        return GateReport.of(self.stored.gates)

    def ranx(self, collection: str | None = None) -> Ranx:
        """Return the judgements and runs of a collection as ranx's `Qrels` and `Run` objects.

        Args:
            collection: name; None takes the first.

        Raises:
            HarnessError: there is no such collection.
        """
        from harness.output.exchange import ranx_of

        return ranx_of(self.values, self.folder, self._place(collection))

    def export(self, place: str | Path, *, to: str) -> None:
        """Write the results for another tool.

        Args:
            place: a file for "markdown" and "latex", a folder for "mteb" and "trec", a tracking
                URI or a folder for "mlflow".
            to: "markdown" or "latex", tables of the candidates; "mteb", which its `ResultCache`
                reads; "trec", runs and judgements; "mlflow", a run for each candidate.

        Raises:
            HarnessError: there is no such export, or it cannot be written.
        """
        from harness.api.exports import export_results

        export_results(self.stored, str(place), to=to)

    @property
    def figures(self) -> list[str]:
        """The names that `figure` takes."""
        places = [each.name for each in self.values.collections]
        return list(dict.fromkeys(plot.key for place in places for plot in self._plots(place)))

    def figure(self, name: str = "differences", *, collection: str | None = None) -> Figure:
        """Return a plotly figure of the report, with its title.

        Args:
            name: one of `figures`.
            collection: name; None takes the first.

        Raises:
            HarnessError: there is no such figure or collection.
        """
        place = self._place(collection)
        found = {plot.key: plot for plot in self._plots(place)}
        if name not in found:
            raise _unknown("figure", name, list(found))
        plot = found[name]
        title = {
            "text": plot.title,
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad_t": 12,
        }
        return plot.figure.update_layout(title=title, margin_t=_TITLE_PX)

    def _place(self, collection: str | None) -> str:
        places = [each.name for each in self.values.collections]
        place = places[0] if collection is None else collection
        if place not in places:
            raise _unknown("collection", place, places)
        return place

    def _plots(self, collection: str) -> Iterator[Plot]:
        from reports import plots

        stored = self.stored
        yield from plots.overview(stored.results, stored.costs, collection)
        yield from plots.tree(stored.results, collection)
        yield from (plot for plot, _ in plots.learning_curves(stored.results))
        yield from plots.gap_split(stored, collection)
        yield from plots.history(stored, collection, (stored.stands_out,))

    def _not_yet(self, what: str, verb: str) -> HarnessError:
        return HarnessError(
            f"{self.folder}: no {what} yet. Call suite.{verb}(), or run: harness {verb} SUITE",
            exit_code=ExitCode.DATA,
        )

    def __repr__(self) -> str:
        from reports import wording

        found = self.values
        said = [wording.headline(found, each.name) for each in found.collections]
        return f"Results of '{found.suite}': {' '.join(said)}"

    def __str__(self) -> str:
        from reports import notebook, terminal

        return notebook.text(terminal.summary(self.values, self.stored.costs))

    def _repr_html_(self) -> str:
        from reports import notebook

        return notebook.results(self.values, self.stored.costs)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)


def _unknown(what: str, name: str, known: list[str]) -> HarnessError:
    return HarnessError(no_such(what, name, known), exit_code=ExitCode.USAGE)
