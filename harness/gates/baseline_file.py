"""Baseline file: a stored baseline as one Parquet file, its description in the schema."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from harness.errors import ExitCode, HarnessError, cannot_write
from harness.gates.baseline import FORMAT, About, StoredBaseline, StoredScores
from harness.hashing import digest
from harness.statistics.sums import SAME

_ABOUT, _DIGEST = b"embedding_harness", b"embedding_harness_digest"


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
    about = baseline.about.model_dump_json().encode()
    digested = _digest(about, baseline.scores).encode()
    table = table.replace_schema_metadata({_ABOUT: about, _DIGEST: digested})
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, new, compression="zstd")
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise cannot_write(str(path), error, instead="another file with --baseline") from error


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
        HarnessError: exit code 2 where nothing is stored, 3 where the file is no baseline or is
            damaged: a score that is no number from 0 to 1, or content that was not written here.
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
        metadata = table.schema.metadata or {}
        about = About.model_validate_json(metadata.get(_ABOUT, b""))
        scores = _stored_scores(table, about)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        what = "another format" if isinstance(error, ValidationError) else str(error)
        lines = what.splitlines() or [type(error).__name__]
        raise _refused(path, f"not a stored baseline, got {lines[0]}") from error
    if about.format != FORMAT:
        raise _refused(
            path, f"not a stored baseline, got format {about.format} instead of {FORMAT}"
        )
    for name, stored in scores.items():
        _check_scores(path, name, stored, about.collections[name].queries)
    # Files from before rankings were stored have no digest either.
    if about.rankings and metadata.get(_DIGEST) != _digest(metadata[_ABOUT], scores).encode():
        raise _refused(path, "not as it was written (its digest differs)")
    return StoredBaseline(about, scores)


def _digest(about: bytes, scores: Mapping[str, StoredScores]) -> str:
    """Return the digest of all that a file says."""
    tables = {name: [stored.query_ids, dict(stored.values)] for name, stored in scores.items()}
    return digest("baseline", about, tables)


def _stored_scores(table: Any, about: About) -> dict[str, StoredScores]:
    names, queries = (table[key].to_pylist() for key in ("collection", "query_id"))
    if not all(isinstance(text, str) for text in (*names, *queries)):
        raise TypeError("ids that are not texts")
    owners, ids = np.array(names, dtype=object), np.array(queries, dtype=object)
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
        if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
            raise _refused(path, f"a score of '{name}' in {metric} is not a number")
        beyond = np.flatnonzero((values < -SAME) | (values > 1 + SAME))
        if len(beyond):
            query, score = stored.query_ids[beyond[0]], values[beyond[0]]
            text = f"query '{query}' of '{name}' scores {score:g} in {metric}, not from 0 to 1"
            raise _refused(path, text)


def _refused(path: Path, what: str) -> HarnessError:
    return HarnessError(
        f"{path}: {what}. Restore the file, or remove it and run harness baseline save.",
        exit_code=ExitCode.DATA,
    )
