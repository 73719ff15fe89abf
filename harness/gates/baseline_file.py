"""Baseline file: a stored baseline as one Parquet file, its description in the schema."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from harness.errors import ExitCode, HarnessError
from harness.gates.baseline import About, StoredBaseline, StoredScores

_ABOUT = b"embedding_harness"


def baseline_path(suite: str, given: Path | None) -> Path:
    """Return where a suite's baseline lies."""
    return given or Path("baselines") / f"{suite}.parquet"


def write_baseline(path: Path, baseline: StoredBaseline) -> None:
    """Write a baseline as one Parquet file, whole or not at all.

    Raises:
        HarnessError: exit code 4, it can not be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for name, stored in baseline.scores.items():
        columns: dict[str, Any] = {
            "collection": pa.array([name] * len(stored.query_ids)).dictionary_encode(),
            "query_id": pa.array(stored.query_ids),
        }
        tables.append(pa.table({**columns, **{k: pa.array(v) for k, v in stored.values.items()}}))
    table = pa.concat_tables(tables).unify_dictionaries()
    table = table.replace_schema_metadata({_ABOUT: baseline.about.model_dump_json().encode()})
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, new, compression="zstd")
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise HarnessError(
            f"{path}: can not write the baseline, got {error.strerror or error}. "
            "Free space or permissions there, or name another file with --baseline.",
            exit_code=ExitCode.STAGE,
        ) from error


def refuse_to_replace(path: Path, *, suite_file: str) -> None:
    """Raise if a baseline is stored: replacing one is an act of its own.

    Raises:
        HarnessError: exit code 2.
    """
    if path.exists():
        raise HarnessError(
            f"{path}: a baseline is stored, and saving never replaces it. After a change that is "
            f"meant: harness baseline accept {suite_file}",
            exit_code=ExitCode.USAGE,
        )


def read_baseline(path: Path, *, suite_file: str) -> StoredBaseline:
    """Read a stored baseline.

    Raises:
        HarnessError: exit code 2 where nothing is stored, 3 where the file is no baseline or has
            a score that is not a number.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise HarnessError(
            f"{path}: no stored baseline. Store the pipeline in use with: "
            f"harness baseline save {suite_file}",
            exit_code=ExitCode.USAGE,
        )
    try:
        table = pq.read_table(path)
        about = About.model_validate_json((table.schema.metadata or {})[_ABOUT])
        scores = _stored_scores(table, about)
    except (pa.ArrowException, OSError, KeyError, ValidationError) as error:
        what = "another format" if isinstance(error, ValidationError) else str(error)
        raise _refused(path, f"not a stored baseline, got {what.splitlines()[0]}") from error
    for name, stored in scores.items():
        _check_scores(path, name, stored, about.collections[name].queries)
    return StoredBaseline(about, scores)


def _stored_scores(table: Any, about: About) -> dict[str, StoredScores]:
    owners = np.array(table["collection"].to_pylist())
    ids = np.array(table["query_id"].to_pylist(), dtype=object)
    columns = {metric: table[metric].to_numpy() for metric in about.metrics}
    return {
        name: StoredScores(
            tuple(ids[owners == name]),
            {metric: values[owners == name] for metric, values in columns.items()},
        )
        for name in about.collections
    }


def _check_scores(path: Path, name: str, stored: StoredScores, n_queries: int) -> None:
    if len(set(stored.query_ids)) != n_queries or len(stored.query_ids) != n_queries:
        text = f"{len(set(stored.query_ids))} queries of '{name}' instead of {n_queries}"
        raise _refused(path, text)
    for metric, values in stored.values.items():
        if not np.isfinite(values).all():
            raise _refused(path, f"a score of '{name}' in {metric} is not a number")


def _refused(path: Path, what: str) -> HarnessError:
    return HarnessError(
        f"{path}: {what}. Restore the file, or remove it and run harness baseline save.",
        exit_code=ExitCode.DATA,
    )
