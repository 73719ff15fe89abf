"""Sources at a URL: what is read there is what would be read from a disk."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import write_suite
from fsspec.core import url_to_fs

from harness.collection import remembered
from harness.collection.load import load_raw
from harness.collection.raw import RawCollection
from harness.collection.remembered import read_raw
from harness.errors import ExitCode, HarnessError
from harness.output.receipts import _read_by, _UnknownError
from harness.plan.plan import make_plan
from harness.store import Store
from harness.suite.load import load_suite


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty folder."""
    base = "memory://" if request.param == "memory" else f"{request.getfixturevalue('s3')}/"
    return f"{base}{tmp_path.name}"


@pytest.fixture
def folder(tmp_path: Path, beir: Path) -> Path:
    """Return a folder of JSON lines, a compressed file, and a table."""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_bytes((beir / "corpus.jsonl").read_bytes())
    (folder / "queries.jsonl.gz").write_bytes(gzip.compress((beir / "queries.jsonl").read_bytes()))
    judged = pd.read_csv(beir / "qrels" / "test.tsv", sep="\t")
    judged.to_parquet(folder / "qrels" / "test.parquet")
    (folder / "META.json").write_text('{"licence": "CC0"}')
    return folder


def send(folder: Path, url: str) -> None:
    for path in folder.rglob("*.*"):
        url_to_fs(url)[0].pipe(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def told(raw: RawCollection, place: object) -> list[Any]:
    """Return all that a collection holds, as if it lay anywhere."""
    (part,) = raw.splits.values()
    return [
        *(each.file.replace(str(place), "") for each in (raw.documents, part.queries)),
        *((list(x.ids), list(x.texts), x.lines.tolist()) for x in (raw.documents, part.queries)),
        (part.judgements.query_ids, part.judgements.document_ids, raw.licence, raw.notes),
    ]


def test_a_folder_at_a_url_is_read_as_on_a_disk_and_once(
    url: str, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remembered, "FEWEST_BYTES", 0)
    send(folder, url)
    read = read_raw(f"beir:{url}", store=store)
    assert told(read, url) == told(load_raw(f"beir:{folder}"), folder)
    with monkeypatch.context() as patch:
        patch.setattr(remembered, "load_raw", None)
        assert told(read_raw(f"beir:{url}", store=store), url) == told(read, url)
    lines = (folder / "corpus.jsonl").read_text().splitlines(keepends=True)
    (folder / "corpus.jsonl").write_text("".join([lines[0], "{,}\n", *lines[2:]]))
    send(folder, url)
    with pytest.raises(HarnessError, match=f"{url}/corpus.jsonl:2: not valid JSON") as caught:
        read_raw(f"beir:{url}", store=store)
    assert caught.value.exit_code == ExitCode.DATA


def test_a_suite_names_folders_and_tables_at_urls(url: str, folder: Path, tmp_path: Path):
    send(folder, url)
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "words"
        collections.far.source = "beir:{url}"
        collections.near.source = "beir:{folder}"
        collections.pairs.source = "pairs:{url}/pairs.csv"
        collections.pairs.corpus = "{url}/corpus.jsonl"
        candidates.words.kind = "bm25"
        """,
    )
    pairs = b"query,document_id\none,d00\ntwo,d01\nthree,d02\n"
    url_to_fs(url)[0].pipe(f"{url}/pairs.csv", pairs)
    plan = make_plan(load_suite(suite), Store(tmp_path / "store"), device="cpu", hub="refuse")
    far, near, paired = (plan.collections[name] for name in ("far", "near", "pairs"))
    assert far.key == near.key
    assert paired.documents_key == near.documents_key
    with pytest.raises(_UnknownError):  # whether something has changed at a URL
        list(_read_by(plan, tmp_path / "results"))


def test_what_is_absent_at_a_url_is_said_as_of_a_disk(s3: str):
    for place, said in (
        (f"beir:{s3}/none", "no such folder"),
        ("beir:s3://absent/none", "no such folder, nor 's3://absent'"),
        (f"pairs:{s3}/none.csv", f"{s3}/none.csv: cannot be read .No such file"),
    ):
        with pytest.raises(HarnessError, match=said) as caught:
            load_raw(place)
        assert caught.value.exit_code == ExitCode.DATA


def test_a_url_without_permission_is_told_with_what_to_check(
    s3: str, monkeypatch: pytest.MonkeyPatch
):
    from moto import settings

    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)  # the key is unknown there
    with pytest.raises(HarnessError, match="Check the address, and the credentials") as caught:
        load_raw(f"beir:{s3}/none")
    assert caught.value.exit_code == ExitCode.DATA


def test_a_url_with_credentials_or_of_an_unknown_kind_is_refused():
    for url, said in (
        ("s3://key:secret@bucket/data", "source s3://…: the URL holds credentials"),
        ("abfs://bucket/data", "source abfs://bucket/data: fsspec cannot open abfs://"),
        ("s4://bucket/data", "source s4://bucket/data: unknown scheme 's4'. Did you mean 's3'?"),
    ):
        with pytest.raises(HarnessError, match=said) as caught:
            load_raw(f"beir:{url}")
        assert "secret" not in str(caught.value)
        assert caught.value.exit_code == ExitCode.USAGE
