"""Datasets by the ids of ir_datasets' catalogue, from local files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_collection import collection_of, write_beir

from harness.collection import remembered
from harness.collection.load import load_raw
from harness.collection.raw import Reading
from harness.collection.remembered import read_raw
from harness.errors import ExitCode, HarnessError
from harness.store import Store

ir_datasets = pytest.importorskip("ir_datasets", reason="ir_datasets is not installed")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Register a small dataset, ``harness-tests`` with two parts, and return its folder."""
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    (tmp_path / "docs.tsv").write_text("d2\tCats purr\nd10\tDogs bark\n7\tFish swim\n")
    (tmp_path / "queries.tsv").write_text("q2\twhat purrs\nq1\twhat barks\n")
    (tmp_path / "train.txt").write_text("q2 0 7 1\n")
    (tmp_path / "test.txt").write_text("q2 0 d2 2\nq1 0 d10 1\nq1 0 d2 -1\nq1 0 7 0\n")
    docs = TsvDocs(LocalDownload(tmp_path / "docs.tsv"))
    queries = TsvQueries(LocalDownload(tmp_path / "queries.tsv"))
    made = {"harness-tests": ir_datasets.Dataset(docs)}
    for split in ("train", "test"):
        qrels = TrecQrels(LocalDownload(tmp_path / f"{split}.txt"), {})
        made[f"harness-tests/{split}"] = ir_datasets.Dataset(docs, queries, qrels)
    for name, dataset in made.items():
        ir_datasets.registry.register(name, dataset)
    yield tmp_path
    for name in made:
        del ir_datasets.registry._registered[name]


def test_an_id_is_the_same_collection_as_its_files(folder: Path):
    (folder / "beir").mkdir()
    beir = collection_of(f"beir:{write_beir(folder / 'beir')}")
    assert collection_of("ir_datasets:harness-tests/test").key == beir.key


def test_an_id_without_judgements_has_the_splits_of_its_parts(folder: Path):
    assert folder
    assert sorted(load_raw("ir_datasets:harness-tests").splits) == ["test", "train"]
    assert collection_of("ir_datasets:harness-tests", "train").query_ids == ("q2",)


def test_a_title_comes_before_the_text_as_in_beir(monkeypatch: pytest.MonkeyPatch):
    from ir_datasets.datasets.beir import BeirTitleDoc
    from ir_datasets.formats import GenericQuery, TrecQrel

    documents = [BeirTitleDoc("a", "text", "Title"), BeirTitleDoc("b", "no title", "")]
    judged = [TrecQrel("q", "a", 1, "0")]
    part = SimpleNamespace(
        **dict.fromkeys(("has_docs", "has_queries", "has_qrels"), lambda: True),
        docs_iter=lambda: iter(documents),
        queries_iter=lambda: iter([GenericQuery("q", "what")]),
        qrels_iter=lambda: iter(judged),
    )
    monkeypatch.setattr(ir_datasets, "registry", {"some/set": part})
    assert collection_of("ir_datasets:some/set").documents == ("Title text", "no title")


def test_a_dataset_with_known_files_is_remembered(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remembered, "FEWEST_BYTES", 0)
    source = "ir_datasets:harness-tests/test"
    assert {path.name for path in remembered._files_of(source)} == {
        "docs.tsv",
        "queries.tsv",
        "test.txt",
    }
    before = read_raw(source, store=store)
    assert before.key == read_raw(source, store=store).key
    (folder / "test.txt").write_text("q2 0 d2 1\n")
    assert len(read_raw(source, store=store).split("test").judgements) == 1


def test_an_unknown_id_suggests_the_nearest(folder: Path):
    assert folder
    with pytest.raises(HarnessError, match="Did you mean 'beir/scifact/test'") as refused:
        load_raw("ir_datasets:beir/scifcat/test")
    assert refused.value.exit_code == ExitCode.USAGE
    with pytest.raises(HarnessError, match="have no columns"):
        load_raw("ir_datasets:harness-tests", Reading(clusters="topic"))


def test_a_dataset_without_judgements_is_refused(folder: Path):
    assert folder
    with pytest.raises(HarnessError, match="no documents with queries and judgements"):
        load_raw("ir_datasets:wikir")


def test_files_that_cannot_be_fetched_are_one_sentence(folder: Path):
    (folder / "test.txt").unlink()
    with pytest.raises(
        HarnessError, match=r"its files are not all in .*home, and cannot"
    ) as refused:
        load_raw("ir_datasets:harness-tests/test")
    assert refused.value.exit_code == ExitCode.DATA
    assert len(refused.value.problems) == 1


def test_the_extra_is_named_where_the_package_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(HarnessError, match=r"pip install 'embedding-harness\[ir-datasets\]'"):
        load_raw("ir_datasets:beir/scifact/test")
