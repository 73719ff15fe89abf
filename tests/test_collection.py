from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from harness.collection import Collection
from harness.collection.load import build, load_raw
from harness.collection.raw import Reading
from harness.errors import ExitCode, HarnessError
from harness.store import Store
from harness.suite.inputs import partly_scored, read_inputs
from harness.suite.load import load_suite
from harness.suite.spec import Suite

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real collections of ../shared/data are not on this machine"
)

CORPUS = [
    {"_id": "d2", "title": "Cats", "text": "purr"},
    {"_id": "d10", "title": "", "text": " Dogs bark "},
    {"_id": 7, "text": "Fish swim"},
]
QUERIES = [{"_id": "q2", "text": "what purrs"}, {"_id": "q1", "text": "what barks"}]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda body: pa.compress(body, codec="zstd", asbytes=True),
}
QRELS = {"test": ["q2\td2\t2", "q1\td10\t1", "q1\td2\t-1", "q1\t7\t0"]}


def write_lines(path: Path, rows: list[Any]) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_beir(
    folder: Path,
    *,
    corpus: list[Any] = CORPUS,
    queries: list[Any] = QUERIES,
    qrels: dict[str, list[str]] = QRELS,
) -> Path:
    (folder / "qrels").mkdir()
    write_lines(folder / "corpus.jsonl", corpus)
    write_lines(folder / "queries.jsonl", queries)
    for split, rows in qrels.items():
        write_lines(folder / "qrels" / f"{split}.tsv", ["query-id\tcorpus-id\tscore", *rows])
    return folder


def collection_of(source: str, split: str = "test", clusters: str | None = None) -> Collection:
    raw = load_raw(source, Reading(clusters=clusters))
    return build(raw, name="small", split=split, clusters=clusters)


def judged(collection: Collection) -> set[tuple[str, str, int]]:
    """Return the judgements by query and document text."""
    rows = collection.judgements
    return {
        (collection.queries[query], collection.documents[document], int(grade))
        for query, document, grade in zip(rows.queries, rows.documents, rows.grades, strict=True)
    }


def problems_of(source: str) -> list[str]:
    with pytest.raises(HarnessError) as caught:
        load_raw(source)
    assert caught.value.exit_code is ExitCode.DATA
    return caught.value.problems


def test_beir_rows_ascend_by_id_and_titles_are_joined_as_in_mteb(tmp_path: Path):
    found = collection_of(f"beir:{write_beir(tmp_path)}")
    assert found.document_ids == ("7", "d10", "d2")
    assert found.documents == ("Fish swim", "Dogs bark", "Cats purr")
    assert found.query_ids == ("q1", "q2")
    assert found.judgements.queries.tolist() == [0, 0, 0, 1]
    assert found.judgements.documents.tolist() == [0, 1, 2, 2]
    assert found.judgements.grades.tolist() == [0, 1, -1, 2]
    assert found.judgements.grades.dtype == np.int32


def test_order_of_lines_changes_nothing(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = write_beir(tmp_path / "a")
    two = write_beir(
        tmp_path / "b",
        corpus=CORPUS[::-1],
        queries=QUERIES[::-1],
        qrels={"test": QRELS["test"][::-1]},
    )
    assert collection_of(f"beir:{one}").key == collection_of(f"beir:{two}").key


def test_query_without_a_relevant_document_is_dropped(tmp_path: Path):
    folder = write_beir(tmp_path, qrels={"test": ["q1\td10\t0", "q2\td2\t1"]})
    assert collection_of(f"beir:{folder}").query_ids == ("q2",)


def test_judged_document_outside_the_corpus_has_row_minus_one(tmp_path: Path):
    folder = write_beir(tmp_path, qrels={"test": ["q1\tgone\t1", "q1\tlost\t1", "q1\td2\t1"]})
    assert collection_of(f"beir:{folder}").judgements.documents.tolist() == [-1, -1, 2]


def test_judgement_given_twice_counts_once(tmp_path: Path):
    folder = write_beir(tmp_path, qrels={"test": ["q1\tgone\t1", "q1\tgone\t1"]})
    assert len(collection_of(f"beir:{folder}").judgements.queries) == 1


def test_build_refuses_what_is_ambiguous_and_says_all_of_it(tmp_path: Path):
    folder = write_beir(
        tmp_path,
        corpus=[*CORPUS, {"_id": "d2", "text": "other"}],
        qrels={"test": ["q1\td2\t1", "q1\td2\t2"]},
    )
    with pytest.raises(HarnessError) as caught:
        collection_of(f"beir:{folder}")
    first, second = caught.value.problems
    assert f"{folder}/corpus.jsonl:4: document id 'd2' occurs again with another text" in first
    assert "judged 2, and 1 at" in second


def test_unknown_split_suggests_the_nearest(tmp_path: Path):
    raw = load_raw(f"beir:{write_beir(tmp_path)}")
    with pytest.raises(HarnessError, match=r"no split 'tset'\. Did you mean 'test'\?"):
        build(raw, name="small", split="tset")


def test_flag_embedding_layout_is_read(tmp_path: Path):
    write_lines(tmp_path / "corpus.jsonl", [{"id": "a", "title": "", "text": "one"}])
    for split, text in (("test", "first?"), ("dev", "the same id, another query")):
        write_lines(tmp_path / f"{split}_queries.jsonl", [{"id": "q", "text": text}])
        qrels = [{"qid": "q", "docid": "a", "relevance": 1}]
        write_lines(tmp_path / f"{split}_qrels.jsonl", qrels)
    assert collection_of(f"beir:{tmp_path}").queries == ("first?",)
    assert sorted(load_raw(f"beir:{tmp_path}").splits) == ["dev", "test"]


def test_licence_comes_from_meta_json(tmp_path: Path):
    write_beir(tmp_path)
    (tmp_path / "META.json").write_text('{"license": "MIT"}', encoding="utf-8")
    assert collection_of(f"beir:{tmp_path}").licence == "MIT"


def test_all_broken_lines_of_all_files_are_told_at_once(tmp_path: Path):
    write_beir(
        tmp_path,
        corpus=['{"_id": "a" "text": "x"}', {"id_": "b", "text": "x"}, ["c"], {"_id": 1.5}],
        queries=[{"_id": "q", "text": None}, {"_id": "", "text": "x"}, {"_id": "r", "txt": "x"}],
        qrels={"dev": ["q\ta\tyes", "q\ta"], "test": ["q\ta\t1.0", "q\ta\t1.5"]},
    )
    (tmp_path / "qrels" / "train.tsv").write_text("q\ta\n", encoding="utf-8")
    found = [line.removeprefix(f"{tmp_path}/") for line in problems_of(f"beir:{tmp_path}")]
    assert found == [
        (
            "corpus.jsonl:1: not valid JSON (Expecting ',' delimiter at column 13), "
            """got '{"_id": "a" "text": "x"}'. Write one object a line."""
        ),
        "corpus.jsonl:2: no key '_id', got 'id_', 'text'. Did you mean 'id_'?",
        """corpus.jsonl:3: not a JSON object, got ["c"]. Fix or remove the line.""",
        "corpus.jsonl:4: '_id' must be a text or an integer, got 1.5. Quote it.",
        "corpus.jsonl:4: no key 'text', got '_id'. Add the key.",
        "queries.jsonl:1: 'text' is null. Write the text or remove the line.",
        "queries.jsonl:2: '_id' is empty. Fill it in or remove the row.",
        "queries.jsonl:3: no key 'text', got '_id', 'txt'. Did you mean 'txt'?",
        "qrels/dev.tsv:2: 'grade' must be an integer grade, got 'yes'. Relevant is 1 or more.",
        "qrels/dev.tsv:3: 3 fields are needed, got 2. Quote the texts.",
        "qrels/test.tsv:3: 'grade' must be an integer grade, got '1.5'. Relevant is 1 or more.",
        (
            "qrels/train.tsv:1: the first line must be 'query-id\\tcorpus-id\\tscore', "
            "or each line 'qid 0 docid grade' as in TREC or 'qid docid grade', got 'q\\ta'. "
            "Write the header."
        ),
    ]


def test_text_that_is_no_unicode_is_told_with_its_line(tmp_path: Path):
    write_beir(tmp_path, corpus=[r'{"_id": "a", "text": "half \ud83d"}'])
    (tmp_path / "queries.jsonl").write_bytes(b'{"_id": "q", "text": "caf\xe9"}\n')
    first, second = problems_of(f"beir:{tmp_path}")
    assert first.endswith(r"'text' is not valid Unicode, got '\ud83d'. Remove the character.")
    assert "queries.jsonl:1: not UTF-8, got byte 0xe9 at column 26. Save" in second


def test_byte_order_mark_and_empty_lines_are_accepted(tmp_path: Path):
    write_beir(tmp_path)
    body = (tmp_path / "corpus.jsonl").read_text(encoding="utf-8")
    (tmp_path / "corpus.jsonl").write_text(f"\ufeff{body}\n\n", encoding="utf-8")
    assert len(load_raw(f"beir:{tmp_path}").documents.ids) == 3


def test_one_cause_is_one_message_with_its_count_and_first_lines(tmp_path: Path):
    write_beir(tmp_path, corpus=["no json"] * 25)
    (found,) = problems_of(f"beir:{tmp_path}")
    assert found.endswith("Write one object a line. 25 times, on lines 1, 2, 3, 4, 5, ….")


def test_long_lists_of_problems_are_cut(tmp_path: Path):
    write_beir(tmp_path, corpus=[{f"key{n}": n} for n in range(25)])
    found = problems_of(f"beir:{tmp_path}")
    assert len(found) == 21
    assert found[-1] == "and 30 more."


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("beir:{}/beri", "{}/beri: no such folder. Did you mean 'beir'?"),
        ("beir:{}/x/y", "{}/x/y: no such folder, nor '{}/x'. Check the path."),
        ("beir:{}/file.csv", "{}/file.csv: a folder is needed, got a file."),
        ("pairs:{}/none.csv", "{}/none.csv: cannot be read (No such file or directory)."),
        ("pairs:{}/beir", "{}/beir: unknown kind of file ''. Save it as one of .csv, .tsv,"),
        ("pairs:{}/file.csv", "{}/file.csv: is empty, got no header line."),
    ],
)
def test_source_that_cannot_be_found_says_where_and_the_fix(
    tmp_path: Path, source: str, message: str
):
    (tmp_path / "beir").mkdir()
    (tmp_path / "file.csv").touch()
    found = problems_of(source.format(tmp_path))
    assert found[0].startswith(message.format(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("bier:x", "source 'bier:x': unknown kind 'bier'. Did you mean 'beir'?"),
        ("scifact", "source 'scifact': no kind before a colon. Write one of beir:<folder>;"),
        ("pairs:", "source 'pairs:': nothing after the colon. Write pairs:<file.csv, .tsv,"),
    ],
)
def test_a_source_string_of_no_known_kind_is_a_mistake_of_the_suite(source: str, message: str):
    with pytest.raises(HarnessError, match=re.escape(message)) as refused:
        load_raw(source)
    assert refused.value.exit_code == ExitCode.USAGE


def test_empty_folder_names_every_missing_file(tmp_path: Path):
    files = [problem.partition(":")[0] for problem in problems_of(f"beir:{tmp_path}")]
    assert [Path(file).name for file in files] == ["corpus.jsonl", "queries.jsonl"]


PAIRS = [
    {"query": "what purrs", "document": "Cats\npurr, say", "grade": "1"},
    {"query": "what barks", "document": 'Dogs "bark"', "grade": ""},
    {"query": "what purrs", "document": "Lions", "grade": "2"},
    {"query": "what purrs", "document": "Lions", "grade": "1"},
]


def write_pairs(path: Path, rows: list[dict[str, str]]) -> Path:
    import pandas as pd

    table = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        if "grade" in table:
            table["grade"] = pd.to_numeric(table["grade"])
        table.to_parquet(path)
    elif path.suffix == ".jsonl":
        write_lines(path, rows)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_pairs_give_the_same_collection_in_every_format(tmp_path: Path, suffix: str):
    rows = [{**row, "split": "all"} for row in PAIRS]
    found = collection_of(f"pairs:{write_pairs(tmp_path / f'clicks.{suffix}', rows)}", "all")
    assert judged(found) == {
        ("what purrs", "Cats\npurr, say", 1),
        ("what purrs", "Lions", 2),
        ("what barks", 'Dogs "bark"', 1),
    }


def test_pairs_without_ids_get_them_from_their_texts(tmp_path: Path):
    rows = [{"query": "same", "document": "same", "split": "all"}]
    found = collection_of(f"pairs:{write_pairs(tmp_path / 'a.csv', rows)}", "all")
    more = [{"query": "new", "document": "new", "split": "all"}, *rows]
    grown = collection_of(f"pairs:{write_pairs(tmp_path / 'b.csv', more)}", "all")
    assert set(found.query_ids) < set(grown.query_ids)
    assert set(found.document_ids) < set(grown.document_ids)
    assert not set(found.query_ids) & set(found.document_ids)


def test_pairs_keep_the_ids_and_splits_that_are_given(tmp_path: Path):
    rows = [
        {"query": "a?", "document": "A", "query_id": "7", "document_id": "x", "split": "test"},
        {"query": "b?", "document": "B", "query_id": "8", "document_id": "y", "split": "train"},
    ]
    found = collection_of(f"pairs:{write_pairs(tmp_path / 'clicks.csv', rows)}")
    assert found.query_ids == ("7",)
    assert found.document_ids == ("x", "y")


def test_pairs_are_split_by_normalised_query_in_fixed_shares(tmp_path: Path):
    rows = [{"query": f"query {n}", "document": f"text {n % 50}"} for n in range(1000)]
    rows += [{"query": f" QUERY  {n}", "document": "another"} for n in range(1000)]
    raw = load_raw(f"pairs:{write_pairs(tmp_path / 'clicks.csv', rows)}")
    texts = {
        name: {
            " ".join(part.queries.texts[part.queries.rows[query]].lower().split())
            for query in part.relevant
        }
        for name, part in raw.splits.items()
    }
    assert {name: len(found) for name, found in texts.items()} == {
        "train": 675,
        "dev": 114,
        "test": 211,
    }
    assert len(raw.documents.ids) == 51


def test_pairs_with_a_wrong_column_say_the_line_that_names_what_was_found(tmp_path: Path):
    write_lines(tmp_path / "clicks.csv", ["qurey,url,body", "a,b,c"])
    (found,) = problems_of(f"pairs:{tmp_path / 'clicks.csv'}")
    assert "clicks.csv: no column 'query' (or 'anchor', 'question', 'search_term'," in found
    assert found.endswith(
        "got 'qurey', 'url', 'body'. Say which is which: "
        'columns = { query = "qurey", document = "body", document_id = "url" }'
    )


CLICKS = [
    ("Suchwort", "clicked_url", "page_text", "clicks", "timestamp"),
    ("red shoe", "/1", 'a "red" shoe, or; two|', "2", "2026-01-01"),
    ("blue hat", "/2", "one\nblue hat", "0", "2026-01-01"),
    ("blue hat", "/3", "a hat\u2028in blue", "1", "2026-01-02"),
    ("red shoe", "/1", 'a "red" shoe, or; two|', "3", "2026-01-03"),
]
NAMED = {
    "query": "Suchwort",
    "document": "page_text",
    "document_id": "clicked_url",
    "grade": "clicks",
}
LINE = (
    'columns = { query = "Suchwort", document = "page_text", document_id = "clicked_url", '
    'grade = "clicks" }'
)


def write_clicks(path: Path, *, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    header, *rows = CLICKS
    inner = io.StringIO()
    if ".parquet" in path.name:
        pd.DataFrame(rows, columns=header).astype({"clicks": int}).to_parquet(path)
        return path
    if ".jsonl" in path.name:
        inner.writelines(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows)
    else:
        csv.writer(inner, delimiter=delimiter, lineterminator="\n").writerows(CLICKS)
    body = inner.getvalue().encode(encoding)
    path.write_bytes(PACKERS.get(path.suffix, bytes)(body))
    return path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("log.csv", {}),
        ("log.csv", {"delimiter": ";"}),
        ("log.tsv", {}),
        ("log.tsv", {"delimiter": "\t"}),
        ("log.csv", {"delimiter": "\t"}),
        ("log.csv", {"delimiter": "|"}),
        ("log.txt", {"delimiter": "|"}),
        ("log.csv", {"encoding": "utf-8-sig"}),
        ("log.csv", {"encoding": "utf-16"}),
        ("log.tsv", {"encoding": "utf-16", "delimiter": "\t"}),
        ("log.csv.gz", {"delimiter": ";", "encoding": "utf-16"}),
        ("log.csv.zst", {"delimiter": ";"}),
        ("log.jsonl", {}),
        ("log.jsonl.gz", {}),
        ("log.jsonl.zst", {}),
        ("log.parquet", {}),
    ],
)
def test_the_columns_that_a_suite_names_are_read_in_every_kind_of_file(
    tmp_path: Path, name: str, said: dict[str, str]
):
    path = write_clicks(tmp_path / name, **said)
    raw = load_raw(f"pairs:{path}", Reading(columns=tuple(NAMED.items()))).undivided()
    assert dict(zip(raw.documents.ids, raw.documents.texts, strict=True)) == {
        row[1]: row[2] for row in CLICKS[1:]
    }
    found = build(raw, name="log", split="all")
    judged = found.judgements
    rows = zip(judged.queries, judged.documents, judged.grades.tolist(), strict=True)
    grades = {(found.queries[one], found.document_ids[other]): n for one, other, n in rows}
    assert grades == {("red shoe", "/1"): 5, ("blue hat", "/2"): 0, ("blue hat", "/3"): 1}
    assert any("clicks are the grades of 2 pairs: 1 or more is" in note for note in raw.notes)
    assert any("1 row with a repeated pair. Their" in note for note in raw.notes)


@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.jsonl"])
def test_absent_columns_end_with_the_line_filled_in(tmp_path: Path, name: str):
    path = write_clicks(tmp_path / name)
    (found,) = problems_of(f"pairs:{path}")
    assert found.startswith(f"{path}")
    assert found.endswith(f"Say which is which: {LINE}")


def test_a_named_column_that_the_file_lacks_is_told(tmp_path: Path):
    path = write_clicks(tmp_path / "log.csv")
    wrong = Reading(columns=(("query", "Suchwort"), ("grade", "klicks")))
    with pytest.raises(HarnessError) as caught:
        load_raw(f"pairs:{path}", wrong)
    (found,) = caught.value.problems
    assert "no column 'klicks' for 'grade', got 'Suchwort', 'clicked_url'" in found
    assert found.endswith(LINE)


CORPUS_SUITE = """
name = "s"
metrics = ["ndcg@10"]
baseline = "bm25"
candidates.bm25.kind = "bm25"
[collections.log]
source = "pairs:log.csv"
columns = {{ query = "Suchwort", document_id = "clicked_url" }}
corpus = "{corpus}"
"""


def corpus_suite(tmp_path: Path, corpus: str, more: str = "") -> Suite:
    write_clicks(tmp_path / "log.csv")
    path = tmp_path / "suite.toml"
    path.write_text(CORPUS_SUITE.format(corpus=corpus) + more, "utf-8")
    return load_suite(path)


PAGES = {"/1": "red", "/2": "blue", "/3": "hat", "/4": "green"}


@pytest.mark.parametrize("kind", ["file", "folder", "collection"])
def test_pairs_find_their_documents_in_a_corpus_by_id(tmp_path: Path, store: Store, kind: str):
    frame = pd.DataFrame({"url": list(PAGES), "body": list(PAGES.values())})
    (tmp_path / "beir").mkdir()
    folder = write_beir(tmp_path / "beir")
    rows = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in PAGES.items()]
    write_lines(folder / "corpus.jsonl", rows)
    frame.rename(columns={"body": "text"}).to_csv(tmp_path / "pages.csv", index=False)
    corpus = {"file": "pages.csv", "folder": "beir", "collection": "other"}[kind]
    more = '[collections.other]\nsource = "beir:beir"\n'
    inputs = read_inputs(corpus_suite(tmp_path, corpus, more), store)
    found = inputs.collections["log"]
    assert dict(zip(found.document_ids, found.documents, strict=True)) == PAGES
    assert (found.judgements.documents >= 0).all()


def test_a_corpus_without_its_columns_is_told_what_to_say_and_what_to_rename(
    tmp_path: Path, store: Store
):
    write_lines(tmp_path / "pages.csv", ["url,Inhalt", "/1,A"])
    with pytest.raises(HarnessError) as caught:
        read_inputs(corpus_suite(tmp_path, "pages.csv"), store)
    assert caught.value.problems[0].endswith('which: columns = { document = "Inhalt" }')
    write_lines(tmp_path / "pages.csv", ["page,text", "/1,A"])
    with pytest.raises(HarnessError, match="Rename the column to 'document_id'"):
        read_inputs(corpus_suite(tmp_path, "pages.csv"), store)


def test_ids_that_the_corpus_lacks_are_told_as_those_of_judgements_are(
    tmp_path: Path, store: Store
):
    write_lines(tmp_path / "pages.csv", ["id,title,text", "/1,A,b", "/2,C,d"])
    inputs = read_inputs(corpus_suite(tmp_path, "pages.csv"), store)
    assert inputs.raw["log"].documents.texts == ("A b", "C d")
    (told,) = [each for each in inputs.problems["log"] if each.check == "unknown-document"]
    assert (told.severity, told.examples) == ("error", ("/3",))  # one in three is too many


@pytest.mark.parametrize(
    ("corpus", "more", "said"),
    [
        ("log", "", "'corpus' is a collection with documents of its own, got 'log'"),
        ("other", '[collections.other]\nsource = "beir:x"\ncorpus = "y"', "'corpus' is for 'pairs"),
        ("p", '[collections.b]\nsource = "beir:x"\ncolumns.query = "y"', "'columns' names those"),
        ("p", '[collections.b]\nsource = "pairs:x"\ncolumns.qurey = "y"', "unknown key 'qurey'"),
    ],
)
def test_columns_and_corpus_that_mean_nothing_are_refused(
    tmp_path: Path, corpus: str, more: str, said: str
):
    with pytest.raises(HarnessError, match=said):
        corpus_suite(tmp_path, corpus, more)


def test_pairs_with_broken_rows_name_the_line_where_each_starts(tmp_path: Path):
    rows = ["query,document,grade", '"two', 'lines",d,1', "q,d,high", "q,d", 'q,"open,1', "q,d,1"]
    write_lines(tmp_path / "clicks.csv", rows)
    assert [
        line.partition("clicks.csv:")[2] for line in problems_of(f"pairs:{tmp_path}/clicks.csv")
    ] == [
        "4: 'grade' must be an integer grade, got 'high'. Relevant is 1 or more.",
        "5: 3 fields are needed, got 2. Quote the texts.",
        "6: not a valid table (unexpected end of data). Close the quotes, and double those inside.",
    ]


def test_pairs_may_hold_long_documents(tmp_path: Path):
    rows = [{"query": "q", "document": "x" * 200_000, "split": "all"}]
    found = collection_of(f"pairs:{write_pairs(tmp_path / 'long.csv', rows)}", "all")
    assert len(found.documents[0]) == 200_000


def test_file_that_is_no_parquet_is_told(tmp_path: Path):
    write_lines(tmp_path / "clicks.parquet", ["query,document"])
    assert (
        "clicks.parquet: damaged, or not a Parquet file"
        in problems_of(f"pairs:{tmp_path}/clicks.parquet")[0]
    )


LOG = (
    "query\tdocument\tsplit\n"
    '"opening hours\tThe museum opens at nine\ttest\n'
    "cheap tickets\tBook two weeks ahead\ttest\n"
    'best pizza"\tPizzeria da Lino\ttest\n'
)


def test_quotes_in_a_log_with_tabs_are_text_and_swallow_no_rows(tmp_path: Path):
    (tmp_path / "log.tsv").write_text(LOG, "utf-8")
    found = collection_of(f"pairs:{tmp_path}/log.tsv")
    assert set(found.queries) == {'"opening hours', "cheap tickets", 'best pizza"'}
    assert len(found.documents) == 3


def test_quotes_that_would_swallow_rows_of_a_csv_are_refused_with_their_line(tmp_path: Path):
    (tmp_path / "log.csv").write_text(LOG.replace("\t", ","), "utf-8")
    (found,) = problems_of(f"pairs:{tmp_path}/log.csv")
    assert "log.csv:2: a quote opens here and closes on line 4" in found


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["", *PACKERS])
def test_tables_are_read_whatever_separates_encodes_or_packs_them(
    tmp_path: Path, delimiter: str, encoding: str, ending: str
):
    rows = ["Question,Answer,Split", "what purrs,Cats,test", "what barks,Dogs,test"]
    body = "\r\n".join(rows).replace(",", delimiter).encode(encoding)
    path = tmp_path / f"faq.csv{ending}"
    path.write_bytes(packed(body, ending))
    found = collection_of(f"pairs:{path}")
    assert judged(found) == {("what purrs", "Cats", 1), ("what barks", "Dogs", 1)}


def packed(body: bytes, ending: str) -> bytes:
    return PACKERS[ending](body) if ending else body


@pytest.mark.parametrize("ending", PACKERS)
def test_a_damaged_compressed_file_is_told(tmp_path: Path, ending: str):
    body = packed(b"query,document\n" + b"what purrs,Cats\n" * 5000, ending)
    for content in (b"no compression at all", body[: len(body) // 2]):
        path = tmp_path / f"faq.csv{ending}"
        path.write_bytes(content)
        (found,) = problems_of(f"pairs:{path}")
        assert found.startswith(f"{path}: damaged, or not compressed with ")


def test_two_compressed_files_of_one_name_are_told(tmp_path: Path):
    for ending in (".gz", ".zst"):
        (tmp_path / f"faq.csv{ending}").write_bytes(packed(b"query,document\na,b\n", ending))
    (found,) = problems_of(f"pairs:{tmp_path}/faq.csv")
    assert "'faq.csv.gz', 'faq.csv.zst'" in found
    assert found.endswith("Keep one of the compressed files.")


@pytest.mark.parametrize("ending", PACKERS)
def test_every_file_of_a_folder_may_be_compressed(tmp_path: Path, ending: str):
    plain = collection_of(f"beir:{write_beir(tmp_path)}")
    for path in [*tmp_path.glob("*.jsonl"), *(tmp_path / "qrels").glob("*.tsv")]:
        path.with_name(f"{path.name}{ending}").write_bytes(packed(path.read_bytes(), ending))
        path.unlink()
    assert collection_of(f"beir:{tmp_path}").key == plain.key


def test_trecs_qrels_gzip_and_a_json_array_are_read(tmp_path: Path):
    write_beir(tmp_path)
    (tmp_path / "qrels" / "test.tsv").write_text("q2 0 d2 2\nq1 0 d10 1\n")
    (tmp_path / "corpus.jsonl").write_text(json.dumps(CORPUS, indent=1))
    body = (tmp_path / "queries.jsonl").read_bytes()
    (tmp_path / "queries.jsonl").unlink()
    (tmp_path / "queries.jsonl.gz").write_bytes(gzip.compress(body))
    found = collection_of(f"beir:{tmp_path}")
    assert (len(found.documents), len(found.queries)) == (3, 2)


def test_a_null_text_with_a_title_is_the_title(tmp_path: Path):
    corpus = [*CORPUS, {"_id": "d4", "title": "Only this", "text": None}]
    assert "Only this" in collection_of(f"beir:{write_beir(tmp_path, corpus=corpus)}").documents


def test_ids_that_pandas_wrote_as_floats_are_integers_and_gaps_are_one_message(tmp_path: Path):
    import pandas as pd

    path = tmp_path / "p.parquet"
    frame = pd.DataFrame({"query": ["a", "b"], "document": ["x", "y"], "query_id": [1.0, 2.0]})
    frame.assign(split="test").to_parquet(path)
    assert collection_of(f"pairs:{path}").query_ids == ("1", "2")
    frame.assign(query_id=[None, None]).astype({"query_id": float}).to_parquet(path)
    (found,) = problems_of(f"pairs:{path}")
    assert found.endswith(
        "'query_id' is null. Fill it in or remove the row. 2 times, on lines 1, 2."
    )


@needs_shared
@pytest.mark.parametrize(
    ("name", "documents", "splits"),
    [
        ("medquad", 15809, {"train": (11254, 12785), "dev": (1539, 1809), "test": (1552, 1765)}),
        ("nq_utd", 800, {"test": (80, 800)}),
        ("pubmedqa", 1000, {"dev": (500, 500), "test": (500, 500)}),
        ("scifact", 5183, {"train": (809, 919), "test": (300, 339)}),
        ("xquad/de", 240, {"test": (1190, 1190)}),
        ("xquad/en", 240, {"test": (1190, 1190)}),
        ("xquad/es", 240, {"test": (1190, 1190)}),
    ],
)
def test_real_collections_have_the_documented_counts(
    name: str, documents: int, splits: dict[str, tuple[int, int]]
):
    raw = load_raw(f"beir:{SHARED / name}")
    assert raw.licence
    assert set(raw.splits) == set(splits)
    for split, counts in splits.items():
        found = build(raw, name=name, split=split)
        assert len(found.documents) == documents
        assert (len(found.queries), len(found.judgements.queries)) == counts
        assert (found.judgements.documents >= 0).all()


THREE = [
    {"_id": f"q{row}", "text": f"text {row}", "topic": topic} for row, topic in enumerate("aba")
]


def test_a_key_of_the_queries_names_their_clusters(tmp_path: Path):
    qrels = {"test": ["q0\td2\t1", "q1\td10\t1", "q2\t7\t1"]}
    folder = write_beir(tmp_path, queries=THREE, qrels=qrels)
    found = collection_of(f"beir:{folder}", clusters="topic")
    assert found.clusters is not None
    assert found.clusters.tolist() == [0, 1, 0]
    assert found.key == collection_of(f"beir:{folder}").key


def test_queries_with_a_relevant_document_in_common_make_a_cluster(tmp_path: Path):
    qrels = {"test": ["q0\td2\t1", "q1\td10\t1", "q2\td2\t2", "q1\td2\t0"]}
    folder = write_beir(tmp_path, queries=THREE, qrels=qrels)
    found = collection_of(f"beir:{folder}", clusters="document")
    assert found.clusters is not None
    assert found.clusters[0] == found.clusters[2] != found.clusters[1]


def test_a_query_without_the_cluster_key_is_told_with_its_line(tmp_path: Path):
    queries = [*THREE[:2], {"_id": "q2", "text": "text 2"}]
    folder = write_beir(tmp_path, queries=queries)
    with pytest.raises(HarnessError, match=r"queries.jsonl:3: no key 'topic'"):
        load_raw(f"beir:{folder}", Reading(clusters="topic"))


def test_one_cluster_of_all_queries_is_refused(tmp_path: Path):
    queries = [{**query, "topic": "a"} for query in THREE]
    qrels = {"test": ["q0\td2\t1", "q1\td10\t1"]}
    folder = write_beir(tmp_path, queries=queries, qrels=qrels)
    with pytest.raises(HarnessError, match="all 2 queries are in one cluster"):
        collection_of(f"beir:{folder}", clusters="topic")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_of_a_file_of_pairs_names_the_clusters(tmp_path: Path, kind: str):
    import pandas as pd

    frame = pd.DataFrame(
        {"query": ["x", "y", "z"], "document": ["d", "e", "f"], "split": "test", "session": "aab"}
    ).assign(session=["s1", "s1", "s2"])
    path = tmp_path / f"pairs.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    found = collection_of(f"pairs:{path}", clusters="session")
    assert found.clusters is not None
    by_query = dict(zip(found.queries, found.clusters.tolist(), strict=True))
    assert by_query["x"] == by_query["y"] != by_query["z"]
    with pytest.raises(HarnessError, match="no column 'sessions'"):
        load_raw(f"pairs:{path}", Reading(clusters="sessions"))


def test_a_query_in_two_clusters_is_refused(tmp_path: Path):
    path = tmp_path / "pairs.csv"
    path.write_text("query,document,session\nx,d,s1\nx,e,s2\n")
    with pytest.raises(HarnessError, match="a query is in one cluster, got 's2', and 's1' on line"):
        load_raw(f"pairs:{path}", Reading(clusters="session"))


def test_python_sources_have_no_columns():
    with pytest.raises(HarnessError, match="a python: source has no columns"):
        load_raw("python:email", Reading(clusters="module"))


CLICK_LOG = "query,document\n" + "".join(f"question {n},answer {n}\n" for n in range(40))


def pairs_suite(tmp_path: Path, more: str = "", split: str = "") -> Suite:
    (tmp_path / "log.csv").write_text(CLICK_LOG, "utf-8")
    path = tmp_path / "suite.toml"
    path.write_text(
        'name = "s"\nquestion = "q?"\nmetrics = ["ndcg@10"]\nbaseline = "bm25"\n'
        f'[collections.log]\nsource = "pairs:log.csv"\n{split}\n'
        f'[candidates.bm25]\nkind = "bm25"\n{more}',
        "utf-8",
    )
    return load_suite(path)


def test_every_query_of_pairs_is_scored_where_nothing_learns_from_them(
    tmp_path: Path, store: Store
):
    inputs = read_inputs(pairs_suite(tmp_path), store)
    assert (inputs.collections["log"].split, len(inputs.collections["log"].queries)) == ("all", 40)
    assert list(partly_scored(inputs)) == []


def test_a_part_of_pairs_is_scored_and_said_where_a_candidate_learns_from_the_rest(
    tmp_path: Path, store: Store
):
    learns = '[diagnosis]\ntraining = { bm25 = "log:train" }\n'
    inputs = read_inputs(pairs_suite(tmp_path, learns), store)
    found = inputs.collections["log"]
    assert found.split == "test"
    assert 0 < len(found.queries) < 40
    [said] = partly_scored(inputs)
    assert f"{len(found.queries)} of 40 queries are scored: split 'test'" in said
    assert inputs.split("log", "train").queries


def test_all_splits_can_be_asked_for_by_name(tmp_path: Path, store: Store):
    inputs = read_inputs(pairs_suite(tmp_path, split='split = "all"'), store)
    assert len(inputs.collections["log"].queries) == 40
    one = read_inputs(pairs_suite(tmp_path, split='split = "dev"'), store)
    assert 0 < len(one.collections["log"].queries) < 40


def test_training_on_what_is_scored_as_all_is_refused(tmp_path: Path):
    tuned = '[candidates.m]\nmodel = "x"\n[candidates.t]\nfrom = "m"\n'
    tuned += 'finetune = { data = "log:train" }\n'
    with pytest.raises(HarnessError, match="'log:train' is the split that 'log' is scored on"):
        pairs_suite(tmp_path, tuned, split='split = "all"')
