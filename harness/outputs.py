"""Outputs: the files of a finished suite, written beside the old ones and swapped in whole."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.environment import device_name, platform_name, today, versions
from harness.errors import ExitCode, HarnessError
from harness.history import record_run
from harness.inspection import write_inspection, write_per_query
from harness.search import best_engine
from harness.trec import write_run

if TYPE_CHECKING:
    from harness.diagnosis.diagnose import DiagnosisPlan
    from harness.diagnosis.values import Diagnosis
    from harness.plan import Plan
    from harness.results import Costs, Results
    from harness.run import Run

Render = Callable[[], str]


def write_outputs(plan: Plan, results: Results, costs: Costs, folder: Path) -> None:
    """Write every file of a finished suite, and record the run in the history beside the folder.

    Args:
        plan: finished.
        results: gathered from it.
        costs: gathered from it.
        folder: replaced as a whole, so that no file of an older run is left in it.

    Raises:
        HarnessError: exit code 4, the folder can not be written.
    """
    with _replacing(folder) as new:
        _write(new / "results.json", results.model_dump_json(indent=1))
        _write(new / "costs.json", costs.model_dump_json(indent=1))
        _write(new / "manifest.json", json.dumps(manifest(plan), indent=1, ensure_ascii=False))
        _write_tables(plan, results, new)
        _write_runs(plan, new / "runs")
        _write_mteb(plan, results, new / "mteb" / "results")
        _write_synthetic(plan, new / "synthetic")
    record_run(folder, results, version=__version__)


def add_output(path: Path, content: str | bytes) -> None:
    """Add one file to the results folder, whole or not at all.

    Raises:
        HarnessError: exit code 4, the folder can not be written.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(content.encode() if isinstance(content, str) else content)
        new.replace(path)
    except OSError as error:
        raise _cannot_write(path.parent, error) from error


def write_diagnosis(made: DiagnosisPlan, diagnosis: Diagnosis, folder: Path) -> None:
    """Write the files of a diagnosis into a folder of results, in the place of older ones.

    Raises:
        HarnessError: exit code 4, the folder can not be written.
    """
    from harness.diagnosis.diagnose import read_rows
    from harness.diagnosis.files import diagnosis_files

    plan = made.plan
    names = {**slugs(plan.suite.candidates), **slugs(plan.collections)}
    files = diagnosis_files(diagnosis, read_rows(made), plan.collections, names)
    for pattern in ("unjudged.*.csv", "to-add.*.csv", "slices/*.*.*.txt"):
        for old in folder.glob(pattern):
            old.unlink()
    for name, content in files.items():
        add_output(folder / name, content)


def is_current(plan: Plan, folder: Path) -> bool:
    """Tell whether a folder holds the results of exactly these runs and collections."""
    try:
        written = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    now = manifest(plan)
    held = (folder / "results.json").is_file() and isinstance(written, dict)
    return held and all(written.get(key) == now[key] for key in ("collections", "runs", "said"))


def manifest(plan: Plan) -> dict[str, Any]:
    """Return what made the results: what the user said, keys of content, versions, device, seed."""
    store = plan.store
    return {
        "suite": plan.suite.name,
        "said": plan.suite.said,
        "seed": plan.suite.seed,
        "environment": {
            "date": today(),
            "device": device_name(plan.device),
            "platform": platform_name(),
            "search": best_engine(),
            "store": str(store.root),
            **versions(),
        },
        "collections": {name: item.key for name, item in plan.collections.items()},
        "runs": {
            f"{name} on {collection}": stage.run_stage.key(store)
            for (name, collection), stage in plan.scored.items()
        },
    }


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Return a file name for each name, all different.

    >>> slugs(["minilm/128", "minilm_128"])
    {'minilm/128': 'minilm_128', 'minilm_128': 'minilm_128-2'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"[^\w.+-]", "_", name) or "_"
        slug, number = base, 1
        while slug.lower() in taken:
            number += 1
            slug = f"{base}-{number}"
        taken.add(slug.lower())
        found[name] = slug
    return found


def _write_tables(plan: Plan, results: Results, folder: Path) -> None:
    """Write what single queries are looked up in."""
    cards = (
        (name, plan.collections[collection], stage.result(plan.store))
        for (name, collection), stage in plan.scored.items()
    )
    write_per_query(folder / "per_query.parquet", cards, results.metrics)

    def runs(collection: str) -> Iterator[tuple[str, Run]]:
        for (name, place), stage in plan.scored.items():
            if place == collection:
                yield name, stage.run_stage.result(plan.store)

    write_inspection(folder, plan.collections, runs)


def _write_runs(plan: Plan, folder: Path) -> None:
    """Write one TREC run per collection and candidate."""
    names = slugs(plan.suite.candidates)
    places = slugs(plan.collections)
    for (name, collection), stage in plan.scored.items():
        path = folder / places[collection] / f"{names[name]}.trec"
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = plan.collections[collection]
        write_run(
            path,
            stage.run_stage.result(plan.store),
            query_ids=texts.query_ids,
            document_ids=texts.document_ids,
            tag=names[name],
        )


def _write_synthetic(plan: Plan, folder: Path) -> None:
    """Write the questions that language models wrote, each with why it is not trained on."""
    names = slugs(plan.planner.asks)
    for name, ask in plan.planner.asks.items():
        folder.mkdir(exist_ok=True)
        shutil.copyfile(ask.table(plan.store), folder / f"{names[name]}.parquet")


def _write_mteb(plan: Plan, results: Results, folder: Path) -> None:
    """Write MTEB's result files: ``<org>__<model>/<revision>/<task>.json`` and a model_meta.json.

    mteb's `ResultCache` on the folder above this one reads them.
    """
    names = slugs(plan.suite.candidates)
    places = slugs(plan.collections)
    models = {candidate.name: candidate.model for candidate in results.candidates}
    for (name, collection), stage in plan.scored.items():
        hub_id = models[name] or ""
        model = hub_id if _HUB_ID.fullmatch(hub_id) else f"harness/{names[name]}"
        revision = str(stage.run_stage.key(plan.store))
        target = folder / model.replace("/", "__") / revision
        target.mkdir(parents=True, exist_ok=True)
        content = _mteb_result(plan, results, name, collection)
        _write(target / f"{places[collection]}.json", json.dumps(content, indent=2))
        meta = {"name": model, "revision": revision}
        _write(target / "model_meta.json", json.dumps(meta, indent=2))


_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def _mteb_result(plan: Plan, results: Results, name: str, collection: str) -> dict[str, Any]:
    metrics = plan.scored[name, collection].metrics
    values: dict[str, Any] = {
        metric.mteb_name: round(results.score(name, collection, str(metric)).mean, 5)
        for metric in metrics
        if not metric.in_tokens
    }
    main = results.score(name, collection, results.metrics[0]).mean
    # "und" and "Zyyy" are the ISO codes of a language and a script that nobody determined.
    place = {"hf_subset": "default", "languages": ["und-Zyyy"]}
    split = plan.collections[collection].split
    return {
        "dataset_revision": plan.collections[collection].key,
        "task_name": collection,
        "mteb_version": None,
        "scores": {split: [{**values, "main_score": round(main, 5), **place}]},
        "evaluation_time": None,
        "kg_co2_emissions": None,
    }


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder` and put it in its place when the block ends well."""
    new = folder.with_name(f".{folder.name}.new")
    old = folder.with_name(f".{folder.name}.old")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


def _cannot_write(folder: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"results folder {folder}: can not write, got {error.strerror or error}. "
        "Free space or permissions there, or name another folder with --results.",
        exit_code=ExitCode.STAGE,
    )
