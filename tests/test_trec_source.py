"""Folders of TREC files: documents, topics and judgements in the forms of its tracks."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from test_collection import problems_of
from test_layouts import write_hub

from harness.collection import Collection, remembered
from harness.collection.load import build, load_raw
from harness.collection.raw import Reading
from harness.collection.remembered import read_raw
from harness.errors import ExitCode, HarnessError
from harness.store import Store

NEWSWIRE = """<DOC>
<DOCNO> FT911-1 </DOCNO>
<PROFILE>_AN-BENBQAD8FT</PROFILE>
<HEADLINE>
FT  14 MAY 91 / Crime &amp; punishment
</HEADLINE>
<TEXT>
<P>Smuggling rings
were found.</P>
</TEXT>
</DOC>
<DOC><DOCNO>FT911-2</DOCNO><TEXT>Polio vaccines.</TEXT></DOC><DOC>
<DOCNO>FT911-3</DOCNO>
A web page <b>without</b> these elements.
</DOC>
"""
SGML = """
<top>

<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations that
smuggle.

<narr> Narrative:
A relevant document names one.

</top>
<top>
<num> Number: 302 <title> Polio &amp; vaccines
<desc> Description: Is polio gone?
</top>
"""
XML = """<?xml version="1.0"?>
<topics task="COVIDSearch">
  <topic number="301">
    <query>International <i>Organized</i> Crime</query>
    <question>Who smuggles?</question>
    <narrative>A relevant document names one.</narrative>
  </topic>
  <topic number="302"><query>Polio &amp; vaccines</query></topic>
</topics>
"""
QRELS = "301 0 FT911-1 1\n301 0 FT911-2 0\n302 0 FT911-2 2\n"
TEXTS = {
    "FT911-1": "FT 14 MAY 91 / Crime & punishment Smuggling rings were found.",
    "FT911-2": "Polio vaccines.",
    "FT911-3": "A web page without these elements.",
}
TITLES = {"301": "International Organized Crime", "302": "Polio & vaccines"}


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def loaded(folder: Path, split: str = "test", query: str | None = None) -> Collection:
    columns = () if query is None else (("query", query),)
    return build(load_raw(f"trec:{folder}", Reading(columns=columns)), name="t", split=split)


def texts_of(found: Collection) -> dict[str, str]:
    return dict(zip(found.document_ids, found.documents, strict=True))


def queries_of(found: Collection) -> dict[str, str]:
    return dict(zip(found.query_ids, found.queries, strict=True))


@pytest.mark.parametrize(
    "topics",
    [
        SGML,
        XML,
        "301\tInternational Organized Crime\n302\tPolio & vaccines\n",
        "301:International Organized Crime\n302:Polio & vaccines\n",
        "301 International Organized Crime\n302 Polio & vaccines\n",
        "qid\tquery\n301\tInternational Organized Crime\n302\tPolio & vaccines\n",
    ],
)
def test_topics_of_every_form_are_the_same_queries(tmp_path: Path, topics: str):
    write(tmp_path, documents__ft_1=NEWSWIRE, topics_dot_txt=topics, qrels_dot_txt=QRELS)
    found = loaded(tmp_path)
    assert queries_of(found) == TITLES
    assert texts_of(found) == TEXTS
    assert found.judgements.grades.tolist() == [1, 0, 2]


@pytest.mark.parametrize(("topics", "field"), [(SGML, "desc"), (XML, "question")])
def test_the_suite_may_name_the_field_of_the_query(tmp_path: Path, topics: str, field: str):
    write(
        tmp_path, docs_dot_trec=NEWSWIRE, topics_dot_txt=topics, qrels_dot_txt="301 0 FT911-1 1\n"
    )
    if field == "desc":
        assert queries_of(loaded(tmp_path, query="description"))["301"] == (
            "Identify organizations that smuggle."
        )
    else:
        with pytest.raises(HarnessError, match=r"topic 2 has no question, got 'number', 'query'"):
            loaded(tmp_path, query=field)


def test_the_files_of_ms_marco_are_read_by_split(tmp_path: Path):
    write(
        tmp_path,
        collection_dot_tsv='0\tThe "Manhattan" project\n1\tCats purr\n',
        queries_dot_train_dot_tsv="10\twhat purrs\n",
        queries_dot_dev_dot_tsv="20\twhat was it\n",
        qrels_dot_train_dot_tsv="10\t0\t1\t1\n",
        qrels_dot_dev_dot_tsv="20\t0\t0\t1\n",
    )
    assert queries_of(loaded(tmp_path, "train")) == {"10": "what purrs"}
    found = loaded(tmp_path, "dev")
    assert queries_of(found) == {"20": "what was it"}
    assert texts_of(found) == {"0": 'The "Manhattan" project', "1": "Cats purr"}


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("docs.tsv", "a\thttps://x\tTitle\tBody here\nb\t\t\tOther\n", "Title Body here"),
        ("docs.tsv", "docid\ttext\na\tBody here\nb\tOther\n", "Body here"),
        (
            "corpus.jsonl",
            '{"id": "a", "contents": "Body here"}\n{"id": "b", "contents": "x"}\n',
            "Body here",
        ),
        ("collection/1.jsonl", '{"docid": "a", "text": "Body here"}\n', "Body here"),
    ],
)
def test_documents_may_be_tables(tmp_path: Path, name: str, body: str, text: str):
    write(tmp_path, topics_dot_txt="1:what\n", qrels_dot_txt="1 0 a 1\n")
    write(tmp_path, **{name.replace("/", "__").replace(".", "_dot_"): body})
    assert texts_of(loaded(tmp_path))["a"] == text


def test_shards_in_folders_compressed_are_found_by_name_and_remembered(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remembered, "FEWEST_BYTES", 0)
    write(tmp_path, topics__a_dot_xml=XML, README="notes")
    (tmp_path / "topics-and-qrels").mkdir()
    (tmp_path / "topics" / "a.xml").rename(tmp_path / "topics-and-qrels" / "topics.xml")
    (tmp_path / "topics-and-qrels" / "qrels.gz").write_bytes(gzip.compress(QRELS.encode()))
    for number, part in enumerate(NEWSWIRE.split("<DOC>\n", 1)):
        folder = tmp_path / "docs" / str(number)
        folder.mkdir(parents=True)
        body = f"<DOC>\n{part}" if number else "<DOC><DOCNO>X</DOCNO>an x</DOC>"
        (folder / "ft.gz").write_bytes(gzip.compress(body.encode()))
    source = f"trec:{tmp_path}"
    found = build(read_raw(source, store=store), name="t", split="test")
    assert texts_of(found) == {**TEXTS, "X": "an x"}
    assert read_raw(source, store=store).key is not None
    assert build(read_raw(source, store=store), name="t", split="test").key == found.key


def test_what_is_missing_is_named_beside_what_is_there(tmp_path: Path):
    write(tmp_path, documents_dot_xml=NEWSWIRE, robust_dot_txt=SGML)
    no_judgements, no_topics = sorted(problems_of(f"trec:{tmp_path}"))
    assert no_judgements.endswith(
        "no judgements, got 'documents.xml', 'robust.txt'. Name them 'judgements' with any ending."
    )
    assert "no topics, got" in no_topics


def test_a_folder_of_the_other_layout_is_told_its_source(tmp_path: Path):
    (tmp_path / "hub").mkdir()
    (found,) = problems_of(f"trec:{write_hub(tmp_path / 'hub', judged='data/test.parquet')}")
    assert found.endswith(f"Write beir:{tmp_path}/hub, whose layout it has.")
    write(tmp_path / "trec", docs_dot_xml=NEWSWIRE, topics_dot_txt=SGML)
    found = problems_of(f"beir:{tmp_path}/trec")[0]
    assert found.endswith(f"Topics and documents of TREC are read as trec:{tmp_path}/trec.")


def test_broken_documents_and_topics_are_told_with_their_line(tmp_path: Path):
    open_document = NEWSWIRE.replace("FT911-3</DOCNO>", "FT911-3").removesuffix("</DOC>\n")
    write(
        tmp_path,
        docs__a=open_document,
        topics_dot_txt="<top>\n<num> Number: 1\n<narr> x\n</top>",
        qrels_dot_txt="1 0 FT911-1 1\n",
    )
    topic, document = problems_of(f"trec:{tmp_path}")
    assert topic.endswith(
        "topics.txt: topic 1 has no title, got 'num', 'narr'. Say which field it is: "
        'columns = { query = "description" }.'
    )
    assert document.endswith("docs/a:12: a <DOC> opens here and is not closed. Add </DOC>.")


def test_a_file_among_documents_that_holds_none_is_left_out_and_told(tmp_path: Path):
    write(tmp_path, docs__a=NEWSWIRE, docs__readme="disk 4", topics_dot_txt=SGML)
    write(tmp_path, qrels_dot_txt=QRELS, results__docs_dot_npy="not looked at")
    found = load_raw(f"trec:{tmp_path}")
    assert len(found.documents.ids) == 3
    assert found.notes == (f"{tmp_path}/docs/readme: no <DOC>, and not a table. Left out.",)


def test_columns_that_topics_do_not_have_are_refused(tmp_path: Path):
    with pytest.raises(HarnessError, match="topics with fields, not columns") as refused:
        load_raw(f"trec:{tmp_path}", Reading(columns=(("grade", "x"),)))
    assert refused.value.exit_code == ExitCode.USAGE
