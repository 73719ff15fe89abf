"""A candidate's texts become a table of vectors and places that embedding-atlas opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import plan_of, write_suite

from harness.errors import ExitCode, HarnessError
from harness.output.atlas import write_atlas
from harness.plan.execute import execute
from harness.stage import Silent
from harness.store import Store


def test_every_text_has_its_vector_and_a_place(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        candidates.static.model = "{static_model}"
        candidates.short = {{ from = "static", truncate = 8 }}
        candidates.words.kind = "bm25"
        """,
    )
    plan = plan_of(suite, store)
    path = tmp_path / "short.parquet"
    with pytest.raises(HarnessError, match="'short' on small are not encoded yet") as caught:
        write_atlas(plan, "short", path)
    assert caught.value.exit_code is ExitCode.STAGE
    execute(plan, progress=Silent())
    write_atlas(plan, "short", path)
    found = pd.read_parquet(path)
    assert list(found.columns) == ["collection", "side", "id", "text", "vector", "x", "y"]
    texts = plan.collections["small"]
    assert tuple(found["id"]) == (*texts.document_ids, *texts.query_ids)
    assert found["side"].value_counts().to_dict() == {
        "document": len(texts.documents),
        "query": len(texts.queries),
    }
    documents, queries = plan.planner.space("short", "small").read(store)
    vectors = np.stack(found["vector"].tolist())
    assert vectors.dtype == np.float32
    expected = [each.block(0, len(each)) for each in (documents, queries)]
    assert np.array_equal(vectors, np.concatenate(expected))
    places = found[["x", "y"]].to_numpy()
    assert np.abs(places).max() == pytest.approx(1)
    for name, message in (
        ("words", "'words' has no single vector per text"),
        ("wrods", "no candid"),
    ):
        with pytest.raises(HarnessError, match=message) as caught:
            write_atlas(plan, name, path)
        assert caught.value.exit_code is ExitCode.USAGE
