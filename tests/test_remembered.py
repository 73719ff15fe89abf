"""A large collection is parsed and audited once; an unchanged file is not read again."""

from __future__ import annotations

import json
import os
import pickle
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import write_suite

from harness.collection import packing, remembered
from harness.collection.audit import audit
from harness.collection.load import build, load_raw
from harness.collection.packed import PackedTexts, content_hashes, pack, unpack
from harness.collection.raw import RawCollection, Reading
from harness.collection.remembered import audited, read_raw, remembered_digest
from harness.hashing import file_digest, text_hashes
from harness.plan.plan import Plan, make_plan
from harness.results.audit import audit_suite
from harness.retrieval.encoding import Texts
from harness.store import Store
from harness.suite.load import load_suite

TEXTS = ("one text", "", "Größe 漢字 \U0001f600", "one text", "a\nb\x00c")
OLD = time.time_ns() - 3_600_000_000_000  # an hour ago


@pytest.fixture(autouse=True)
def _everything_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "FEWEST_BYTES", 0)


def packed(texts: tuple[str, ...]) -> PackedTexts:
    body, ends = pack(texts)
    return PackedTexts(body, ends, text_hashes(texts), np.arange(len(texts)))


def write_folder(folder: Path) -> Path:
    """Write a small folder with everything that the audit reports something about."""
    documents = [
        {"_id": "d2", "title": "Größe", "text": "two 漢字"},
        {"_id": "d1", "title": "", "text": "same"},
        {"_id": "d3", "text": "same"},
        {"_id": "d1", "text": "same"},
        {"_id": "d4", "text": ""},
    ]
    queries = [{"_id": "q1", "text": "first", "topic": "a"}, {"_id": "q2", "text": "x", "topic": 7}]
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")
    head = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "test.tsv").write_text(f"{head}q1\td2\t2\nq2\td1\t1\nq2\tgone\t0\n")
    (folder / "qrels" / "train.tsv").write_text(f"{head}q1\td1\t1\n")
    (folder / "META.json").write_text('{"licence": "CC0"}')
    return folder


def age(path: Path) -> None:
    """Let the state of a file, as `remembered_digest` sees it, be an hour old."""
    os.utime(path, ns=(OLD, OLD))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file count as written long ago."""
    monkeypatch.setattr(remembered, "_RESOLUTION_NS", -1)


def same(one: RawCollection, two: RawCollection) -> None:
    assert tuple(one.documents.texts) == tuple(two.documents.texts)
    assert tuple(one.documents.ids) == tuple(two.documents.ids)
    assert dict(one.documents.rows) == dict(two.documents.rows)
    assert list(one.documents.rows) == list(two.documents.rows)
    assert one.documents.ascending.tolist() == two.documents.ascending.tolist()
    assert one.documents.repeated == two.documents.repeated
    assert one.documents.lines.tolist() == two.documents.lines.tolist()
    assert (one.source, one.licence, one.notes, one.hashed, one.documents.file) == (
        *(two.source, two.licence, two.notes, two.hashed, two.documents.file),
    )
    assert list(one.splits) == list(two.splits)
    for name, mine in one.splits.items():
        other = two.splits[name]
        for field in ("file", "ids", "texts", "clusters"):
            assert getattr(mine.queries, field) == getattr(other.queries, field)
        for field in ("file", "query_ids", "document_ids"):
            assert getattr(mine.judgements, field) == getattr(other.judgements, field)
        assert mine.judgements.grades.tolist() == other.judgements.grades.tolist()
        assert mine.judgements.lines.tolist() == other.judgements.lines.tolist()
    first = next(iter(one.splits.values())).queries
    assert all(part.queries is first for part in one.splits.values())


def test_packed_texts_are_the_texts():
    texts = packed(TEXTS)
    assert unpack(*pack(TEXTS)) == tuple(texts) == TEXTS
    assert [texts[row] for row in range(-5, 5)] == [*TEXTS, *TEXTS]
    assert tuple(texts[1:4]) == TEXTS[1:4]
    assert tuple(texts.take(np.array([4, 0, 0]))) == (TEXTS[4], TEXTS[0], TEXTS[0])
    assert np.array_equal(content_hashes(texts[2:]), text_hashes(TEXTS[2:]))
    assert len(packed(())) == len(tuple(packed(()))) == 0


def test_packed_texts_have_the_keys_of_the_texts():
    mine, other = Texts("c", packed(TEXTS)), Texts("c", TEXTS)
    assert [shard.key for shard in mine.shards] == [shard.key for shard in other.shards]
    assert tuple(mine.distinct) == other.distinct == (*TEXTS[:3], TEXTS[4])
    assert mine.places.tolist() == other.places.tolist() == [0, 1, 2, 0, 3]


@pytest.mark.parametrize("clusters", [None, "topic"])
@pytest.mark.usefixtures("settled")
def test_what_is_remembered_is_what_was_read(tmp_path: Path, store: Store, clusters: str | None):
    source = f"beir:{write_folder(tmp_path / 'data')}"
    read = load_raw(source, Reading(clusters=clusters))
    for _ in range(2):
        found = read_raw(source, Reading(clusters=clusters), store=store)
        assert isinstance(found.documents.texts, PackedTexts)
        same(found, read)
        # A worker is sent rows alone, and opens the rest in the store.
        travelled = pickle.loads(pickle.dumps(found))  # noqa: S301
        assert len(pickle.dumps(found.documents.texts)) < 1000
        same(travelled, read)
        for split in ("test", "train"):
            assert audited(found, split, store=store) == audit(read, split)
            keys = [build(each, name="c", split=split).key for each in (found, read)]
            assert keys[0] == keys[1]


@pytest.mark.usefixtures("settled")
def test_memory_never_holds_a_large_corpus(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    folder, count = write_folder(tmp_path / "data"), 1000
    read_raw(f"beir:{folder}", store=store)  # imports what it needs
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.writelines(
            json.dumps({"_id": f"more{n}", "text": f"{n}-" * 1000}) + "\n" for n in range(count)
        )
    size = (folder / "corpus.jsonl").stat().st_size
    monkeypatch.setattr(packing, "_AT_ONCE", 50)
    tracemalloc.start()
    try:
        found = read_raw(f"beir:{folder}", store=store)
        problems = audited(found, "test", store=store)
        collection = build(found, name="c", split="test")
        assert len(collection.documents_key) == 32
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(collection.documents) == count + 4
    assert [each.count for each in problems if each.check == "repeated-document"] == [1]
    assert peak < size / 4


@pytest.mark.usefixtures("settled")
def test_pairs_are_remembered_with_what_their_reader_noted(tmp_path: Path, store: Store):
    path = tmp_path / "clicks.csv"
    path.write_text("query,document\na,x\na,x\nb,y\nc,z\n,\n")
    read = load_raw(f"pairs:{path}")
    read_raw(f"pairs:{path}", store=store)
    found = read_raw(f"pairs:{path}", store=store)
    same(found, read)
    assert found.notes
    assert found.hashed
    together = found.undivided()
    assert together.key not in {None, found.key}
    assert audited(together, "all", store=store) == audit(read.undivided(), "all")


@pytest.mark.usefixtures("settled")
def test_an_unchanged_collection_is_neither_parsed_nor_audited_again(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    source = f"beir:{write_folder(tmp_path / 'data')}"
    audited(read_raw(source, store=store), "test", store=store)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    for name in ("load_raw", "audit", "file_digest"):
        monkeypatch.setattr(remembered, name, refuse)
    audited(read_raw(source, store=store), "test", store=store)


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "META.json"])
def test_a_change_of_any_file_is_seen(tmp_path: Path, store: Store, file: str):
    folder = write_folder(tmp_path / "data")
    before = read_raw(f"beir:{folder}", store=store)
    path = folder / file
    old = path.read_bytes()
    path.write_bytes(old.replace(b"d1", b"d3").replace(b"first", b"other").replace(b"CC0", b"CC1"))
    found = read_raw(f"beir:{folder}", store=store)
    assert found.key != before.key
    same(found, load_raw(f"beir:{folder}"))


@pytest.mark.usefixtures("settled")
def test_a_new_or_removed_file_is_seen(tmp_path: Path, store: Store):
    folder = write_folder(tmp_path / "data")
    read_raw(f"beir:{folder}", store=store)
    dev = folder / "qrels" / "dev.tsv"
    dev.write_bytes((folder / "qrels" / "test.tsv").read_bytes())
    assert "dev" in read_raw(f"beir:{folder}", store=store).splits
    dev.unlink()
    assert "dev" not in read_raw(f"beir:{folder}", store=store).splits


def test_a_file_that_was_just_written_is_hashed_again(tmp_path: Path, store: Store):
    path = tmp_path / "file"
    for number in range(20):  # of one size, within the resolution of many file systems
        path.write_text(f"{number:02}")
        age(path)  # a time that a program sets says nothing: that of the inode is new
        assert remembered_digest(path, store=store) == file_digest(path)
    assert store.list("files") == []


def test_a_file_of_the_same_size_and_time_is_seen(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "file"
    path.write_text("one")
    age(path)
    monkeypatch.setattr(remembered, "_RESOLUTION_NS", 20_000_000)
    time.sleep(0.1)
    remembered_digest(path, store=store)
    assert len(store.list("files")) == 1
    path.write_text("two")
    age(path)
    assert remembered_digest(path, store=store) == file_digest(path)
    time.sleep(0.1)
    other = tmp_path / "other"
    other.write_text("six")
    age(other)
    other.replace(path)
    assert remembered_digest(path, store=store) == file_digest(path)


@pytest.mark.usefixtures("settled")
def test_a_store_that_cannot_be_written_changes_nothing(tmp_path: Path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the store would be")
    source = f"beir:{write_folder(tmp_path / 'data')}"
    found = read_raw(source, store=Store(blocked))
    same(found, load_raw(source))
    assert audited(found, "test", store=Store(blocked)) == audit(found, "test")


@pytest.mark.usefixtures("settled")
def test_damage_is_read_again(tmp_path: Path, store: Store):
    source = f"beir:{write_folder(tmp_path / 'data')}"
    read_raw(source, store=store)
    for path in store.root.rglob("documents.texts.body.npy"):
        path.write_bytes(path.read_bytes().replace(b"same", b"else"))
    same(read_raw(source, store=store), load_raw(source))


def test_plan_and_audit_are_the_same_where_a_collection_is_remembered(
    tmp_path: Path, beir: Path, static_model: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [candidates.static]
        model = "{static_model}"
        [candidates.words]
        kind = "bm25"
        [candidates.tuned]
        from = "static"
        finetune = {{ data = "small:train", batch_size = 8 }}
        """,
    )
    suite = load_suite(path)

    def plan(store: Store) -> Plan:
        return make_plan(suite, store, device="cpu", hub="refuse")

    def told(store: Store) -> list[object]:
        made = plan(store)
        stages = [(stage.label, stage.key(store), stage.work(store)) for stage in made.stages]
        return [stages, made.planner.warnings, audit_suite(suite, store)]

    mine = Store(tmp_path / "store")
    found = [told(mine) for _ in range(2)]
    monkeypatch.setattr(remembered, "FEWEST_BYTES", 10**12)
    assert found == [told(Store(tmp_path / "other"))] * 2
