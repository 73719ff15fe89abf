"""Failed: what a diagnosis says of every query, read from its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast, get_args

import numpy as np
import numpy.typing as npt

from harness.arrays import Indices, Values
from harness.diagnosis.values import Finding, LossStage
from reports.lookup import reading

FILE = "diagnosis.parquet"


@dataclass(frozen=True)
class Failed:
    """The queries of one candidate on one collection, parallel columns.

    Attributes:
        stages: where each ended.
        ranks: exact rank of the best relevant document, 0 where there is none.
        losses: 1 minus the metric.
        misses: no relevant document within k.
        reasons: keys of findings.
        places: float64 [n, 2], for a map.
        clusters: key of the cluster that holds the query, or "".
    """

    query_ids: tuple[str, ...]
    stages: tuple[LossStage, ...]
    ranks: npt.NDArray[np.int64] = field(repr=False)
    losses: Values = field(repr=False)
    misses: npt.NDArray[np.bool_] = field(repr=False)
    reasons: tuple[tuple[str, ...], ...] = field(repr=False)
    places: Values = field(repr=False)
    clusters: tuple[str, ...] = field(repr=False)

    def row(self, query: str) -> int | None:
        """Return the row of a query."""
        return self._rows.get(query)

    def rows(self, queries: Sequence[str]) -> Indices:
        """Return the rows of those queries that are there."""
        found = (self._rows.get(query) for query in queries)
        return np.array([row for row in found if row is not None], dtype=np.int64)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {query: row for row, query in enumerate(self.query_ids)}


def read_failed(folder: Path, candidate: str, collection: str) -> Failed | None:
    """Return what the diagnosis says of each query of a candidate; None where it says nothing."""
    import pyarrow.parquet as pq

    path = folder / FILE
    if not path.is_file():
        return None
    with reading(path):
        wanted = [("candidate", "==", candidate), ("collection", "==", collection)]
        table = pq.read_table(path, filters=wanted)
        if not len(table):
            return None
        found = Failed(
            query_ids=tuple(table["query_id"].to_pylist()),
            stages=tuple(cast("list[LossStage]", table["stage"].to_pylist())),
            ranks=np.array([rank or 0 for rank in table["rank"].to_pylist()], dtype=np.int64),
            losses=table["loss"].to_numpy(),
            misses=np.array(table["miss"].to_pylist(), dtype=np.bool_),
            reasons=tuple(tuple(keys or ()) for keys in table["reasons"].to_pylist()),
            places=np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1),
            clusters=tuple(key or "" for key in table["cluster"].to_pylist()),
        )
        _check(found)
    return found


def _check(found: Failed) -> None:
    """Refuse columns of another type than those that are written.

    Raises:
        ValueError: with the column.
    """
    known = get_args(LossStage)
    if not all(isinstance(each, str) for each in (*found.query_ids, *found.clusters)):
        raise ValueError("ids of queries and clusters are not strings")
    if not all(each in known for each in found.stages):
        raise ValueError("column 'stage' holds an unknown stage")
    if not all(isinstance(key, str) for keys in found.reasons for key in keys):
        raise ValueError("column 'reasons' holds a value that is not a string")
    if found.losses.dtype.kind != "f" or found.places.dtype.kind != "f":
        raise ValueError("columns 'loss', 'x' and 'y' hold values that are not numbers")


def ended(found: Failed, findings: Sequence[Finding]) -> list[tuple[LossStage, str]]:
    """Return stage and first reason of every query that missed, "" where none is known.

    A reason that a counterfactual confirmed comes before one that is only supported; one that was
    refuted, or that is not significant, explains nothing.
    """
    order = {"confirmed": 0, "supported": 1}
    standing = {f.reason: order[f.status] for f in findings if f.status in order}
    result = []
    for row in np.flatnonzero(found.misses).tolist():
        known = [reason for reason in found.reasons[row] if reason in standing]
        result.append((found.stages[row], min(known, key=lambda key: standing[key], default="")))
    return result
