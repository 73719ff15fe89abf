"""Atlas: a candidate's texts with vectors and two coordinates, as embedding-atlas opens them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from harness.diagnosis.layout import lay_out
from harness.errors import ExitCode, HarnessError, no_such
from harness.output.files import add_output
from harness.plan.plan import Plan
from harness.stage import InputMissingError


def write_atlas(plan: Plan, name: str, path: Path) -> None:
    """Write the documents and queries of a candidate as one Parquet file.

    Columns `collection`, `side` ("document" or "query"), `id`, `text`, `vector` (float32, as it is
    compared), `x` and `y`: neighbours in the candidate's space stand together, of more than 5,000
    texts the two main axes.

    Args:
        plan: of the suite, which has run.
        name: of a candidate with a vector for each text.
        path: of the file, which is replaced.

    Raises:
        HarnessError: exit code 2, no such candidate, or it has no vectors; 4, they are not encoded
            yet, or the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    suite = plan.suite
    if name not in suite.candidates:
        problem = no_such("candidate", name, suite.candidates)
        raise HarnessError(f"{suite.where()}: {problem}", exit_code=ExitCode.USAGE)
    if not suite.candidates[name].has_vectors:
        able = ", ".join(f"'{each}'" for each, spec in suite.candidates.items() if spec.has_vectors)
        raise HarnessError(
            f"{suite.where('candidates', name)}: candidate '{name}' has no single vector per text. "
            f"Name one that has: {able or 'none in this suite'}.",
            exit_code=ExitCode.USAGE,
        )
    tables = []
    for place, texts in plan.collections.items():
        documents, queries = _vectors(plan, name, place)
        vectors = np.concatenate([documents, queries]).astype(np.float32)
        places = lay_out(vectors)
        columns: dict[str, Any] = {
            "collection": [place] * len(vectors),
            "side": ["document"] * len(documents) + ["query"] * len(queries),
            "id": [*texts.document_ids, *texts.query_ids],
            "text": [*texts.documents, *texts.queries],
            "vector": pa.array(list(vectors)),
            "x": places[:, 0],
            "y": places[:, 1],
        }
        tables.append(pa.table(columns))
    body = io.BytesIO()
    pq.write_table(pa.concat_tables(tables), body, compression="zstd")
    add_output(path, body.getvalue())


def _vectors(plan: Plan, name: str, collection: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of documents and queries, float [n, dim]."""
    try:
        sides = plan.planner.space(name, collection).read(plan.store)
    except InputMissingError as error:
        raise HarnessError(
            f"the vectors of '{name}' on {collection} are not encoded yet. Run: harness run SUITE "
            "(in Python: suite.run())",
            exit_code=ExitCode.STAGE,
        ) from error
    documents, queries = (each.block(0, len(each)) for each in sides)
    return documents, queries
