"""A folder of files as a collection: reading, cutting into passages, scores by file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import plan_of, run_suite, sentences, write_beir
from hypothesis import given
from hypothesis import strategies as st

from harness.collection import Collection
from harness.collection.folder import read_folder
from harness.collection.passages import CHARACTERS_PER_TOKEN, Chunking, cut_documents, cut_text
from harness.decision.gather import gather_situation
from harness.errors import ExitCode, HarnessError
from harness.output.inspection import write_inspection
from harness.plan.plan import Plan
from harness.results.chunk_sizes import chunk_size_in_words
from harness.results.gathering import gather, gather_costs
from harness.retrieval.folding import FoldPassages, fold
from harness.runs.run import Run
from harness.store import Store
from harness.suite.inputs import read_inputs
from harness.suite.load import load_suite
from reports import tables, wording
from reports.lookup import Lookup

SUITE = """
name = "help"
metrics = ["ndcg@10"]
baseline = "words"
[candidates.words]
kind = "bm25"
"""
FOLDER = 'source = "folder:docs"\nquestions = "questions.csv"\n'
PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj
4 0 obj<</Length 41>>stream
BT /F 12 Tf 9 9 Td (Export a table) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>
startxref
0
%%EOF
"""


def written(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def suite(folder: Path, *collections: str, more: str = "") -> Path:
    """Write a suite of collections c0, c1, …, each with some keys."""
    tables_ = [f"[collections.c{row}]\n{keys}" for row, keys in enumerate(collections)]
    path = folder / "suite.toml"
    path.write_text("\n".join([SUITE, *tables_, more]), "utf-8")
    return path


def collection_of(path: Path, store: Store) -> Collection:
    return read_inputs(load_suite(path), store).collections["c0"]


def problems_of(path: Path, store: Store) -> list[str]:
    with pytest.raises(HarnessError) as caught:
        plan_of(path, store)
    return caught.value.problems


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Return a folder with twelve files of twelve paragraphs, and a question on a line of each."""
    lines = sentences(144, seed=3, words=9)
    files: dict[str, str | bytes] = {
        f"docs/part{row % 2}/f{row:02}.md": "\n\n".join(lines[12 * row : 12 * row + 12])
        for row in range(12)
    }
    rows = [f"{lines[12 * row + row]},part{row % 2}/f{row:02}.md" for row in range(12)]
    files["questions.csv"] = "question,file\n" + "\n".join(rows) + "\n"
    return written(tmp_path, files)


# --- Files


def test_text_markdown_and_html_are_read_each_under_its_path(tmp_path: Path):
    page = (
        "<html><head><title>Help</title><style>p {}</style></head><body><nav>Home</nav>"
        "<h2>Reset &amp; go</h2><p>Press\n the <b>button</b>.</p><ul><li>one<li>two</ul>"
        "<pre>a\n  b</pre><script>x()</script></body></html>"
    )
    folder = written(
        tmp_path,
        {
            "a.md": "# Title\r\n\r\nText",
            "sub/b.html": page,
            "sub/old.htm": '<meta charset="latin-1"><p>caf\xe9</p>'.encode("latin-1"),
            "c.txt": "\ufeffplain".encode(),
            "d.txt": "wide".encode("utf-16"),
        },
    )
    found = read_folder(folder)
    assert dict(zip(found.documents.ids, found.documents.texts, strict=True)) == {
        "a.md": "# Title\n\nText",
        "c.txt": "plain",
        "d.txt": "wide",
        "sub/b.html": "Help\n\n## Reset & go\n\nPress the button.\n\n- one\n- two\n\na\n  b",
        "sub/old.htm": "caf\xe9",
    }
    assert found.notes == ()


def test_a_pdf_is_read_and_a_damaged_one_is_left_out(tmp_path: Path):
    pytest.importorskip("pypdf")
    found = read_folder(written(tmp_path, {"a.pdf": PDF, "b.pdf": PDF[:40]}))
    assert found.documents.ids == ("a.pdf",)
    assert found.documents.texts[0].strip() == "Export a table"
    assert "1 file cannot be read: damaged, or locked" in found.notes[0]


def test_what_is_left_out_is_counted_by_its_reason_and_hidden_files_are_not_looked_at(
    tmp_path: Path,
):
    files: dict[str, str | bytes] = {f"{name}.x": "x" for name in "abcd"}
    files |= {
        "ok.md": "text",
        "empty.md": " \n",
        "latin.txt": b"caf\xe9",
        "nul.txt": b"a\0b",
        ".git/x.md": "hidden",
        ".x.md": "hidden",
    }
    folder = written(tmp_path, files)
    assert sorted(read_folder(folder).notes) == [
        f"{folder}: 1 file binary, with NUL bytes ('nul.txt'). Left out.",
        f"{folder}: 1 file not in UTF-8: save as UTF-8 ('latin.txt'). Left out.",
        f"{folder}: 1 file without text ('empty.md'). Left out.",
        f"{folder}: 4 files of an unsupported type, .x ('a.x', 'b.x', 'c.x', …). Left out.",
    ]


def test_a_folder_without_text_or_of_another_name_is_refused(docs: Path, store: Store):
    written(docs, {"none/a.docx": "x"})
    path = suite(docs, FOLDER.replace("docs", "none"), FOLDER.replace("docs", "dcs"))
    of_kind, no_text, other = problems_of(path, store)
    assert "1 file of an unsupported type, .docx" in of_kind
    assert "no file with text. Add files that end in .md, .markdown, .txt" in no_text
    assert "no such folder. Did you mean 'docs'?" in other


# --- Passages


@given(
    st.text(alphabet="abc \n#.é字。", max_size=400),
    st.integers(8, 40).flatmap(
        lambda tokens: st.tuples(st.just(tokens), st.integers(0, (tokens - 1) // 2))
    ),
)
def test_passages_hold_every_word_in_order_and_are_never_too_long(
    text: str, sizes: tuple[int, int]
):
    cut = Chunking(*sizes)
    found = list(cut_text(text, cut))
    assert all(len(each) <= cut.tokens * CHARACTERS_PER_TOKEN for each in found)
    place = 0
    for each in found:
        start = text.index(each, max(0, place - cut.overlap * CHARACTERS_PER_TOKEN))
        assert not text[place:start].strip(), "nothing is left out"
        place = max(place, start + len(each))
    assert not text[place:].strip()


def test_a_passage_ends_at_a_heading_a_paragraph_a_sentence_or_a_word():
    text = "# One\n\naa bb. cc dd.\n\nee ff gg.\n\n# Two\n\nhh ii jj kk ll mm nn oo"
    assert list(cut_text(text, Chunking(tokens=11, overlap=0))) == [
        "# One\n\naa bb. cc dd.\n\nee ff gg.",
        "# Two\n\nhh ii jj kk ll mm nn oo",
    ]
    assert list(cut_text(text, Chunking(tokens=8, overlap=2))) == [
        "# One\n\naa bb. cc dd.",
        "dd.\n\nee ff gg.",
        "# Two\n\nhh ii jj kk ll mm nn oo",
    ]


def test_as_many_passages_are_searched_as_hold_the_wanted_files():
    found = cut_documents(
        ["a", "b", "c"], ["x" * 100, "y" * 60, "z"], Chunking(tokens=8, overlap=0)
    )
    assert found.ids == ("a#1", "a#2", "a#3", "a#4", "b#1", "b#2", "c#1")
    assert [found.depth(wanted) for wanted in (1, 2, 3, 9)] == [1, 5, 7, 7]


def test_a_file_stands_where_its_best_passage_does_and_a_forbidden_one_nowhere():
    run = Run(
        np.array([[5, 4, 1, 0, -1]], np.int32), np.array([[0.9, 0.8, 0.8, 0.7, 0]], np.float32)
    )
    owners = np.array([0, 1, 1, 2, 2, 2], np.int32)
    found = fold(run, owners, depth=3)
    assert found.documents.tolist() == [[2, 1, 0]]
    assert found.scores[0].tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert fold(run, owners, depth=2, forbidden=np.array([1], np.int32)).documents.tolist() == [
        [2, 0]
    ]


# --- Questions


def test_files_are_judged_by_path_in_any_usual_way(docs: Path, store: Store):
    rows = ["reset,docs/part0/f00.md,2", "reset,./part1/f01.md,1", "go,part0\\f02.md,1"]
    for header in ("question,file,grade", "q,path,rel", "query;document;grade"):
        separator = ";" if ";" in header else ","
        text = "\n".join([header, *(row.replace(",", separator) for row in rows)])
        written(docs, {"questions.csv": text})
        more = 'columns = { query = "q" }\n' if header.startswith("q,") else ""
        found = collection_of(suite(docs, FOLDER + more), store)
        judged = found.judgements
        names = [found.document_ids[row] for row in judged.documents.tolist()]
        assert sorted(names) == ["part0/f00.md", "part0/f02.md", "part1/f01.md"]
        assert sorted(judged.grades.tolist()) == [1, 1, 2]


def test_an_unknown_file_is_refused_with_the_nearest_one(docs: Path, store: Store):
    written(docs, {"questions.csv": "question,file\nreset,part0/f00.mdx\ngo,part0/f02.md\n"})
    [problem] = problems_of(suite(docs, FOLDER), store)
    assert "questions.csv:2: judges document 'part0/f00.mdx', which is not in" in problem
    assert "(did you mean 'part0/f00.md'?)" in problem


def test_questions_without_a_column_of_files_get_the_line_that_names_it(docs: Path, store: Store):
    written(docs, {"questions.csv": "question,where\nreset,part0/f00.md\n"})
    [problem] = problems_of(suite(docs, FOLDER), store)
    assert 'columns = { query = "question", document_id = "where" }' in problem


def test_passages_are_judged_where_the_questions_name_them(docs: Path, store: Store):
    written(docs, {"questions.csv": "question,passage\nreset,part0/f00.md#2\ngo,part0/f02.md#1\n"})
    found = collection_of(suite(docs, FOLDER + "passages = { tokens = 32 }"), store)
    assert found.passages is None
    assert found.searched is found
    names = [found.document_ids[row] for row in found.judgements.documents.tolist()]
    assert sorted(names) == ["part0/f00.md#2", "part0/f02.md#1"]
    written(docs, {"questions.csv": "question,passage\nreset,part0/f00.md#2\ngo,part0/f02.md\n"})
    [problem] = problems_of(suite(docs, FOLDER), store)
    assert "some questions name a file and some a passage" in problem
    assert "questions.csv:3 names 'part0/f02.md'" in problem


def test_a_folder_beside_pairs_is_the_same_collection(docs: Path, store: Store):
    beside = 'source = "pairs:questions.csv"\ncorpus = "docs"\n'
    found = read_inputs(load_suite(suite(docs, FOLDER, beside)), store).collections
    assert found["c0"].key == found["c1"].key


def test_mistakes_in_the_suite_are_told_together(docs: Path, store: Store):
    path = suite(
        docs,
        'source = "folder:docs"',
        FOLDER + "passages = { tokens = 20, overlap = 10 }",
        'source = "pairs:questions.csv"\nquestions = "questions.csv"',
    )
    none, overlap, other = problems_of(path, store)
    assert 'a folder needs questions. Add questions = "questions.csv"' in none
    assert "'overlap' must be less than half of 'tokens', got 10 of 20. At most 9." in overlap
    assert "'questions' is for 'folder:<folder>', got 'pairs'" in other


def test_every_file_that_answers_a_question_is_warned_of(docs: Path, store: Store):
    inputs = read_inputs(load_suite(suite(docs, FOLDER)), store)
    told = [problem.check for problem in inputs.problems["c0"]]
    assert "all-documents-relevant" in told


# --- Scores


def folded(plan: Plan, name: str) -> FoldPassages:
    stage = plan.scored[name, "c0"].run_stage
    assert isinstance(stage, FoldPassages)
    return stage


def test_every_kind_of_candidate_is_scored_by_file(
    docs: Path, store: Store, static_model: Path, cross_encoder: Path
):
    more = f"""
        [candidates.static]
        model = "{static_model}"
        [candidates.short]
        from = "static"
        truncate = 4
        [candidates.mixed]
        fuse = ["words", "static"]
        [candidates.reranked]
        from = "mixed"
        rerank = {{ model = "{cross_encoder}", depth = 10 }}
    """
    plan = run_suite(suite(docs, FOLDER + "passages = { tokens = 16 }", more=more), store)
    texts = plan.collections["c0"]
    passages = texts.passages
    assert passages is not None
    assert len(passages.ids) > 3 * len(texts.document_ids) == 36
    for name in plan.suite.candidates:
        stage = folded(plan, name)
        run, searched = stage.result(store), stage.searched.result(store)
        best = stage.passages(store)
        for query in range(len(texts.query_ids)):
            files = passages.documents[searched.documents[query][searched.documents[query] >= 0]]
            found = run.documents[query][run.documents[query] >= 0]
            assert found.tolist() == list(dict.fromkeys(files.tolist()))
            assert passages.documents[best[query, : len(found)]].tolist() == found.tolist()
    assert plan.scored["words", "c0"].result(store).values["ndcg@10"].mean() > 0.8


def test_files_that_are_one_passage_score_as_if_they_were_not_cut(beir: Path, store: Store):
    source = f'source = "beir:{beir}"\n'
    path = suite(store.root.parent, source, f"{source}passages = {{ tokens = 1000 }}\n")
    plan = run_suite(path, store)
    one, two = (plan.scored["words", name].result(store).values["ndcg@10"] for name in ("c0", "c1"))
    assert one.tolist() == two.tolist()


def test_training_from_files_and_prompts_of_whole_files_are_refused(
    docs: Path, store: Store, static_model: Path
):
    questions = (docs / "questions.csv").read_text("utf-8").splitlines()
    rows = [f"{line},{'train' if row % 2 else 'test'}" for row, line in enumerate(questions[1:])]
    written(docs, {"questions.csv": "\n".join(["question,file,split", *rows])})
    more = f"""
        [candidates.static]
        model = "{static_model}"
        [candidates.tuned]
        from = "static"
        finetune = {{ data = "c0:train" }}
    """
    [problem] = problems_of(suite(docs, FOLDER, more=more), store)
    assert "'c0:train' is judged by document and searched by passage" in problem
    path = suite(docs, FOLDER)
    path.write_text(path.read_text("utf-8").replace("ndcg@10", "context_recall@200t"), "utf-8")
    [problem] = problems_of(path, store)
    assert "context_recall@200t fills a prompt with whole documents" in problem


def test_a_run_of_another_system_may_name_files_or_passages(docs: Path, store: Store):
    found = collection_of(suite(docs, FOLDER + "passages = { tokens = 16 }"), store)
    lines = [f"{found.query_ids[0]} Q0 part0/f02.md 1 3.0 x"]
    lines += [f"{found.query_ids[0]} Q0 part0/f00.md#2 2 2.0 x"]
    lines += [f"{found.query_ids[0]} Q0 part0/f00.md#1 3 1.0 x"]
    written(docs, {"production.trec": "\n".join(lines)})
    more = '[candidates.production]\nrun = "production.trec"\n'
    path = suite(docs, FOLDER + "passages = { tokens = 16 }", more=more)
    run = folded(run_suite(path, store), "production").result(store)
    names = [found.document_ids[row] for row in run.documents[0].tolist() if row >= 0]
    assert names == ["part0/f02.md", "part0/f00.md"]


# --- Chunk sizes


def test_chunk_sizes_are_compared_on_the_same_files_and_count_once(docs: Path, store: Store):
    cuts = [FOLDER + f"passages = {{ tokens = {tokens} }}\n" for tokens in (64, 16, 32)]
    general = FOLDER + 'clusters = "document"\n'
    path = suite(docs, *cuts, general, more='[candidates.german]\nkind = "bm25"\nlanguage="none"')
    plan = run_suite(path, store)
    results, costs = gather(plan), gather_costs(plan)
    assert plan.suite.collections_of("target") == ["c0", "c3"]
    assert [each.cut_otherwise for each in results.collections] == [None, "c0", "c0", None]
    found = {(each.candidate, each.collection): each for each in results.chunk_sizes}
    assert set(found) == {(name, place) for name in ("words", "german") for place in ("c1", "c2")}
    each = found["words", "c1"]
    values = [plan.scored["words", name].result(store).values["ndcg@10"] for name in ("c1", "c0")]
    assert each.difference == pytest.approx(float((values[0] - values[1]).mean()))
    assert (each.n, each.passages, each.reference_passages) == (12, "16 tokens", "64 tokens")
    assert each.family_low <= each.low <= each.difference <= each.high <= each.family_high
    shown = tables.chunk_sizes(results, costs)
    assert [row[1] for row in shown.rows] == ["64 tokens", "16 tokens", "32 tokens"] * 2
    assert "12 documents in" in wording.described(results, results.collections[0])
    [first, _] = chunk_size_in_words(results.chunk_sizes, "words")
    assert first.startswith("Chunk size, for 'words': passages of 16 tokens ('c1') instead of 64")
    assert gather_situation(plan, costs).collections == ("c0", "c3")


def test_chunk_sizes_of_judged_passages_are_refused(docs: Path, store: Store):
    written(docs, {"questions.csv": "question,passage\nreset,part0/f00.md#1\ngo,part0/f02.md#1\n"})
    cuts = [FOLDER + f"passages = {{ tokens = {tokens} }}\n" for tokens in (64, 16)]
    [problem] = problems_of(suite(docs, *cuts), store)
    assert "'c1' and 'c0' differ only in passages, but the questions judge passages" in problem


def test_a_beir_collection_may_be_searched_by_passage(tmp_path: Path, store: Store):
    long = " ".join(["filler"] * 60)
    folder = write_beir(
        tmp_path / "beir",
        documents={"d1": f"{long} needle", "d2": f"{long} hay", "d3": "short"},
        queries={"q1": "needle", "q2": "hay"},
        qrels={"test": [("q1", "d1", 1), ("q2", "d2", 1)]},
    )
    keys = f'source = "beir:{folder}"\npassages = {{ tokens = 32, overlap = 4 }}\n'
    plan = run_suite(suite(tmp_path, keys), store)
    assert folded(plan, "words").result(store).documents[:, 0].tolist() == [0, 1]


def test_the_error_of_a_missing_folder_is_one_of_data(tmp_path: Path):
    with pytest.raises(HarnessError) as caught:
        read_folder(tmp_path / "nowhere" / "docs")
    assert caught.value.exit_code == ExitCode.DATA


def test_the_best_passage_is_stored_beside_each_file(docs: Path, store: Store, tmp_path: Path):
    plan = run_suite(suite(docs, FOLDER + "passages = { tokens = 16 }"), store)
    stage, texts = folded(plan, "words"), plan.collections["c0"]
    assert texts.passages is not None
    runs = [("words", stage.result(store))]
    write_inspection(
        tmp_path, plan.collections, lambda _: runs, passages=lambda *_: stage.passages(store)
    )
    lookup, query = Lookup(tmp_path), texts.query_ids[0]
    first = lookup.ranking("words", "c0", query)[0]
    row = texts.passages.ids.index(first.passage)
    assert first.passage.startswith(f"{first.document}#")
    assert lookup.documents("c0", [first.document, first.passage]) == {
        first.document: texts.documents[texts.document_ids.index(first.document)],
        first.passage: texts.passages.texts[row],
    }
