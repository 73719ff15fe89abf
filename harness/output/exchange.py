"""Exchange: what a results folder holds, in the formats of TREC, MTEB, ranx and MLflow."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.environment import __version__
from harness.errors import ExitCode, HarnessError, cannot_write
from harness.output.files import slugs
from harness.output.inspection import JUDGEMENTS, QUERIES
from harness.runs.metrics import parse_metric
from harness.runs.trec import escaped, read_whole_run

if TYPE_CHECKING:
    import pandas as pd
    import ranx

    from harness.results.values import Costs, Results

_WHOLE = 1_000_000  # ranks of a run, all of them
_ARTIFACTS = ("report.html", "summary.md", "results.json", "costs.json", "decision.json")
_NO_NAME = re.compile(r"[^\w\-. ]")  # what MLflow takes in no name of a metric
_COSTS = ("query_ms_p50", "query_ms_p95", "bytes_per_document", "documents_per_second")


@dataclass(frozen=True)
class Ranx:
    """A collection in ranx's own objects, for its fusion, plots and comparisons.

    Attributes:
        qrels: of the judged queries.
        runs: by candidate.
    """

    qrels: ranx.Qrels
    runs: Mapping[str, ranx.Run]


def write_trec(results: Results, source: Path, folder: Path) -> None:
    """Write the runs and judgements of every collection, as trec_eval and ir_measures read them.

    They lie in ``runs/<collection>/<candidate>.trec`` and ``qrels/<collection>.qrels``. A judged
    document that is not in the corpus, which no run can hold, has a name of its own.

    Args:
        results: of a run.
        source: their folder.
        folder: absent, or with other runs.

    Raises:
        HarnessError: exit code 4, the folder cannot be written.
    """
    try:
        shutil.copytree(source / "runs", folder / "runs", dirs_exist_ok=True)
        (folder / "qrels").mkdir(exist_ok=True)
        for collection, slug in _places(results).items():
            path = folder / "qrels" / f"{slug}.qrels"
            path.write_text("".join(_qrels_lines(source, collection)), "utf-8")
    except (OSError, shutil.Error) as error:
        raise _no_place(folder, error) from error


def write_mteb(source: Path, folder: Path) -> None:
    """Add the scores to a folder that mteb's `ResultCache` reads, such as ``~/.cache/mteb``.

    Args:
        source: of results.
        folder: its ``results/`` gets ``<org>__<model>/<revision>/<collection>.json``.

    Raises:
        HarnessError: exit code 4, the folder cannot be written.
    """
    try:
        shutil.copytree(source / "mteb", folder, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise _no_place(folder, error) from error


def ranx_of(results: Results, source: Path, collection: str) -> Ranx:
    """Return a collection's judgements and runs as ranx's objects; its first use compiles a while.

    Args:
        results: of a run.
        source: their folder.
        collection: name.
    """
    import ranx

    grades = _grades(source, collection)
    judged: dict[str, dict[str, int]] = {}
    for query, document, grade in grades.itertuples(index=False):
        judged.setdefault(query, {})[document] = grade
    names = slugs(each.name for each in results.candidates)
    folder = source / "runs" / _places(results)[collection]
    queries = sorted(_table(source / QUERIES, collection)["query_id"])
    documents = sorted(set(grades["document_id"]))
    runs = {}
    for name, slug in names.items():
        found = read_whole_run(
            folder / f"{slug}.trec", query_ids=queries, judged=documents, depth=_WHOLE
        )
        run, ids = found.imported.run, found.document_ids
        ranked = {
            query: {
                ids[row]: float(value) for row, value in zip(rows, scores, strict=True) if row >= 0
            }
            for query, rows, scores in zip(queries, run.documents, run.scores, strict=True)
        }
        answered = {query: found for query, found in ranked.items() if found}
        runs[name] = ranx.Run.from_dict(answered, name=name)
    return Ranx(ranx.Qrels.from_dict(judged), runs)


def log_to_mlflow(results: Results, costs: Costs, source: Path, place: str) -> None:
    """Log a run of MLflow for the suite, with its files, and below it one for each candidate.

    Args:
        results: of a run.
        costs: measured.
        source: their folder.
        place: a tracking URI, or a folder.

    Raises:
        HarnessError: exit code 2, MLflow is not installed; 4, it refuses.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise HarnessError(
            "MLflow is not installed. Run: pip install 'embedding-harness[mlflow]'",
            exit_code=ExitCode.USAGE,
        ) from None
    uri = place if ":" in place else Path(place).resolve().as_uri()
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(results.suite)
        experiment = known.experiment_id if known else client.create_experiment(results.suite)
        tags = {"embedding-harness": __version__, "mlflow.note.content": results.question}
        whole = client.create_run(experiment, run_name=results.suite, tags=tags).info.run_id
        for name in _ARTIFACTS:
            if (source / name).is_file():
                client.log_artifact(whole, str(source / name))
        for candidate in results.candidates:
            tags = {"mlflow.parentRunId": whole, "embedding-harness": __version__}
            run = client.create_run(experiment, run_name=candidate.name, tags=tags).info.run_id
            told = {
                "kind": candidate.kind,
                "change": candidate.change,
                "model": candidate.model,
                "dimension": candidate.dimension,
                "baseline": results.baseline,
                "seed": results.seed,
            }
            for key, value in told.items():
                if value is not None:
                    client.log_param(run, key, value)
            for key, number in _numbers(results, costs, candidate.name):
                client.log_metric(run, key, number)
            client.set_terminated(run)
        client.set_terminated(whole)
    except MlflowException as error:
        raise HarnessError(f"{place}: MLflow says: {error}", exit_code=ExitCode.STAGE) from error


def _numbers(results: Results, costs: Costs, name: str) -> Iterator[tuple[str, float]]:
    """Yield what MLflow plots of a candidate, by collection, each value with its own name."""
    shown = set(results.metrics)
    for score in results.scores:
        if score.candidate == name and score.metric in shown:
            key = _metric_name(score.collection, score.metric)
            yield from ((key, score.mean), (f"{key}_low", score.low), (f"{key}_high", score.high))
    for each in results.comparisons:
        if each.candidate == name and each.role == "baseline":
            key = _metric_name(each.collection, each.metric)
            yield from ((f"{key}_difference", each.difference), (f"{key}_p", each.p_adjusted))
    for cost in costs.costs:
        for field in _COSTS if cost.candidate == name else ():
            if (value := getattr(cost, field)) is not None:
                yield f"{_NO_NAME.sub('_', cost.collection)}/{field}", value


def _metric_name(collection: str, metric: str) -> str:
    """Return a name that MLflow takes, ``claims/ndcg_at_10``; it groups by what stands before /."""
    text = metric if parse_metric(metric).in_tokens else parse_metric(metric).mteb_name
    return f"{_NO_NAME.sub('_', collection)}/{_NO_NAME.sub('_', text)}"


def _places(results: Results) -> dict[str, str]:
    return slugs(each.name for each in results.collections)


def _table(path: Path, collection: str) -> pd.DataFrame:
    import pandas as pd

    found = pd.read_parquet(path, filters=[("collection", "==", collection)])
    return found.drop(columns="collection")


def _grades(source: Path, collection: str) -> pd.DataFrame:
    """Return query_id, document_id and grade of every judgement."""
    found = _table(source / JUDGEMENTS, collection)
    absent = found["document_id"].isna()
    found["document_id"] = found["document_id"].astype(object)
    names = [f"not-in-corpus-{row}" for row in range(int(absent.sum()))]
    found.loc[absent, "document_id"] = names
    return found


def _qrels_lines(source: Path, collection: str) -> Iterator[str]:
    found = _grades(source, collection)
    columns: Sequence[Any] = (
        escaped(found["query_id"].tolist()),
        escaped(found["document_id"].tolist()),
        found["grade"].tolist(),
    )
    for query, document, grade in zip(*columns, strict=True):
        yield f"{query} 0 {document} {grade}\n"


def _no_place(folder: Path, error: Exception) -> HarnessError:
    cause = error if isinstance(error, OSError) else OSError(str(error))
    return cannot_write(str(folder), cause, instead="another folder")
