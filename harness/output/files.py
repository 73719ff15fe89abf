"""Outputs: the files of a finished suite, written beside the old ones and swapped in whole."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.environment import __version__, device_name, platform_name, today, versions
from harness.errors import HarnessError, cannot_write
from harness.hashing import digest, file_digest
from harness.output.folder import (
    MANIFEST,
    read_manifest,
    refuse_other_results,
    replacing,
    suite_file,
)
from harness.output.history import append_run, beside, record_run
from harness.output.inspection import PassagesOf, TermsOf, write_inspection, write_per_query
from harness.retrieval.engine import best_engine
from harness.retrieval.folding import FoldPassages
from harness.retrieval.precision import choices
from harness.retrieval.sparse import SparseSearch
from harness.runs.trec import write_run
from harness.suite.mteb_tasks import main_metric

if TYPE_CHECKING:
    from harness.diagnosis.diagnose import DiagnosisPlan
    from harness.diagnosis.values import Diagnosis
    from harness.plan.plan import Plan
    from harness.results.values import Costs, Results
    from harness.runs.run import Run

# What other verbs add to the folder, and the parts of a suite file that it does not rest on.
_VERDICTS: Mapping[str, tuple[str, ...]] = {
    "decide": ("decision.json", "decision.md", "to-judge.*.csv"),
    "gate": ("gate.json", "gate.md", "junit.xml"),
    "judge": ("judging.json",),
    "diagnose": (
        *("diagnosis.json", "diagnosis.parquet"),
        *("unjudged.*.csv", "to-add.*.csv", "slices/*.*.*.txt"),
    ),
}
_STALE = "stale"  # for files of other verbs, about runs that are no more
_UNREAD: Mapping[str, set[str]] = {
    "decide": {"question", "gates", "slices", "diagnosis"},
    "gate": {"question", "decision", "budgets", "prices", "diagnosis"},
    "judge": {"question", "decision", "budgets", "prices", "diagnosis", "gates", "slices"},
    "diagnose": {"question", "decision", "budgets", "prices", "gates", "slices", "judging"},
}


def write_outputs(
    plan: Plan,
    results: Results,
    costs: Costs,
    folder: Path,
    *,
    finish: Callable[[Path], None] = lambda _: None,
) -> list[str]:
    """Write every file of a finished suite, and record the run in the history beside the folder.

    Args:
        plan: finished.
        results: gathered from it.
        costs: gathered from it.
        folder: replaced as a whole, so that no file of an older run is left in it, but for what
            other verbs have found out about the same runs and collections, and files of a reader.
        finish: writes more into the new folder before it takes the place of the old one.

    Returns:
        A sentence for each verb whose files were moved to the folder ``stale``, because they belong
        to other runs, collections, grades or settings.

    Raises:
        HarnessError: exit code 4, the folder cannot be written; 2, others have put files there
            since the run began.
    """
    refuse_other_results(folder, plan.suite, store=plan.store.root)
    try:
        with replacing(folder) as new:
            _write(new / "results.json", results.model_dump_json(indent=1))
            _write(new / "costs.json", costs.model_dump_json(indent=1))
            _write_manifest(new, {**manifest(plan), "file": suite_file(folder, plan.suite)})
            _write_tables(plan, results, new)
            _write_runs(plan, new / "runs")
            _write_mteb(plan, results, new / "mteb" / "results")
            _write_synthetic(plan, new / "synthetic")
            verdicts = _keep_verdicts(plan, folder, new)
            with suppress(FileNotFoundError):  # the reports show it, with this run
                shutil.copyfile(beside(folder, "history.jsonl"), beside(new, "history.jsonl"))
            run = record_run(new, results, version=__version__)
            finish(new)
            _list_files(new, sorted(_files(new)))
            stale = []
            for verb, names, other in verdicts:
                moved = [name for name in names if not (new / name).exists()]
                in_file = plan.suite.has_file
                again = f"harness {verb} {plan.suite.path}" if in_file else f"suite.{verb}()"
                for name in moved:
                    (new / _STALE / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(folder / name, new / _STALE / name)
                if moved:
                    stale.append(
                        f"Moved to {folder / _STALE}: {', '.join(moved)}. "
                        f"They belong to other {other}. To create them again: {again}"
                    )
            _keep_others(folder, new)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    append_run(folder, run)
    return stale


def add_output(path: Path, content: str | bytes) -> None:
    """Add one file to the results folder, whole or not at all.

    A symbolic link stays, and its target is replaced; what is no file, such as ``/dev/stdout``, is
    written to.

    Raises:
        HarnessError: exit code 4, the folder cannot be written.
    """
    body = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(body)
            return
        path = path.resolve()
        new = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
        for last in (False, True):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                new.write_bytes(body)
                new.replace(path)
            except FileNotFoundError:  # another run has just replaced the folder
                if last:
                    raise
            else:
                return
            finally:
                with suppress(OSError):
                    new.unlink()
    except OSError as error:
        raise _cannot_write(path.parent, error) from error


def add_verdict(
    plan: Plan,
    folder: Path,
    verb: str,
    files: Mapping[str, str | bytes],
    *,
    graded: Path | None = None,
) -> None:
    """Write the files of a verb that judges runs in the place of its older ones.

    The manifest notes what they rest on. What a reader has filled into the CSVs stays in them, and
    an older list of queries that the suite reads stays.

    Args:
        plan: whose runs are judged.
        folder: of results.
        verb: "decide", "gate" or "diagnose".
        files: content by name.
        graded: the folder of results beside which grades lie; None is `folder`.

    Raises:
        HarnessError: exit code 4, the folder cannot be written.
    """
    from harness.diagnosis.files import is_answered, with_answers

    new: dict[str, str | bytes] = dict(files)
    for pattern in _VERDICTS[verb]:
        for old in folder.glob(pattern):
            name = old.relative_to(folder).as_posix()
            if old.suffix == ".csv" and is_answered(old):
                new[name] = with_answers(old, str(new.get(name, "")))
            elif name not in new and not _is_read(plan, old):
                old.unlink()
        for old in (folder / _STALE).glob(pattern):
            if not _is_read(plan, old):
                old.unlink()
    for left in (folder / _STALE / "slices", folder / _STALE):
        with suppress(OSError):  # none, or files of other verbs
            left.rmdir()
    for name, content in new.items():
        add_output(folder / name, content)
    _note(plan, folder, verb, graded=graded or folder)
    ours = (read_manifest(folder) or {}).get("files")
    if ours is not None or not (folder / "results.json").is_file():
        _list_files(folder, sorted({*(ours or []), *new}))


def _files(folder: Path) -> list[str]:
    """Return the paths of all files below a folder, relative to it."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return [path.relative_to(folder).as_posix() for path in paths]


def _list_files(folder: Path, names: list[str]) -> None:
    """Note in the manifest which files are ours, so that a reader's own are told from them."""
    _write_manifest(folder, {**(read_manifest(folder) or {}), "files": names})


def _keep_others(folder: Path, new: Path) -> None:
    """Copy what a reader has put into the folder: the files that its manifest does not list.

    An older version listed none; there, what lies where we write is ours.
    """
    ours = (read_manifest(folder) or {}).get("files")
    places = {path.name for path in new.iterdir()}
    verdicts = [pattern for patterns in _VERDICTS.values() for pattern in patterns]
    for name in _files(folder):
        if ours is not None:
            is_ours = name in ours
        else:
            is_ours = name.split("/")[0] in places or any(fnmatch(name, each) for each in verdicts)
        is_scratch = name.startswith(".") and ".new" in name  # of a run that was killed
        if not is_ours and not is_scratch and not (new / name).exists():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / name, new / name, follow_symlinks=False)


def _note(plan: Plan, folder: Path, verb: str, *, graded: Path) -> None:
    held = read_manifest(folder) or {}
    fresh = {**manifest(plan), "file": suite_file(folder, plan.suite)}
    about = held if held and (folder / "results.json").is_file() else fresh
    verdicts = held.get("verdicts")  # another verb's holds, too, where nothing was run before
    known = verdicts if isinstance(verdicts, dict) else {}
    _write_manifest(folder, {**about, "verdicts": {**known, verb: _rests_on(plan, verb, graded)}})


def _keep_verdicts(plan: Plan, folder: Path, new: Path) -> list[tuple[str, list[str], str]]:
    """Copy what verbs found out about the same runs, CSVs with answers, and what the suite reads.

    Returns:
        The verbs with their files in the old folder, and what these belong to that is another now.
    """
    from harness.diagnosis.files import is_answered

    about = read_manifest(folder) or {}
    verdicts = about.get("verdicts")
    if not isinstance(verdicts, dict):  # an older version noted nothing
        same = is_current(plan, folder)
        verdicts = {verb: _rests_on(plan, verb, folder) for verb in _VERDICTS} if same else {}
    found = []
    for verb, patterns in _VERDICTS.items():
        files = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
        before, now = verdicts.get(verb), _rests_on(plan, verb, folder)
        for path in files:
            is_filled = path.suffix == ".csv" and is_answered(path)
            if before == now or is_filled or _is_read(plan, path):
                (new / path.relative_to(folder)).parent.mkdir(exist_ok=True)
                shutil.copy2(path, new / path.relative_to(folder))
        if before == now and files:
            _note(plan, new, verb, graded=folder)
        old = before if isinstance(before, dict) and before.keys() == now.keys() else now
        others = [part for part in now if old[part] != now[part]]
        names = [path.relative_to(folder).as_posix() for path in files]
        other = " and".join(", ".join(others).rsplit(",", 1)) or "runs, collections or settings"
        found.append((verb, names, other))
    return found


def _is_read(plan: Plan, path: Path) -> bool:
    """Tell whether a suite names a file as the list of queries of a slice or gate."""
    suite = plan.suite
    specs = (*suite.slices.values(), *suite.gates.values())
    files = [file for file in (getattr(each, "file", None) for each in specs) if file]
    # By its last names, since a folder that is being written has another place.
    return any(suite.locate(file).parts[-2:] == path.parts[-2:] for file in files)


def _rests_on(plan: Plan, verb: str, folder: Path) -> dict[str, str]:
    """Return the keys of what a verb reads: runs, collections, grades, and parts of the suite."""
    from harness.diagnosis.files import answers_of

    now = manifest(plan)
    said = {key: value for key, value in plan.suite.said.items() if key not in _UNREAD[verb]}
    parts: dict[str, Any] = {
        "runs": now["runs"],
        "collections": now["collections"],
        "settings": said,
    }
    if verb in {"decide", "gate", "judge"}:
        files = grade_files(plan, folder).values()
        answers = [(file, answers_of(file)) for file in files if file.is_file()]
        parts["grades"] = [file_digest(f) if a is None else a for f, a in answers if a != []]
    return {
        part: digest(json.dumps(value, sort_keys=True, default=str))
        for part, value in parts.items()
    }


def write_diagnosis(made: DiagnosisPlan, diagnosis: Diagnosis, folder: Path) -> None:
    """Write the files of a diagnosis into a folder of results, in the place of older ones.

    What a reader has filled into the CSVs stays in them.

    Raises:
        HarnessError: exit code 4, the folder cannot be written.
    """
    from harness.diagnosis.diagnose import read_rows
    from harness.diagnosis.files import diagnosis_files

    names = {**slugs(made.plan.suite.candidates), **slugs(made.plan.collections)}
    files = diagnosis_files(diagnosis, read_rows(made), made.plan.collections, names)
    add_verdict(made.plan, folder, "diagnose", files)


def is_current(plan: Plan, folder: Path) -> bool:
    """Tell whether a folder holds the results of exactly these runs and collections."""
    written = read_manifest(folder)
    now = manifest(plan)
    return (
        written is not None
        and (folder / "results.json").is_file()
        and all(written.get(key) == now[key] for key in ("collections", "runs", "said"))
    )


def manifest(plan: Plan) -> dict[str, Any]:
    """Return what made the results: what the user said, keys of content, versions, device, seed."""
    store = plan.store
    dtypes = list(choices(plan.stages, store))
    return {
        "suite": plan.suite.name,
        "said": plan.suite.said,
        "seed": plan.suite.seed,
        "environment": {
            "date": today(),
            "device": device_name(plan.device),
            "platform": platform_name(),
            "search": best_engine(),
            "store": store.name,
            **({"dtypes": dtypes} if dtypes else {}),
            **versions(),
        },
        "collections": {name: item.key for name, item in plan.collections.items()},
        "runs": {
            f"{name} on {collection}": stage.run_stage.key(store)
            for (name, collection), stage in plan.scored.items()
        },
    }


def grade_files(plan: Plan, folder: Path) -> dict[str, Path]:
    """Return the file of grades of each target collection, which lies beside a results folder."""
    return {
        name: beside(folder, "judging") / f"{slug}.csv"
        for name, slug in slugs(plan.collections).items()
        if plan.suite.collections[name].role == "target"
    }


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Return a file name for each name, all different.

    >>> slugs(["minilm/128", "minilm_128"])
    {'minilm/128': 'minilm_128', 'minilm_128': 'minilm_128-2'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"[^\w.+-]", "_", name)
        # Two of this length and some words fit into the name of a file.
        base = base.encode()[:_LONGEST_SLUG].decode(errors="ignore") or "_"
        slug, number = base, 1
        while slug.lower() in taken:
            number += 1
            slug = f"{base}-{number}"
        taken.add(slug.lower())
        found[name] = slug
    return found


_LONGEST_SLUG = 80  # bytes, of 255
_MOST_TERMS = 8  # that query and document share, those that add most


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

    write_inspection(folder, plan.collections, runs, terms=_terms(plan), passages=_passages(plan))


def _passages(plan: Plan) -> PassagesOf | None:
    """Return what finds the best passage of each result; None where no collection has passages."""
    stages = {place: scored.run_stage for place, scored in plan.scored.items()}
    folded = {place: each for place, each in stages.items() if isinstance(each, FoldPassages)}
    if not folded:
        return None
    return lambda name, collection: folded[name, collection].passages(plan.store)


def _terms(plan: Plan) -> TermsOf | None:
    """Return what finds the terms that query and document share; None without a sparse encoder."""
    stages = {place: scored.run_stage for place, scored in plan.scored.items()}
    if not any(isinstance(stage, SparseSearch) for stage in stages.values()):
        return None

    def terms(name: str, collection: str, run: Run) -> Iterator[list[str]] | None:
        stage = stages[name, collection]
        if not isinstance(stage, SparseSearch):
            return None
        return (
            [", ".join(f"{each.term} {each.score:.2f}" for each in shared) for shared in told]
            for told in stage.space.shared(plan.store, run, most=_MOST_TERMS)
        )

    return terms


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
    task = plan.planner.inputs.raw[collection].task
    main = results.metrics[0] if task is None else str(main_metric(task))
    # "und" and "Zyyy" are the ISO codes of a language and a script that nobody determined.
    place = {
        "hf_subset": "default" if task is None else task.subset,
        "languages": ["und-Zyyy"] if task is None else list(task.languages),
    }
    main_score = round(results.score(name, collection, main).mean, 5)
    split = plan.collections[collection].split
    return {
        "dataset_revision": plan.collections[collection].key,
        "task_name": collection,
        "mteb_version": None,
        "scores": {split: [{**values, "main_score": main_score, **place}]},
        "evaluation_time": None,
        "kg_co2_emissions": None,
    }


def _write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    add_output(folder / MANIFEST, json.dumps(content, indent=1, ensure_ascii=False))


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


def _cannot_write(folder: Path, error: OSError) -> HarnessError:
    instead = "another folder with --results (in Python: results=…)"
    return cannot_write(f"results folder {folder}", error, instead=instead)
