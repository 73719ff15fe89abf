"""Suite: a question that Python can ask, with a method for every verb of the command line."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.given import Tables, keep_given
from harness.api.steps import (
    Place,
    Session,
    planner,
    prepare,
    receipt_of,
    recommended,
    refuse_folder,
    render_again,
    renew_times,
    run_left,
    run_partly,
    say,
    wanted_of,
    warn,
    with_unjudged,
    write_decision,
    write_results,
)
from harness.errors import counted
from harness.judging import BATCH
from harness.shared_store import store_at
from harness.store import default_store
from harness.suite.load import load_suite, make_suite

if TYPE_CHECKING:
    import pandas as pd

    from harness.api.results import Results
    from harness.api.views import Audit, Decision, Diagnosis, GateReport
    from harness.gates.baseline import StoredBaseline
    from harness.gates.replay import Replayed
    from harness.judging.judged import JudgedSuite
    from harness.plan.plan import Plan as StagePlan


class Suite(Session):
    """A question: candidates, collections, metrics and the baseline, ready to be run.

    The parameters are the keys of a suite file (suites/README.md), with the same words as values. A
    collection may hold its texts instead of a `source`: `documents`, `queries` and `judgements`, or
    `pairs`, to which `documents` may be the corpus, as DataFrames with the columns of the same
    files; or as mappings from id to text, and from query id to {document id: grade}. The `run` and
    the `vectors` of a candidate may be DataFrames, too (see `keep_given`). Relative paths start at
    the working folder.

    >>> suite = Suite(
    ...     "fruit",
    ...     candidates={"bm25": {"kind": "bm25"}},
    ...     collections={
    ...         "notes": {
    ...             "documents": {"d1": "apple pie", "d2": "pear tart"},
    ...             "queries": {"q1": "apple"},
    ...             "judgements": {"q1": {"d1": 1}},
    ...         }
    ...     },
    ...     metrics=["ndcg@10"],
    ...     baseline="bm25",
    ... )
    >>> suite
    Suite 'fruit': 1 candidate, 1 collection, ndcg@10, baseline 'bm25'

    Raises:
        HarnessError: with every problem of what is given.
    """

    def __init__(  # noqa: PLR0913 - the keys of a suite file
        self,
        name: str,
        *,
        candidates: Tables,
        collections: Tables,
        metrics: Sequence[str],
        baseline: str,
        question: str | None = None,
        seed: int | None = None,
        training: Tables | None = None,
        tasks: Tables | None = None,
        decision: Mapping[str, Any] | None = None,
        budgets: Mapping[str, Any] | None = None,
        prices: Mapping[str, Any] | None = None,
        slices: Tables | None = None,
        gates: Tables | None = None,
        diagnosis: Mapping[str, Any] | None = None,
        judging: Mapping[str, Any] | None = None,
        store: Place | None = None,
        results: Place | None = None,
        device: str = "auto",
        offline: bool = False,
        progress: bool = True,
    ) -> None:
        said = {
            "name": name,
            "question": question,
            "metrics": metrics,
            "baseline": baseline,
            "seed": seed,
            "collections": collections,
            "candidates": keep_given(candidates, store_at(store or default_store())),
            "training": training,
            "tasks": tasks,
            "decision": decision,
            "budgets": budgets,
            "prices": prices,
            "slices": slices,
            "gates": gates,
            "diagnosis": diagnosis,
            "judging": judging,
        }
        super().__init__(
            make_suite(said),
            store=store,
            results=results,
            device=device,
            offline=offline,
            progress=progress,
        )

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"Suite '{spec.name}': {counted(len(spec.candidates), 'candidate')}, "
            f"{counted(len(spec.collections), 'collection')}, {', '.join(spec.metrics)}, "
            f"baseline '{spec.baseline}'"
        )

    def _repr_html_(self) -> str:
        from reports import notebook

        return notebook.suite(self.spec)

    def plan(self) -> Plan:
        """Work out the stages: what is cached, what is left to do and how long it takes.

        Runs nothing and loads no model.

        Raises:
            HarnessError: a collection or a model is missing or broken.
        """
        return Plan(planner(self, store_at(self.store), hub="later")())

    def audit(self) -> Audit:
        """Check the collections: ids, texts, judgements, overlap, texts that are truncated.

        Raises:
            HarnessError: a collection or a model cannot be read.
        """
        from harness.api.views import Audit
        from harness.results.audit import audit_suite

        return Audit(**vars(audit_suite(self.spec, store_at(self.store))))

    def run(
        self,
        *,
        time_again: bool = False,
        on: str | None = None,
        workers: int | None = None,
        gpus_per_worker: float | None = None,
    ) -> Results:
        """Run what is left, write the results folder with its report, and open it.

        Can be interrupted; the same call resumes. Candidates and collections whose stages failed
        are left out and listed in `failed` of the results.

        Args:
            time_again: measure the latency again, even where it is stored.
            on: "ray", the Ray cluster of $RAY_ADDRESS, else one that is started on this machine; or
                the ``ray://`` address of one; None for this process. The results are the same.
            workers: of the cluster; None takes one for each of its GPUs or CPUs.
            gpus_per_worker: None takes 1 where `device` is a GPU, else 0.

        Raises:
            HarnessError: something is missing or broken, or nothing is left to compare.
        """
        from harness.api.results import open_results
        from harness.progress import took

        wanted = wanted_of(on, workers, gpus_per_worker)
        started, receipt = time.monotonic(), receipt_of(self)
        if time_again:
            receipt.forget()
        if "run" in receipt.verbs:
            say(self, receipt.sentence)
            return replace(
                open_results(self.folder), took=took("", seconds=time.monotonic() - started)
            )
        refuse_folder(self)
        made = prepare(self)
        from harness.results.gathering import gather, gather_costs
        from harness.retrieval.precision import choices

        made, failed, planned = run_partly(self, made, time_again=time_again, wanted=wanted)
        for line in choices(made.stages, made.store):
            say(self, line)
        say(self, "Comparing the candidates and writing the report …")
        write_results(self, made, gather(made, failed=failed), gather_costs(made))
        if not failed:
            receipt.keep("run", made)
        said = took(planned, seconds=time.monotonic() - started)
        return replace(open_results(self.folder), took=said)

    def train(self, candidate: str) -> None:
        """Train one candidate and its dependencies.

        Raises:
            HarnessError: there is no such candidate, or nothing of it is trained here.
        """
        from harness.plan.execute import execute
        from harness.progress import watch
        from harness.results.training import dev_warnings
        from reports import plan_view

        made = prepare(self, candidate)
        stages = made.makes(candidate)
        left = made.works(stage for stage in stages if not stage.is_done(made.store))
        self.console.print(plan_view.training_left(candidate, left), highlight=False, markup=False)
        execute(made, progress=watch(self.console), stages=stages)
        self.console.print(plan_view.trained(made, stages), highlight=False)
        warn(self, dev_warnings(made, stages))

    def export(self, candidate: str, place: Place, *, to: str = "model") -> Path:
        """Copy out what belongs to one candidate.

        Args:
            candidate: name.
            place: where it is written.
            to: "model", a trained candidate as a folder, absent or empty, with a card, that
                sentence-transformers loads; or "atlas", its texts with vectors and two coordinates
                as a Parquet file that embedding-atlas opens.

        Raises:
            HarnessError: there is no such export, or the candidate has nothing for it.
        """
        from harness.api.exports import OF_CANDIDATE, check_form, export_candidate

        check_form(to, OF_CANDIDATE)
        path = Path(place)
        export_candidate(
            prepare(self, candidate if to == "model" else None), candidate, path, to=to
        )
        return path

    def decide(self) -> Decision:
        """Apply the decision rules, running what is left first.

        Writes decision.json, decision.md, and the documents to judge first as CSV. Candidates and
        collections whose stages failed are left out, and listed in `failed` and the warnings.
        """
        from harness.api.results import open_results

        receipt = receipt_of(self)
        if "decide" in receipt.verbs:
            say(self, receipt.sentence)
            return open_results(self.folder).decision
        refuse_folder(self)
        made = prepare(with_unjudged(self))
        from harness.api.views import Decision
        from harness.output.files import is_current
        from harness.results.gathering import gather, gather_costs

        made, failed, _ = run_partly(self, made)
        say(self, "Comparing the candidates and weighing the options …")
        if (self.folder / "results.json").is_file() and not is_current(made, self.folder):
            write_results(self, made, gather(made, failed=failed), gather_costs(made))
        renew_times(self, made, failed=failed)
        found = write_decision(self, made, gather_costs(made), failed=failed)
        render_again(self)
        if not failed:
            receipt.keep("decide", made)
        return Decision.of(found, failed)

    def judge(self, *, batch: int = BATCH, dry_run: bool = False) -> JudgedSuite:
        """Choose which pairs to grade next, and say what the grades so far show.

        Runs what is left first, and has a model that the suite names in ``[judging]`` grade too,
        within its budget; what that takes is said before. Writes the next pairs of each collection
        as CSV beside the results folder, below the grades that are in it; the same verb reads them
        back. What they show is in judging.json.

        Args:
            batch: pairs to ask for of each collection.
            dry_run: run nothing, ask nobody and write nothing, but say what the model would be
                asked for, and what that takes.

        Returns:
            a difference for each target collection and each candidate but the baseline, and the
            bias of the model.
        """
        from harness.api.judging import judge

        return judge(self, batch=batch, dry_run=dry_run)

    def diagnose(self) -> Diagnosis:
        """Explain where candidates fail, why, and what would help, running what is left first.

        Writes diagnosis.json, diagnosis.parquet, lists of query ids, and documents to judge as CSV.
        Candidates and collections whose stages failed are left out, and listed in `failed`.
        """
        from harness.api.results import open_results

        receipt = receipt_of(self)
        if "diagnose" in receipt.verbs:
            say(self, receipt.sentence)
            return open_results(self.folder).diagnosis
        refuse_folder(self)
        made = prepare(self)
        from harness.api.views import Diagnosis
        from harness.diagnosis.diagnose import (
            check_diagnosis,
            diagnose_beside_baseline,
            plan_diagnosis,
            read_diagnosis,
        )
        from harness.output.files import is_current, write_diagnosis
        from harness.results.gathering import gather, gather_costs
        from reports.diagnosis_tables import CollectionTexts

        check_diagnosis(made)
        made, failed, _ = run_partly(self, made)
        say(self, "Looking for models and training data to diagnose with …")
        if not self.spec.diagnosis.candidates:
            diagnose_beside_baseline(made, recommended(self, made))
        looked = plan_diagnosis(made)
        run_left(self, replace(made, stages=looked.stages))
        found = read_diagnosis(looked)
        if is_current(made, self.folder):
            write_diagnosis(looked, found, self.folder)
            renew_times(self, made, failed=failed)
            render_again(self)
        else:
            write_results(self, made, gather(made, failed=failed), gather_costs(made))
        if not failed and looked.is_asked:
            receipt.keep("diagnose", made)
        texts = {
            name: CollectionTexts(
                dict(zip(each.query_ids, each.queries, strict=True)),
                dict(zip(each.document_ids, each.documents, strict=True)),
            )
            for name, each in made.collections.items()
        }
        return Diagnosis.of(found, texts, open_results(self.folder).stored.results, failed)

    def gate(
        self,
        baseline: Place | None = None,
        *,
        junit_xml: Place | None = None,
        markdown: Place | None = None,
        openmetrics: Place | None = None,
    ) -> GateReport:
        """Evaluate the suite's gates against the stored baseline, running what is left first.

        Writes gate.json, junit.xml and gate.md. The answer is in `state` and `exit_code`; a gate
        that fails raises nothing.

        Args:
            baseline: file of the stored baseline; None takes ./baselines/NAME.parquet.
            junit_xml: write the JUnit XML here, too.
            markdown: write the Markdown here, too.
            openmetrics: write an OpenMetrics text file here, for GitLab.

        Raises:
            HarnessError: there is no baseline and a gate needs one, or it belongs to other data.
        """
        from harness.api.gates import evaluated
        from harness.api.views import GateReport

        receipt = receipt_of(self)
        refuse_folder(self)
        copies = {
            "junit.xml": _path(junit_xml),
            "gate.md": _path(markdown),
            "metrics.txt": _path(openmetrics),
        }
        made = prepare(with_unjudged(self))
        found = evaluated(self, made, _path(baseline), copies)
        receipt.keep("gate", made)  # the answers of other verbs still hold
        return GateReport.of(found)

    def replay(self) -> list[Replayed]:
        """Estimate each gate's false-alarm rate and power on these data; gate nothing."""
        from harness.gates.replay import replay
        from harness.gates.targets import find_targets

        refuse_folder(self)
        made = prepare(with_unjudged(self))
        targets = find_targets(made)
        run_left(self, made)
        return replay(made, targets)

    def save_baseline(self, file: Place | None = None, *, accept: bool = False) -> StoredBaseline:
        """Store the per-query scores of the baseline candidate, to gate against.

        Args:
            file: None takes ./baselines/NAME.parquet.
            accept: replace what is stored, after an intended change.

        Raises:
            HarnessError: one is stored already and is not to be replaced, or none is.
        """
        from harness.api.gates import store_baseline

        return store_baseline(self, _path(file), replaces=accept)


def load(
    path: Place,
    *,
    store: Place | None = None,
    results: Place | None = None,
    device: str = "auto",
    offline: bool = False,
    progress: bool = True,
    limit: int | None = None,
) -> Suite:
    """Read and check a suite file.

    Args:
        path: of the TOML file.
        store: folder or URL of what is computed; None takes $HARNESS_STORE, else ./.harness.
        results: folder of results; None takes ./results/NAME.
        device: "cpu", "cuda", "cuda:1", or "auto": a GPU where there is one.
        offline: never contact the model hub.
        progress: show what is done and how far it is.
        limit: sample this many queries of each collection, and documents; None for all.

    Raises:
        HarnessError: with every problem of the file.
    """
    suite, spec = Suite.__new__(Suite), load_suite(Path(path))
    Session.__init__(
        suite,
        spec if limit is None else spec.limited(limit),
        store=store,
        results=results,
        device=device,
        offline=offline,
        progress=progress,
    )
    return suite


class Plan:
    """The stages of a suite: what is cached, what is left to do and how long it takes.

    Attributes:
        made: the plan itself.
    """

    def __init__(self, made: StagePlan) -> None:
        self.made = made

    @property
    def stages(self) -> pd.DataFrame:
        """A row per stage: label, cached, and the texts, pairs, requests and seconds to do."""
        import pandas as pd

        from reports import plan_view

        columns = ["label", "cached", "texts", "pairs", "requests", "seconds"]
        return pd.DataFrame(plan_view.as_json(self.made)["stages"]).reindex(columns=columns)

    @property
    def estimate(self) -> str:
        """What is left to do and roughly how long it takes, in a sentence."""
        from reports import plan_view

        return plan_view.in_a_sentence(self.made, self.made.left())

    @property
    def takes(self) -> str:
        """Roughly how long what is left takes, such as "about 20 s"."""
        from reports import plan_view

        said = plan_view.duration_of(self.made, self.made.left())
        return f"{said[:1].lower()}{said[1:]}"

    @property
    def warnings(self) -> list[str]:
        """About the candidates, each a sentence."""
        return list(self.made.planner.warnings)

    def __repr__(self) -> str:
        return f"Plan of '{self.made.suite.name}': {self.estimate}"

    def _repr_html_(self) -> str:
        from reports import notebook, plan_view

        return notebook.printed(plan_view.render(self.made))


def _path(given: Place | None) -> Path | None:
    return None if given is None else Path(given)
