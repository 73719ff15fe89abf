"""Stored: a results folder, opened with whatever verbs have written into it so far."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.environment import __version__
from harness.errors import ExitCode, HarnessError
from harness.output.folder import MANIFEST, read_manifest
from harness.output.history import PastRun, beside, read_history
from harness.results.values import Costs, Results
from harness.suite.gates import RULES

if TYPE_CHECKING:
    from harness.decision.verdict import Decision
    from harness.diagnosis.values import CandidateDiagnosis, DataHealth, Diagnosis
    from harness.gates.report import GateReport
    from harness.judging.judged import JudgedSuite

_RESULTS = "results.json"
# What a file holds, loaded where there is one.
_VERDICTS = {
    "decision": ("harness.decision.verdict", "Decision"),
    "diagnosis": ("harness.diagnosis.values", "Diagnosis"),
    "gate": ("harness.gates.report", "GateReport"),
    "judging": ("harness.judging.judged", "JudgedSuite"),
}
_VERBS = {"decision.json": "decide", "diagnosis.json": "diagnose", "gate.json": "gate"}
_FILES = (
    *(_RESULTS, "costs.json", "manifest.json", "decision.json", "gate.json"),
    *("diagnosis.json", "diagnosis.parquet", "judging.json"),
)

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Stored:
    """What a results folder holds; None for what no verb has written yet.

    Attributes:
        folder: where it lies.
        manifest: what made the results, as plain values.
        history: runs of the suite, oldest first.
        unreadable: a sentence for every file that this version cannot read.
    """

    folder: Path
    results: Results
    costs: Costs
    manifest: Mapping[str, Any] = field(repr=False)
    decision: Decision | None = None
    diagnosis: Diagnosis | None = None
    gates: GateReport | None = None
    judging: JudgedSuite | None = None
    history: tuple[PastRun, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def stands_out(self) -> str:
        """The candidate that the decision moves to, else the best one besides the baseline."""
        results = self.results
        if self.decision is not None and self.decision.candidate not in (None, results.baseline):
            return self.decision.candidate
        others = [
            score
            for score in results.scores
            if score.candidate != results.baseline and score.metric == results.metrics[0]
        ]
        best = max(others, key=lambda score: score.mean, default=None)
        return best.candidate if best is not None else results.baseline

    def diagnosed(self, candidate: str, collection: str) -> CandidateDiagnosis | None:
        """Return the diagnosis of one candidate on one collection."""
        for found in self.diagnosis.candidates if self.diagnosis else ():
            if (found.candidate, found.collection) == (candidate, collection):
                return found
        return None

    @property
    def undiagnosed(self) -> str:
        """A sentence where the diagnosis does not cover what the decision recommends, else ""."""
        if self.diagnosis is None or self.decision is None:
            return ""
        covered = list(dict.fromkeys(one.candidate for one in self.diagnosis.candidates))
        chosen = self.decision.candidate
        if chosen is None or chosen in covered:
            return ""
        named = ", ".join(f'"{name}"' for name in (*covered, chosen))
        return (
            f"'{chosen}', which the decision recommends, is not diagnosed: by default the baseline "
            f"and what was recommended at the time are. Set candidates = [{named}] in [diagnosis] "
            "and run harness diagnose again."
        )

    def health(self, collection: str) -> DataHealth | None:
        """Return what is doubtful about the data of a collection."""
        for found in self.diagnosis.data if self.diagnosis else ():
            if found.collection == collection:
                return found
        return None


@dataclass(frozen=True)
class StoredJudging:
    """What a results folder holds that `harness judge` has begun and no run has filled.

    Attributes:
        folder, manifest, decision, gates, judging, unreadable: as of `Stored`.
    """

    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)
    judging: JudgedSuite
    decision: Decision | None = None
    gates: GateReport | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return str(self.manifest.get("suite") or self.folder.name)

    @property
    def title(self) -> str:
        """What the suite asks, else its name."""
        said = self.manifest.get("said")
        return str((said.get("question") if isinstance(said, dict) else None) or self.suite)


def read_judging(folder: Path) -> StoredJudging | None:
    """Read a folder that was judged before it was run; None where it holds anything else."""
    if (folder / _RESULTS).is_file() or not (folder / "judging.json").is_file():
        return None
    manifest = _manifest(folder)
    found, unreadable = _verdicts(folder, manifest, None)
    judging = found.pop("judging")
    if judging is None:
        raise HarnessError(unreadable, exit_code=ExitCode.DATA)
    decision, gates = found.get("decision"), found.get("gate")
    return StoredJudging(folder, manifest, judging, decision, gates, tuple(unreadable))


def read_results(folder: Path) -> Stored:
    """Read a results folder.

    Raises:
        HarnessError: exit code 3: nothing is there yet, or another version wrote the results.
    """
    try:
        text = (folder / _RESULTS).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(
            f"{folder}: no results yet. They appear when `harness run SUITE` has finished, or "
            "`harness judge SUITE` where nothing is judged.",
            exit_code=ExitCode.DATA,
        ) from error
    manifest = _manifest(folder)
    unreadable: list[str] = []
    results = _parsed(Results, text, folder / _RESULTS, manifest, unreadable)
    if results is None:
        raise HarnessError(unreadable, exit_code=ExitCode.DATA)
    found, problems = _verdicts(folder, manifest, results)
    return Stored(
        folder=folder,
        results=results,
        costs=found.get("costs") or Costs(costs=[]),
        manifest=manifest,
        decision=found.get("decision"),
        diagnosis=found.get("diagnosis"),
        gates=found.get("gate"),
        judging=found.get("judging"),
        history=tuple(read_history(folder)),
        unreadable=tuple(problems),
    )


def _verdicts(
    folder: Path, manifest: Mapping[str, Any], results: Results | None
) -> tuple[dict[str, Any], list[str]]:
    """Return what verbs have written beside the results, and what of it cannot be read."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for name in ("costs", *_VERDICTS):
        path = folder / f"{name}.json"
        if path.is_file():
            module, model = _VERDICTS.get(name, ("harness.results.values", "Costs"))
            content = path.read_text("utf-8", errors="replace")
            known = getattr(import_module(module), model)
            found[name] = _parsed(known, content, path, manifest, problems, results)
    return found, problems


def find_results(root: Path) -> list[Path]:
    """Return the results folders at or directly below a folder, the newest first."""
    if (root / _RESULTS).is_file():
        return [root]
    found = [path.parent for path in root.glob(f"*/{_RESULTS}") if path.parent.name[0] != "."]
    return sorted(found, key=lambda folder: -(folder / _RESULTS).stat().st_mtime_ns)


def find_judged(root: Path) -> list[Path]:
    """Return the folders that `harness judge` has begun and no run has filled, at or below one."""
    manifests = [root / "manifest.json", *sorted(root.glob("*/manifest.json"))]
    return [
        path.parent
        for path in manifests
        if path.is_file()
        and path.parent.name[:1] != "."
        and not (path.parent / _RESULTS).is_file()
        and any(beside(path.parent, "judging").glob("*.csv"))
    ]


def stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return name, time and size of what is read, which change when a verb writes again."""
    paths = [folder / name for name in _FILES] + [beside(folder, "history.jsonl")]
    return tuple(_stat(path) for path in paths)


def _stat(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return path.name, 0, 0
    return path.name, found.st_mtime_ns, found.st_size


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _parsed(
    model: type[ModelT],
    text: str,
    path: Path,
    manifest: Mapping[str, Any],
    problems: list[str],
    results: Results | None = None,
) -> ModelT | None:
    """Return the values of a file; where it is not what this version writes, say so.

    What is about other candidates than some `results` is not, either.
    """
    try:
        json.loads(text, parse_constant=_no_number, parse_float=_finite)
        found = model.model_validate_json(text, strict=True)
        if isinstance(found, Results):
            _check_whole(found)
        elif results is not None:
            _check_named(found, results)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        problems.append(_of_another_version(path, manifest, f"{place}: {first['msg'].lower()}"))
        return None
    except (ValueError, RecursionError) as error:
        problems.append(_of_another_version(path, manifest, str(error)))
        return None
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(digits)


def _check_whole(results: Results) -> None:
    """Refuse results that contradict themselves, on which a report would stumble.

    Raises:
        ValueError: with what is missing.
    """
    if not results.metrics or not results.collections:
        raise ValueError("no metrics or no collections")
    names = {each.name for each in results.candidates}
    places = {each.name for each in results.collections}
    said = {results.baseline, *(parent for each in results.candidates for parent in each.parents)}
    said |= {name for each in results.comparisons for name in (each.candidate, each.reference)}
    said |= {each.candidate for each in results.scores}
    if said - names:
        raise ValueError(f"no candidate '{min(said - names)}'")
    scored = {(each.candidate, each.collection, each.metric) for each in results.scores}
    compared = {
        (each.candidate, each.collection, each.metric)
        for each in results.comparisons
        if each.role == "baseline"
    }
    shown = dict.fromkeys([*results.metrics, *(each.metric for each in results.scores)])
    for name, place, metric in product(sorted(names), sorted(places), shown):
        if (name, place, metric) not in scored:
            raise ValueError(f"no score of '{name}' on '{place}' in {metric}")
    for name, place, metric in product(sorted(names), sorted(places), results.metrics):
        if name != results.baseline and (name, place, metric) not in compared:
            raise ValueError(f"no comparison of '{name}' on '{place}' in {metric}")


def _check_named(found: Any, results: Results) -> None:
    """Refuse what other verbs found about candidates or collections that the results do not have.

    Raises:
        ValueError: with the first of them.
    """
    candidates: set[str] = set()
    collections: set[str] = set()
    match type(found).__name__:  # without importing what no answer here needs
        case "Costs":
            candidates = {each.candidate for each in found.costs}
            collections = {each.collection for each in found.costs}
        case "Diagnosis":
            candidates = {each.candidate for each in found.candidates}
            collections = {each.collection for each in found.candidates}
            if collections != {each.collection for each in found.data}:
                raise ValueError("candidates and data are of different collections")
        case "Decision":
            candidates = {found.candidate} if found.candidate else set()
        case "GateReport":
            rules = {each.rule for each in found.findings} - set(RULES)
            if rules:
                raise ValueError(f"no rule '{min(rules)}'")
    for what, said, known in (
        ("candidate", candidates, results.candidates),
        ("collection", collections, results.collections),
    ):
        other = said - {each.name for each in known}
        if other:
            raise ValueError(f"no {what} '{min(other)}' in {_RESULTS}")


def _of_another_version(path: Path, manifest: Mapping[str, Any], what: str) -> str:
    environment = manifest.get("environment")
    wrote = environment.get("embedding-harness") if isinstance(environment, dict) else None
    other = f"version {wrote}" if wrote and wrote != __version__ else "another version"
    verb = _VERBS.get(path.name, "run")
    return (
        f"{path}: written by {other} of the harness, or damaged (this is {__version__}; "
        f"{what}). {renewal(path.parent, verb)}"
    )


def renewal(folder: Path, verb: str = "run") -> str:
    """Return how a damaged file of a results folder is written again."""
    # Without it, no verb takes the folder for one of results.
    is_ours = read_manifest(folder) is not None
    first = "" if is_ours else f"Its {MANIFEST} is damaged, too: remove the folder {folder} first. "
    return f"{first}Renew it: harness {verb} SUITE; cached stages are not recomputed."


def missing_tables(folder: Path, names: Iterator[str] | tuple[str, ...]) -> list[str]:
    """Return which of these files a folder does not have."""
    return [name for name in names if not (folder / name).is_file()]
