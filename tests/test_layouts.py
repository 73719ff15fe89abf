"""Folders as hubs have them: the parts of a BEIR folder in other kinds of files and elsewhere."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from test_collection import collection_of, problems_of, write_beir

from harness.collection import remembered
from harness.collection.load import build
from harness.collection.remembered import read_raw
from harness.store import Store

DOCUMENTS = pd.DataFrame(
    {"_id": ["d2", "d10", "7"], "title": ["Cats", "", None], "text": ["purr", "Dogs bark", "Fish"]}
)
QUERIES = pd.DataFrame({"_id": ["q2", "q1"], "text": ["what purrs", "what barks"]})
JUDGED = pd.DataFrame(
    {
        "query-id": ["q2", "q1", "q1"],
        "corpus-id": ["d2", "d10", "d2"],
        "score": [2, 1, -1],
    }
)
ROWS = JUDGED.to_numpy().tolist()


def save(frame: pd.DataFrame, path: Path) -> None:
    """Write a table in the kind of file that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        frame.to_parquet(path, index=False)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif kind == "json":
        frame.to_json(path, orient="records", indent=1)
    else:
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")


def write_hub(folder: Path, *, judged: str = "qrels/test-00000-of-00001.parquet") -> Path:
    save(DOCUMENTS[:2], folder / "corpus" / "corpus-00000-of-00002.parquet")
    save(DOCUMENTS[2:], folder / "corpus" / "corpus-00001-of-00002.parquet")
    save(QUERIES, folder / "queries" / "queries-00000-of-00001.parquet")
    save(JUDGED, folder / judged)
    return folder


@pytest.fixture
def key(tmp_path: Path) -> str:
    """Return the key of the same collection in BEIR's own layout."""
    folder = tmp_path / "plain"
    folder.mkdir()
    corpus = [{"_id": "d2", "title": "Cats", "text": "purr"}, {"_id": "d10", "text": "Dogs bark"}]
    write_beir(
        folder,
        corpus=[*corpus, {"_id": 7, "text": "Fish"}],
        qrels={"test": ["\t".join(map(str, row)) for row in ROWS]},
    )
    return collection_of(f"beir:{folder}").key


@pytest.mark.parametrize(
    "judged",
    [
        "qrels/test.parquet",
        "qrels/test-00000-of-00001.parquet",
        "qrels/test/0000.parquet",
        "default/test-00000-of-00001.parquet",
        "data/test-00000-of-00001.parquet",
        "qrels/test.csv",
        "qrels/test.jsonl",
        "qrels/test.jsonl.gz",
        "qrels/test.json",
        "qrels.tsv",
        "qrels_test.csv",
        "test.tsv",
    ],
)
def test_a_hub_folder_of_shards_is_the_collection_of_its_own_layout(
    tmp_path: Path, key: str, judged: str
):
    assert collection_of(f"beir:{write_hub(tmp_path / 'hub', judged=judged)}").key == key


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "json", "jsonl", "csv.gz", "jsonl.gz"])
def test_tables_beside_the_judgements_may_be_of_any_kind(tmp_path: Path, key: str, kind: str):
    folder = tmp_path / "folder"
    save(DOCUMENTS.rename(columns={"_id": "doc_id"}), folder / f"corpus.{kind}")
    save(QUERIES.rename(columns={"_id": "qid", "text": "query"}), folder / f"queries.{kind}")
    save(JUDGED, folder / "qrels" / "test.tsv")
    assert collection_of(f"beir:{folder}").key == key


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("test.tsv", lambda rows: "".join(f"{q}\t{d}\t{g}\n" for q, d, g in rows)),
        ("test.csv", lambda rows: "".join(f"{q},{d},{g}\n" for q, d, g in rows)),
        ("test.txt", lambda rows: "".join(f"{q} 0 {d} {g}\n" for q, d, g in rows)),
        ("test.trec", lambda rows: "".join(f"{q}\tQ0\t{d}\t{g}\n" for q, d, g in rows)),
        ("test.json", lambda rows: json.dumps({q: {d: g} for q, d, g in rows[:2]})),
    ],
)
def test_judgements_without_a_header_are_read(
    tmp_path: Path, key: str, file: str, write: Callable[[list[list[object]]], str]
):
    folder = write_hub(tmp_path / "hub")
    (folder / "qrels" / "test-00000-of-00001.parquet").unlink()
    (folder / "qrels" / file).write_text(write(ROWS))
    found = collection_of(f"beir:{folder}")
    assert found.key == key or file == "test.json"
    assert found.judgements.grades.max() == 2


def test_a_folder_of_shards_is_remembered_and_a_new_shard_is_seen(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remembered, "FEWEST_BYTES", 0)
    folder = write_hub(tmp_path / "hub")
    before = read_raw(f"beir:{folder}", store=store)
    assert read_raw(f"beir:{folder}", store=store).key == before.key
    save(
        pd.DataFrame({"_id": ["d9"], "title": ["New"], "text": ["x"]}),
        folder / "corpus" / "corpus-00002-of-00003.parquet",
    )
    found = read_raw(f"beir:{folder}", store=store)
    assert len(build(found, name="hub", split="test").documents) == 4


def test_one_split_in_two_files_is_refused_and_shards_are_not(tmp_path: Path):
    folder = write_hub(tmp_path / "hub")
    save(JUDGED, folder / "qrels" / "test.parquet")
    (found,) = problems_of(f"beir:{folder}")
    assert "judges split 'test', as test-00000-of-00001.parquet does. Keep one" in found


def test_two_files_that_could_be_the_corpus_are_refused_by_name(tmp_path: Path):
    folder = write_hub(tmp_path / "hub")
    for kind in ("csv", "parquet"):
        save(DOCUMENTS, folder / f"corpus.{kind}")
    (found,) = problems_of(f"beir:{folder}")
    assert found.endswith(
        "several files could be 'corpus', got 'corpus.csv', 'corpus.parquet'. Keep one of them."
    )


def test_a_folder_within_the_folder_is_named(tmp_path: Path):
    write_hub(tmp_path / "download" / "scifact")
    found = problems_of(f"beir:{tmp_path / 'download'}")
    assert found[0].endswith(f"Or name the folder in it, as in beir:{tmp_path}/download/scifact.")


def test_subsets_of_a_hub_folder_are_named(tmp_path: Path):
    folder = tmp_path / "xquad"
    for language in ("de", "en"):
        save(DOCUMENTS, folder / f"{language}-corpus" / "test-00000-of-00001.parquet")
    found = problems_of(f"beir:{folder}")[0]
    assert "The folder has 'de-corpus', 'en-corpus': name one, as in hf:" in found
    assert found.endswith("/xquad/de.")


def test_a_line_that_is_shorter_than_the_others_is_named(tmp_path: Path):
    folder = write_hub(tmp_path / "hub", judged="qrels/dev.parquet")
    (folder / "qrels" / "test.tsv").write_text("q2\td2\t2\nq1\td10\n")
    (found,) = problems_of(f"beir:{folder}")
    assert r"test.tsv:2: 3 fields are needed, 'qid docid grade', got 'q1\td10'. Fix" in found


def test_a_compressed_table_beside_its_plain_form_is_read_once(tmp_path: Path, key: str):
    folder = write_hub(tmp_path / "hub")
    save(QUERIES, folder / "queries.jsonl")
    body = (folder / "queries.jsonl").read_bytes()
    (folder / "queries.jsonl.gz").write_bytes(gzip.compress(body))
    assert collection_of(f"beir:{folder}").key == key
