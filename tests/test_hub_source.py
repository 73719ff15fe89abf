"""Hugging Face datasets as collections: local folders and the cache, never the network."""

from __future__ import annotations

import shutil
from pathlib import Path

import datasets
import pandas as pd
import pytest
from test_collection import collection_of, problems_of
from test_layouts import DOCUMENTS, JUDGED, QUERIES, save, write_hub

from harness.collection import Collection, remembered
from harness.collection.load import build, load_raw
from harness.collection.raw import Reading
from harness.collection.remembered import read_raw
from harness.errors import HarnessError
from harness.store import Store
from harness.suite.spec import Suite

FAQ = pd.DataFrame({"Question": ["what purrs", "what barks"], "Answer": ["Cats", "Dogs"]})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the cache of `datasets` in the test's folder, and the network away."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return folder


def card(folder: Path, **subsets: dict[str, str]) -> Path:
    """Write the README that names the subsets of a folder and the files of their splits."""
    lines = ["---", "configs:"]
    for name, splits in subsets.items():
        lines += [f"- config_name: {name.replace('_', '-')}", "  data_files:"]
        lines += [f"  - split: {split}\n    path: {path}" for split, path in splits.items()]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


def write_dataset(folder: Path, judged: str = "default") -> Path:
    write_hub(folder, judged="data/test-00000-of-00001.parquet")
    save(JUDGED[:1], folder / "data" / "dev-00000-of-00001.parquet")
    return card(
        folder,
        corpus={"corpus": "corpus/*"},
        queries={"queries": "queries/*"},
        **{judged: {"test": "data/test-*", "dev": "data/dev-*"}},
    )


def in_cache(folder: Path, cache: Path, identifier: str) -> None:
    """Load a local folder, and rename its place in the cache to that of a dataset of the hub."""
    for name in datasets.get_dataset_config_names(str(folder)):
        datasets.load_dataset(str(folder), name)
    shutil.copytree(cache / folder.name, cache / identifier.replace("/", "___"))


@pytest.fixture
def key(tmp_path: Path) -> str:
    return collection_of(f"beir:{write_hub(tmp_path / 'plain')}").key


def pairs(source: str, **columns: str) -> Collection:
    raw = load_raw(source, Reading(columns=tuple(columns.items())))
    return build(raw.undivided(), name="pairs", split="all")


@pytest.mark.parametrize("judged", ["default", "qrels"])
def test_corpus_queries_and_judgements_are_subsets(tmp_path: Path, key: str, judged: str):
    source = f"hf:{write_dataset(tmp_path / 'hub', judged)}"
    assert collection_of(source).key == key
    assert collection_of(source, "dev").query_ids == ("q2",)


def test_a_dataset_that_is_cached_is_read_offline(tmp_path: Path, key: str, cache: Path):
    in_cache(write_dataset(tmp_path / "small"), cache, "some/small")
    assert collection_of("hf:some/small").key == key


def test_judgements_may_be_a_dataset_of_their_own(tmp_path: Path, key: str, cache: Path):
    folder = write_dataset(tmp_path / "small")
    card(folder, corpus={"corpus": "corpus/*"}, queries={"queries": "queries/*"})
    in_cache(folder, cache, "some/small")
    save(JUDGED, tmp_path / "small-qrels" / "test.csv")
    in_cache(tmp_path / "small-qrels", cache, "some/small-qrels")
    assert collection_of("hf:some/small").key == key


def test_one_of_several_collections_is_a_subset(tmp_path: Path, key: str):
    folder = write_hub(tmp_path / "hub")
    card(
        folder,
        de_corpus={"test": "corpus/*"},
        de_queries={"test": "queries/*"},
        de_qrels={"test": "qrels/*"},
    )
    assert collection_of(f"hf:{folder}/de").key == key
    for wrong in (f"hf:{folder}", f"hf:{folder}/en"):
        (found,) = problems_of(wrong)
        assert found.endswith(f"has the subsets 'de'. Write hf:{folder}/de.")


def test_a_dataset_of_pairs_has_the_splits_of_the_hub(tmp_path: Path):
    for split in ("train", "test"):
        save(FAQ, tmp_path / "faq" / f"{split}.parquet")
    raw = load_raw(f"hf:{tmp_path}/faq")
    assert (sorted(raw.splits), raw.hashed) == (["test", "train"], False)
    save(FAQ, tmp_path / "one" / "train.parquet")
    assert load_raw(f"hf:{tmp_path}/one").hashed
    assert pairs(f"hf:{tmp_path}/one").queries == ("what purrs", "what barks")


def test_the_suite_names_the_columns_of_pairs(tmp_path: Path):
    save(FAQ.rename(columns={"Question": "asked", "Answer": "told"}), tmp_path / "f" / "a.parquet")
    source = f"hf:{tmp_path}/f"
    (found,) = problems_of(source)
    assert 'columns = { query = "asked", document = "told" }' in found
    assert (
        pairs(source, query="asked", document="told").key
        == pairs(f"hf:{save_faq(tmp_path / 'g')}").key
    )


def save_faq(folder: Path) -> Path:
    save(FAQ, folder / "train.parquet")
    return folder


@pytest.mark.parametrize("kind", ["Dataset", "DatasetDict"])
def test_what_save_to_disk_wrote_is_read(tmp_path: Path, kind: str):
    made = datasets.Dataset.from_pandas(FAQ)
    saved = made if kind == "Dataset" else datasets.DatasetDict({"train": made})
    saved.save_to_disk(str(tmp_path / "saved"))
    assert pairs(f"hf:{tmp_path}/saved").key == pairs(f"hf:{save_faq(tmp_path / 'g')}").key


def test_a_local_folder_is_remembered(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remembered, "FEWEST_BYTES", 0)
    source = f"hf:{write_dataset(tmp_path / 'hub')}"
    before = read_raw(source, store=store)
    assert before.key is not None
    assert read_raw(source, store=store).key == before.key
    save(DOCUMENTS[:1], tmp_path / "hub" / "corpus" / "corpus-00001-of-00002.parquet")
    assert read_raw(source, store=store).key != before.key


@pytest.mark.parametrize("name", ["some/none", "./none"])
def test_what_cannot_be_loaded_is_one_sentence(name: str):
    (found,) = problems_of(f"hf:{name}")
    assert found.startswith(f"hf:{name}: cannot be loaded (") or "no such folder" in found


def test_broken_rows_are_told_by_number(tmp_path: Path):
    folder = write_dataset(tmp_path / "hub")
    save(QUERIES.assign(text=[None, "b"]), folder / "queries" / "queries-00000-of-00001.parquet")
    (found,) = problems_of(f"hf:{folder}")
    assert found == f"hf:{folder}:1: 'text' is null. Write the text or remove the line."


def test_a_key_of_the_queries_names_their_clusters(tmp_path: Path):
    folder = write_dataset(tmp_path / "hub")
    save(QUERIES.assign(topic=["a", "b"]), folder / "queries" / "queries-00000-of-00001.parquet")
    found = collection_of(f"hf:{folder}", clusters="topic")
    assert found.clusters is not None
    assert found.clusters.tolist() == [1, 0]


def test_a_subset_that_a_dataset_does_not_have_is_refused(tmp_path: Path):
    folder = write_dataset(tmp_path / "hub")
    (found,) = problems_of(f"hf:{folder}/de")
    assert found.endswith(f"has the subsets 'corpus', 'queries', 'default'. Write hf:{folder}.")


def test_columns_of_a_dataset_with_a_corpus_are_refused(tmp_path: Path):
    folder = write_dataset(tmp_path / "hub")
    with pytest.raises(HarnessError, match="'columns' is for pairs, and this has a corpus"):
        load_raw(f"hf:{folder}", Reading(columns=(("query", "x"),)))


def test_a_folder_is_found_from_the_suite_and_an_id_is_left(tmp_path: Path):
    write_dataset(tmp_path / "hub")
    suite = Suite.model_construct(name="s")
    suite._path = tmp_path / "suite.toml"
    assert suite.locate_source("hf:hub") == f"hf:{tmp_path}/hub"
    assert suite.locate_source("hf:hub/de") == f"hf:{tmp_path}/hub/de"
    assert suite.locate_source("hf:mteb/scifact") == "hf:mteb/scifact"
