"""History: one line for every run of a suite, beside the results folder that each run replaces."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from pydantic import ValidationError

from harness.errors import cannot_write
from harness.results.values import Results
from harness.value import Value


class PastScore(Value):
    """What a candidate scored in the deciding metric, with its 95% interval."""

    candidate: str
    collection: str
    mean: float
    low: float
    high: float
    n: int


class PastRun(Value):
    """One run of a suite.

    Attributes:
        time: UTC, to the second.
        version: of the harness.
        metric: the one that decides.
        collections: content key of each; where it changed, scores do not compare.
    """

    time: str
    version: str
    suite: str
    baseline: str
    metric: str
    collections: dict[str, str]
    scores: list[PastScore]


def beside(folder: Path, name: str) -> Path:
    """Return the path of a file that belongs to a results folder and outlives it.

    >>> beside(Path("results/claims"), "history.jsonl").as_posix()
    'results/claims.history.jsonl'
    """
    return folder.with_name(f"{folder.name}.{name}")


def record_run(folder: Path, results: Results, *, version: str) -> PastRun:
    """Append a run to the history of its results folder, and return it.

    Raises:
        HarnessError: exit code 4, the file cannot be written.
    """
    run = PastRun(
        time=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        version=version,
        suite=results.suite,
        baseline=results.baseline,
        metric=results.metrics[0],
        collections={found.name: found.key for found in results.collections},
        scores=[
            PastScore(**score.model_dump(include=set(PastScore.model_fields)))
            for score in results.scores
            if score.metric == results.metrics[0]
        ],
    )
    append_run(folder, run)
    return run


def append_run(folder: Path, run: PastRun) -> None:
    """Append what is known of a run to the history of a results folder.

    Raises:
        HarnessError: exit code 4, the file cannot be written.
    """
    path = beside(folder, "history.jsonl")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(run.model_dump_json() + "\n")
    except OSError as error:
        raise cannot_write(
            str(path), error, instead="another folder with --results (in Python: results=…)"
        ) from error


def read_history(folder: Path) -> list[PastRun]:
    """Return the runs recorded beside a results folder, oldest first.

    A line that another version wrote, or that a full disk cut, is left out, and so is a file that
    cannot be read.
    """
    try:
        lines = beside(folder, "history.jsonl").read_bytes().splitlines()
    except OSError:
        return []
    runs = []
    for line in lines:
        try:
            runs.append(PastRun.model_validate_json(line))
        except ValidationError:  # also where bytes are no UTF-8
            continue
    return runs
