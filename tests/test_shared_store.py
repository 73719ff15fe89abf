from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plan_of, run_suite, sentences, write_beir, write_suite
from fsspec.core import url_to_fs

from harness.artifact import Artifact
from harness.cluster.parts import divide, join_parts, leaves
from harness.collection import packing, remembered
from harness.collection.packing import StoredDocuments
from harness.errors import ExitCode, HarnessError, UnwritableError
from harness.output.pruning import held, prune, unneeded
from harness.retrieval.encoding import Encode
from harness.shared_store import SharedStore, store_at
from harness.stage import Context
from harness.store import Store

NUMBERS = np.arange(1000.0)


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty store."""
    base = "memory://" if request.param == "memory" else f"{request.getfixturevalue('s3')}/"
    return f"{base}{tmp_path.name}"


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that opens a URL as another machine sees it."""

    def machine(url: str, name: str) -> SharedStore:
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / name))
        return SharedStore(url)

    return machine


def put(store: Store, key: str = "key", *, kind: str = "kind", value: float = 0) -> Artifact:
    return store.put(kind, key, arrays={"numbers": NUMBERS + value}, meta={"value": value})


def test_what_one_machine_has_put_another_finds(url: str, machines: Any):
    one, other = machines(url, "one"), machines(url, "other")
    assert other.get("kind", "key") is None
    put(one, value=3)
    other.look_again()
    found = other.get("kind", "key")
    assert found.array("numbers").tolist() == (NUMBERS + 3).tolist()
    assert found.meta["value"] == 3
    assert found.path.is_relative_to(other.root)
    assert isinstance(found.array("numbers"), np.memmap)


def test_files_in_folders_and_kinds_of_several_parts_travel(url: str, machines: Any):
    one, other = machines(url, "one"), machines(url, "other")
    with one.writing("kind/part", "key", meta={}) as folder:
        (folder / "below").mkdir()
        (folder / "below" / "meta.json").write_text("hello")
    put(one, "b", kind="kind/part")
    assert [each.path.name for each in other.list("kind/part")] == ["b", "key"]
    assert (other.root / "kind/part/key/below/meta.json").read_text() == "hello"
    assert list(other.names("kind")) == ["part"]
    assert [(each.kind, each.key) for each in other.entries()] == [
        ("kind/part", "b"),
        ("kind/part", "key"),
    ]


def test_the_first_writer_wins_for_those_who_come_later(url: str, machines: Any):
    one, other = machines(url, "one"), machines(url, "other")
    put(one, value=1)
    other.look_again()
    put(other, value=2)
    assert machines(url, "third").get("kind", "key").meta["value"] == 1


def test_two_writers_at_once_leave_one_whole_artifact(url: str, machines: Any):
    one, other = machines(url, "one"), machines(url, "other")
    assert one.get("kind", "key") is None
    assert other.get("kind", "key") is None  # both have seen that nothing is there
    put(one, value=1)
    put(other, value=2)
    found = machines(url, "third").get("kind", "key")
    assert (found.array("numbers") - NUMBERS == found.meta["value"]).all()


def test_what_replaces_is_seen_by_those_who_come_later(url: str, machines: Any):
    one = machines(url, "one")
    put(one, value=1)
    one.put("kind", "key", arrays={"numbers": NUMBERS + 2}, meta={"value": 2}, replaces=True)
    found = machines(url, "other").get("kind", "key")
    assert (found.meta["value"], found.array("numbers")[0]) == (2, 2)


@pytest.mark.parametrize("damage", ["changed", "lost", "metadata"])
def test_what_is_damaged_at_the_url_is_absent_and_is_replaced(
    url: str, machines: Any, damage: str, caplog: pytest.LogCaptureFixture
):
    put(machines(url, "one"))
    fs, base = url_to_fs(url)
    (numbers,) = [path for path in fs.find(base) if "numbers" in path]
    if damage == "lost":
        fs.rm_file(numbers)
    elif damage == "changed":
        fs.pipe_file(numbers, fs.cat_file(numbers)[:-1] + b"x")
    else:
        fs.pipe_file(f"{base}/kind/key/meta.json", b"{")
    other = machines(url, "other")
    assert other.get("kind", "key") is None
    assert "kind/key is damaged" in caplog.text
    assert not other.is_whole("kind", "key")
    put(other, value=7)
    assert other.is_whole("kind", "key")
    assert machines(url, "third").get("kind", "key").meta["value"] == 7


def test_what_was_published_here_and_not_sent_is_sent_when_it_is_read(url: str, machines: Any):
    one = machines(url, "one")
    put(Store(one.root), value=3)
    assert one.get("kind", "key") is not None
    assert machines(url, "other").get("kind", "key").meta["value"] == 3


def test_what_belongs_to_a_machine_stays_there(url: str, machines: Any):
    one, other = machines(url, "one"), machines(url, "other")
    put(one, kind="receipts")
    assert one.get("receipts", "key") is not None
    assert other.get("receipts", "key") is None
    assert list(other.entries()) == []


def test_what_is_removed_is_gone_everywhere_but_where_it_was_read(url: str, machines: Any):
    one = machines(url, "one")
    put(one)
    put(one, "other")
    one.remove("kind", "key")
    one.remove("kind", "never")
    assert one.get("kind", "key") is None
    assert [each.key for each in machines(url, "other").entries()] == ["other"]


def test_a_glance_fetches_the_metadata_and_an_array_the_rest(url: str, machines: Any):
    put(machines(url, "one"), value=3)
    other = machines(url, "other")
    found = other.glance("kind", "key")
    assert found.meta["value"] == 3
    assert not found.path.exists()
    assert found.array("numbers")[0] == 3
    assert other.glance("kind", "never") is None


def test_nothing_is_taken_away_while_a_run_of_another_machine_uses_it(url: str, machines: Any):
    one, other = machines(url, "one"), machines(url, "other")
    one.lease()
    with pytest.raises(HarnessError, match="a run is using it") as caught, other.discarding():
        pass
    assert caught.value.exit_code == ExitCode.STAGE
    del one
    with other.discarding():
        pass
    assert url_to_fs(url)[0].find(f"{url_to_fs(url)[1]}/staging") == []


def test_a_listing_costs_one_request_a_kind(url: str, machines: Any, monkeypatch: Any):
    one = machines(url, "one")
    for number in range(20):
        put(one, str(number))
    other = machines(url, "other")
    asked: list[str] = []
    find = type(other._fs).find
    monkeypatch.setattr(
        type(other._fs),
        "find",
        lambda fs, path, **said: asked.append(path) or find(fs, path, **said),
    )
    assert all(other.get("kind", f"never{number}") is None for number in range(20))
    assert len(other.list("kind")) == 20
    assert len(asked) == 1


def test_of_vectors_only_the_shards_of_the_rows_asked_for_are_fetched(
    url: str, machines: Any, tmp_path: Path, static_model: Path
):
    texts = sentences(2500, seed=4, words=8)
    write_beir(
        tmp_path / "beir",
        documents={f"d{row:04}": text for row, text in enumerate([*texts, *texts[:300]])},
        queries={"q1": texts[0], "q2": texts[1]},
        qrels={"test": [("q1", "d0000", 1), ("q2", "d0001", 1)]},
    )
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{tmp_path / "beir"}"
        candidates.static.model = "{static_model}"
        """,
    )
    one, other = machines(url, "one"), machines(url, "other")
    whole, part = (
        next(s for s in make(suite, at).stages if isinstance(s, Encode) and s.role == "document")
        for make, at in ((run_suite, one), (plan_of, other))
    )
    assert part.is_done(other)
    assert not (other.root / "embeddings").exists()
    for rows in (slice(0, 500), slice(2400, 2800)):
        found = part.embeddings(other, normalised=True, rows=rows)
        wanted = whole.embeddings(one, normalised=True)
        np.testing.assert_array_equal(
            found.block(0, len(found)), wanted.block(0, len(wanted))[rows]
        )
        shards = len(list((other.root / part.kind(other)).iterdir()))
        assert shards < len(part.texts.shards)


def test_of_packed_texts_only_those_that_are_read_are_fetched_and_are_checked(
    url: str, machines: Any, monkeypatch: pytest.MonkeyPatch
):
    def at(name: str) -> SharedStore:
        packing._store.cache_clear()
        packing._opened.cache_clear()
        return machines(url, name)  # type: ignore[no-any-return]

    written, one = sentences(3000, seed=4, words=8), at("one")
    written[2500] = ""
    rows = ((f"d{row}", text, row) for row, text in enumerate(written))
    with one.writing("collections", "key", meta={}) as folder:
        packing.pack_documents(rows, folder)
    stored, place = one.get("collections", "key"), StoredDocuments(url, "collections", "key")
    assert stored is not None
    ids, texts = packing.packed_documents(stored.array, place)
    order = np.array([2999, 3, 1, 2, 700, 0, 2500])
    sent = pickle.dumps((texts[1000:1200], texts.take(order), ids[5:7]))
    other = at("other")
    some, apart, named = pickle.loads(sent)  # noqa: S301
    assert list(some[50:]) == written[1050:1200]
    assert some[-1] == written[1199]
    assert list(apart) == [written[row] for row in order]
    assert list(named) == ["d5", "d6"]
    assert np.array_equal(apart.hashes, texts.take(order).hashes)
    assert not (other.root / "collections").exists()
    monkeypatch.setattr(packing, "_MOST_RUNS", 2)
    assert list(apart) == [written[row] for row in order]
    assert np.array_equal(apart.hashes, texts.take(order).hashes)
    assert (other.root / "collections").exists()
    [body] = [path for path in other._fs.find(other._at("collections")) if "texts.body" in path]
    held, lost = other._fs.cat_file(body), written[1].encode()
    other._fs.pipe_file(body, held.replace(lost, b"?" * len(lost)))
    at("third")
    with pytest.raises(
        HarnessError, match="collections/key with the documents is not there, or is"
    ):
        list(pickle.loads(sent)[1][1:3])  # noqa: S301


def test_a_worker_fetches_the_texts_of_its_parts_alone(
    machines: Any, tmp_path: Path, static_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remembered, "FEWEST_BYTES", 0)
    texts = sentences(2500, seed=4, words=8)
    write_beir(
        tmp_path / "beir",
        documents={f"d{row:04}": text for row, text in enumerate(texts)},
        queries={"q1": texts[0], "q2": texts[1]},
        qrels={"test": [("q1", "d0000", 1), ("q2", "d0001", 1)]},
    )
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "words"
        collections.small.source = "beir:{tmp_path / "beir"}"
        candidates.words.kind = "bm25"
        candidates.static.model = "{static_model}"
        """,
    )
    local, url = Store(tmp_path / "local"), f"memory://{tmp_path.name}"
    run_suite(suite, local)
    plan = plan_of(suite, machines(url, "one"))
    sent = pickle.dumps([stage for stage in plan.stages if leaves(stage)])
    packing._store.cache_clear()
    packing._opened.cache_clear()
    other = machines(url, "other")
    for stage in pickle.loads(sent):  # noqa: S301
        for part in [
            *divide(stage, other, workers=2).first,
            *divide(stage, other, workers=2).parts,
        ]:
            part.do(stage, Context(other))
        join_parts(stage, other, divide(stage, other, workers=2).parts)
        assert stage.is_done(other)
    assert not (other.root / "collections").exists()
    for there, here in zip(
        plan.scored.values(), plan_of(suite, local).scored.values(), strict=True
    ):
        found, wanted = (
            each.stages[0].run_stage.result(at) for each, at in ((there, other), (here, local))
        )
        assert np.array_equal(found.documents, wanted.documents)
        assert np.array_equal(found.scores, wanted.scores)


def test_an_upload_that_was_cut_off_is_pruned_though_a_suite_needs_its_place(
    url: str, machines: Any
):
    one = machines(url, "one")
    put(one)
    put(one, "cut")
    fs, base = url_to_fs(url)
    fs.rm_file(f"{base}/kind/cut/meta.json")
    other = machines(url, "other")
    needed = {"suite": {other.root / "kind" / key for key in ("key", "cut")}}
    chosen = unneeded(held(other, needed))
    assert [entry.key for entry in chosen] == ["cut"]
    prune(other, chosen)
    assert [each.key for each in other.entries()] == ["key"]
    assert machines(url, "one").get("kind", "cut") is not None  # which has it whole, and sends it
    assert machines(url, "third").get("kind", "cut") is not None


WRITER = """
import sys
import time
import numpy as np
from harness.shared_store import SharedStore

store = SharedStore(sys.argv[1])
put = store._fs.put

def slowly(sources, targets, **said):
    for source, target in zip(sources, targets):
        put([source], [target], **said)
        print(target, flush=True)
        time.sleep(0.05)

store._fs.put = slowly
for number in range(1000):
    arrays = {name: np.full(200_000, float(number)) for name in "abcd"}
    store.put("kind", str(number), arrays=arrays, meta={"number": number})
"""


def test_an_upload_that_is_killed_is_invisible_and_is_done_again(
    s3: str, tmp_path: Path, machines: Any
):
    url = f"{s3}/{tmp_path.name}"
    environment = {**os.environ, "HARNESS_CACHE": str(tmp_path / "killed")}
    moments = random.Random(5)
    for _ in range(2):
        command = [sys.executable, "-c", WRITER, url]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(moments.randint(5, 11)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        machine = machines(url, f"reader{time.monotonic()}")
        seen = machine.list("kind")
        assert len(seen) > 0
        for found in seen:
            assert all((found.array(name) == found.meta["number"]).all() for name in "abcd")
    killed = machines(url, "killed")
    kept = [each.path.name for each in killed.list("kind")]
    again = machines(url, "last")
    assert [each.path.name for each in again.list("kind")] == kept


SUITE = """
baseline = "bm25"

[collections.email]
source = "python:email"
split = "train"

[candidates.bm25]
kind = "bm25"
"""


def test_a_suite_that_one_machine_has_run_is_done_on_another(
    url: str, machines: Any, tmp_path: Path
):
    suite = write_suite(tmp_path / "suite.toml", SUITE)
    run_suite(suite, machines(url, "one"))
    assert plan_of(suite, machines(url, "other")).left() == []


def test_a_url_with_credentials_is_refused_without_repeating_them():
    with pytest.raises(HarnessError, match="holds credentials") as caught:
        store_at("s3://key:secret@bucket/team")
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


def test_an_unknown_scheme_is_refused():
    with pytest.raises(HarnessError, match="unknown scheme 'nowhere'") as caught:
        store_at("nowhere://bucket")
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_missing_is_told_before_any_work():
    with pytest.raises(UnwritableError, match="store s3://absent/team: cannot write"):
        SharedStore("s3://absent/team").check_writable()


def test_a_folder_and_its_url_are_one_store(tmp_path: Path):
    put(store_at(f"file://{tmp_path}"), value=2)
    found = store_at(tmp_path).get("kind", "key")
    assert found is not None
    assert found.meta["value"] == 2
