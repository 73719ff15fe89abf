"""Run files: what trec_eval and ranx write is read, and what we write they read back."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from harness.collection import Judgements
from harness.errors import ExitCode, HarnessError
from harness.runs.formats import ScoreKind
from harness.runs.metrics import parse_metric, score
from harness.runs.run import Run, rank
from harness.runs.trec import ImportedRun, read_run, write_run

KNOWN = (
    "'qid Q0 docid rank score tag' (TREC), 'qid docid rank' or 'qid docid rank score' (MS MARCO), "
    "or a header with 'query_id', 'document_id' and 'score'"
)
QUERIES = ("q1", "q2", "q3")
DOCUMENTS = ("a", "b", "c", "d")


def read(path: Path, *, depth: int = 10) -> ImportedRun:
    return read_run(path, query_ids=QUERIES, document_ids=DOCUMENTS, depth=depth)


def write(path: Path, run: Run, *, tag: str = "ours"):
    write_run(path, run, query_ids=QUERIES, document_ids=DOCUMENTS, tag=tag)


def text_file(folder: Path, text: str, *, name: str = "run.trec"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path):
    with pytest.raises(HarnessError) as raised:
        read(path)
    assert raised.value.exit_code == ExitCode.DATA
    return raised.value.problems


def test_scores_decide_and_the_rank_column_is_ignored(tmp_path: Path):
    path = text_file(
        tmp_path,
        "q1 Q0 a 1 0.1 x\n"
        "q1\tQ0\tb\t2\t0.9\tx and more junk\n"
        "\n"
        "q3 Q0 a 1 0.5 x\n"
        "q3 Q0 d 2 0.5 x\n"
        "q1 Q0 c 3 2e-1 x\n",
    )
    found = read(path)
    assert found.run.documents.tolist() == [[1, 2, 0], [-1, -1, -1], [3, 0, -1]]
    assert found.run.scores[0].tolist() == np.float32([0.9, 0.2, 0.1]).tolist()
    assert found[1:] == (0, ("q2",), (), 0)


def test_run_is_cut_at_depth(tmp_path: Path):
    path = text_file(tmp_path, "q1 Q0 a 2 0.1 x\nq1 Q0 b 1 0.9 x\n")
    assert read(path, depth=1).run.documents.tolist() == [[1], [-1], [-1]]


def test_what_the_collection_lacks_is_left_out_and_counted(tmp_path: Path):
    path = text_file(
        tmp_path,
        "q1 Q0 a 2 0.1 x\n"
        "q1 Q0 elsewhere 1 0.9 x\n"
        "q2 Q0 elsewhere 1 0.5 x\n"
        "q9 Q0 a 1 0.5 x\n"
        "q8 Q0 elsewhere 1 0.5 x\n",
    )
    found = read(path)
    assert found.run.documents.tolist() == [[0], [-1], [-1]]
    assert found.unknown_documents == 2
    assert found.missing_queries == ("q2", "q3")
    assert found.unknown_queries == ("q9", "q8")


def test_all_malformed_lines_are_told_at_once(tmp_path: Path):
    path = text_file(
        tmp_path, "q1 Q0 a 1 0.1 x\nq1 Q0 b 2 0.9\nq2 Q0 a 1 high x\nq2 Q0 b 1 nan x\n"
    )
    assert problems(path) == [
        f"{path}:2: got 5 fields, expected {KNOWN}. Complete the line.",
        f"{path}:3: the score is not a finite 32-bit number, got 'high'. Correct it.",
        f"{path}:4: the score is not a finite 32-bit number, got 'nan'. Correct it.",
    ]


def test_one_cause_of_many_lines_is_one_message(tmp_path: Path):
    (found,) = problems(text_file(tmp_path, "nonsense\n" * 1000))
    assert found.endswith("1,000 times, on lines 1, 2, 3, 4, 5, ….")


def test_document_twice_for_a_query_names_both_lines(tmp_path: Path):
    path = text_file(
        tmp_path, "q1 Q0 a 1 0.9 x\nq2 Q0 a 1 0.9 x\nq1 Q0 b 2 0.8 x\nq1 Q0 a 3 0.7 x\n"
    )
    assert problems(path) == [
        f"{path}:4: query 'q1' has document 'a' again, first at 1. Keep one of them."
    ]


def test_run_of_other_queries_is_refused(tmp_path: Path):
    path = text_file(tmp_path, "7 Q0 a 1 0.9 x\n8 Q0 a 1 0.9 x\n")
    assert problems(path) == [
        (
            f"{path}: none of its queries is in the collection, got '7', '8'; the collection has "
            "'q1', 'q2', 'q3'. Use the ids of the collection's queries."
        )
    ]


def test_run_of_other_documents_is_refused(tmp_path: Path):
    found = problems(text_file(tmp_path, "q1 Q0 x 1 0.9 x\n"))
    assert "none of its documents for these queries is in the collection" in found[0]


def test_empty_file_is_refused(tmp_path: Path):
    assert "got none; the collection has" in problems(text_file(tmp_path, ""))[0]


@pytest.mark.parametrize("name", ["absent.trec", "absent.json", "absent.parquet", "absent.lz4"])
def test_absent_file_is_told(tmp_path: Path, name: str):
    (found,) = problems(tmp_path / name)
    assert found.startswith(f"{tmp_path / name}: cannot be read (No such file or directory)")


@pytest.mark.parametrize("name", ["run.gz", "run.json", "run.parquet", "run.lz4"])
def test_file_of_another_format_is_told(tmp_path: Path, name: str):
    path = text_file(tmp_path, "q1 Q0 a 1 0.9 x\n", name=name)
    (found,) = problems(path)
    assert found.startswith(f"{path}: ")
    assert "damaged" in found or "not valid JSON" in found


def test_text_in_another_encoding_is_told(tmp_path: Path):
    path = tmp_path / "run.trec"
    path.write_bytes("q1 Q0 é 1 0.9 x\n".encode("latin-1"))
    assert "not UTF-8, got byte 0xe9" in problems(path)[0]


def test_compressed_run_is_read(tmp_path: Path):
    path = tmp_path / "run.trec.gz"
    path.write_bytes(gzip.compress(b"q1 Q0 c 1 0.9 x\n"))
    assert read(path).run.documents.tolist() == [[2], [-1], [-1]]


@pytest.mark.parametrize("suffix", ["trec", "json", "lz4", "parquet"])
def test_every_file_that_ranx_writes_is_read(tmp_path: Path, suffix: str):
    """Written as `ranx.Run.save` does, whose own constructor would compile for 20 seconds."""
    from ranx.io import save_json, save_lz4

    path = tmp_path / f"run.{suffix}"
    content = {"q1": {"b": 0.75, "a": 0.25}, "q3": {"c": -1.5}}
    rows = [(query, d, value) for query, found in content.items() for d, value in found.items()]
    if suffix == "trec":
        path.write_text("\n".join(f"{q} Q0 {d} 1 {value} theirs" for q, d, value in rows))
    elif suffix == "parquet":
        columns = zip(*rows, strict=True)
        pq.write_table(pa.table(dict(zip(("q_id", "doc_id", "score"), columns, strict=True))), path)
    else:
        {"json": save_json, "lz4": save_lz4}[suffix](content, path)
    found = read(path)
    assert found.run.documents.tolist() == [[1, 0], [-1, -1], [2, -1]]
    assert found.run.scores.tolist() == [[0.75, 0.25], [0, 0], [-1.5, 0]]


def test_problems_of_a_table_name_the_row(tmp_path: Path):
    path = text_file(tmp_path, json.dumps({"q1": {"a": 1, "b": None}}), name="run.json")
    assert problems(path) == [
        f"{path}: row:2: the score is not a finite 32-bit number, got None. Correct it."
    ]


def test_json_with_a_document_twice_is_refused(tmp_path: Path):
    path = text_file(tmp_path, '{"q1": {"a": 1, "a": 2}}', name="run.json")
    assert "got the key 'a' twice in one object" in problems(path)[0]


def test_json_of_another_shape_is_refused(tmp_path: Path):
    path = text_file(tmp_path, '{"q1": ["a", "b"]}', name="run.json")
    assert "got something else than {query: {document: score}}" in problems(path)[0]


TIED = rank(
    np.array([[0, 1, 2, 3], [3, 2, -1, -1], [-1, -1, -1, -1]], np.int32),
    np.array([[0.1, 1 / 3, 1 / 3, 1e-42], [-7, 123456.789, 0, 0], [0, 0, 0, 0]]),
    depth=4,
)


def test_written_run_is_read_back_exactly(tmp_path: Path):
    write(tmp_path / "run.trec", TIED)
    found = read(tmp_path / "run.trec")
    assert found.run.documents.tolist() == TIED.documents.tolist()
    assert found.run.scores.tobytes() == TIED.scores.tobytes()


def test_written_lines_are_those_of_trec(tmp_path: Path):
    write(tmp_path / "run.trec", TIED)
    assert (tmp_path / "run.trec").read_text().splitlines()[1:5] == [
        "q1 Q0 b 2 0.333333343 ours",
        "q1 Q0 a 3 0.100000001 ours",
        "q1 Q0 d 4 1.0005271e-42 ours",
        "q2 Q0 c 1 123456.789 ours",
    ]


def test_trec_eval_reads_back_our_order(tmp_path: Path):
    """Grades 4, 3, 2, 1 down our own ranking: nDCG is 1 only if trec_eval ranks them so too."""
    write(tmp_path / "run.trec", TIED)
    with (tmp_path / "run.trec").open() as handle:
        theirs = pytrec_eval.parse_run(handle)
    rows = [(q, d, 4 - r) for q in (0, 1) for r, d in enumerate(TIED.documents[q]) if d >= 0]
    qrels: dict[str, dict[str, int]] = {}
    for query, document, grade in rows:
        qrels.setdefault(QUERIES[query], {})[DOCUMENTS[document]] = grade
    found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10"}).evaluate(theirs)
    assert [found[query]["ndcg_cut_10"] for query in ("q1", "q2")] == pytest.approx([1, 1])
    columns = np.array(rows, dtype=np.int32).T
    ours = score(TIED, Judgements(*columns), [parse_metric("ndcg@10")], n_queries=3).values
    assert ours["ndcg@10"] == pytest.approx([1, 1, 0])


@pytest.mark.parametrize("tag", ["two words", "", " ours", "tab\t"])
def test_a_tag_with_white_space_cannot_be_written(tmp_path: Path, tag: str):
    with pytest.raises(HarnessError, match="tag of a TREC run cannot be empty") as raised:
        write(tmp_path / "run.trec", TIED, tag=tag)
    assert raised.value.exit_code == ExitCode.DATA
    assert not (tmp_path / "run.trec").exists()


def test_ids_with_white_space_are_escaped_and_read_back(tmp_path: Path):
    queries, documents = ("a b", "a%20b", "c"), ("x\u00a0y", "x y", "x%20y", "z")
    path = tmp_path / "run.trec"
    write_run(path, TIED, query_ids=queries, document_ids=documents, tag="t")
    assert {len(line.split()) for line in path.read_text().splitlines()} == {6}
    found = read_run(path, query_ids=queries, document_ids=documents, depth=10)
    assert found.run.documents.tolist() == TIED.documents.tolist()
    assert found.unknown_documents == 0


DISTANCES = "q1 Q0 a 1 0.1 x\nq1 Q0 b 2 0.2 x\nq2 Q0 c 1 0.3 x\nq2 Q0 a 2 0.9 x\n"


def test_a_run_whose_ranks_contradict_its_scores_is_refused_with_the_count(tmp_path: Path):
    (found,) = problems(text_file(tmp_path, DISTANCES))
    assert "in 2 of 2 queries the rank column contradicts the scores" in found
    assert 'scores = "distance"' in found


@pytest.mark.parametrize(
    ("scores", "first"),
    [("distance", [0, 1]), ("ranks", [0, 1]), ("similarity", [1, 0])],
)
def test_the_suite_says_what_contradicting_scores_are(tmp_path: Path, scores: str, first: list):
    path = text_file(tmp_path, DISTANCES)
    found = read_run(
        path,
        query_ids=QUERIES,
        document_ids=DOCUMENTS,
        depth=10,
        scores=scores,  # type: ignore[arg-type]
    )
    assert found.run.documents[0].tolist() == first


def test_a_few_queries_that_contradict_are_counted_and_read(tmp_path: Path):
    more = "q3 Q0 a 1 0.9 x\nq3 Q0 b 2 0.1 x\n"
    found = read(text_file(tmp_path, DISTANCES[:32] + more))
    assert found.contradicted == 1


@pytest.mark.parametrize(
    "score",
    ["1_0", "\uff11", "nan", "inf", "0x10", "1e400", "9" * 400, "true", '"5"', "1,5"],
)
def test_what_no_number_writes_is_no_score(tmp_path: Path, score: str):
    (found,) = problems(text_file(tmp_path, f"q1 Q0 a 1 {score} x\n"))
    assert ":1: the score is not a finite 32-bit number, got" in found


@pytest.mark.parametrize("score", ['"5"', "true", "NaN", "Infinity", "1" * 400, "null", "[1]"])
def test_what_is_no_number_in_json_is_no_score(tmp_path: Path, score: str):
    path = text_file(tmp_path, f'{{"q1": {{"a": {score}}}}}', name="run.json")
    (found,) = problems(path)
    assert "the score is not a finite 32-bit number" in found


def test_only_ascii_white_space_separates_fields(tmp_path: Path):
    (found,) = problems(text_file(tmp_path, "q1\u00a0Q0\u00a0a\u00a01\u00a00.9\u00a0x\n"))
    assert "got 1 fields" in found


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_ms_marcos_run_is_read_by_its_ranks(tmp_path: Path, ending: str):
    body = b"q1\ta\t1\nq1\tc\t2\nq2\tb\t1\n"
    path = tmp_path / f"r.tsv{ending}"
    path.write_bytes(gzip.compress(body) if ending else body)
    assert read(path).run.documents.tolist() == [[0, 2], [1, -1], [-1, -1]]


def test_ms_marcos_run_with_scores_is_read_by_them(tmp_path: Path):
    path = text_file(tmp_path, "q1 a 1 9.5\nq1 c 2 0.5\n", name="r.tsv")
    assert read(path).run.scores[0].tolist() == [9.5, 0.5]


def test_three_columns_whose_third_is_no_rank_are_refused(tmp_path: Path):
    (found,) = problems(text_file(tmp_path, "q1 a 9\nq1 b 7\n"))
    assert "third column is no rank" in found
    assert "'query_id', 'document_id' and 'score'" in found


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl", "jsonl.gz"])
@pytest.mark.parametrize(
    "names",
    [
        ("query_id", "doc_id", "score"),
        ("qid", "docno", "Score"),
        ("query-id", "corpus-id", "similarity"),
        ("q_id", "document_id", "sim"),
    ],
)
def test_tables_of_the_usual_names_are_read(tmp_path: Path, suffix: str, names: tuple):
    import pandas as pd

    path = tmp_path / f"run.{suffix}"
    table = pd.DataFrame([("q1", "b", 0.75), ("q1", "a", 0.25)], columns=names)
    if suffix == "parquet":
        table.to_parquet(path)
    elif suffix.startswith("jsonl"):
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False, sep="," if suffix == "csv" else "\t")
    assert read(path).run.documents.tolist() == [[1, 0], [-1, -1], [-1, -1]]


def test_a_column_of_distances_is_read_where_the_suite_says_what_they_are(tmp_path: Path):
    path = text_file(tmp_path, "qid,docid,distance\nq1,b,0.2\nq1,a,0.9\n", name="run.csv")
    (found,) = problems(path)
    assert found.endswith(
        "no column 'score', and some systems call a similarity 'distance', too. Write "
        'scores = "distance" beside run (smaller is better) or "similarity".'
    )
    for scores, first in (("distance", 1), ("similarity", 0)):
        assert said(path, scores).run.documents[0, 0] == first


def said(path: Path, scores: ScoreKind) -> ImportedRun:
    return read_run(path, query_ids=QUERIES, document_ids=DOCUMENTS, depth=10, scores=scores)


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_scores_that_rise_down_every_list_without_ranks_are_refused(tmp_path: Path, kind: str):
    distances = dict(zip(DOCUMENTS, (0.1, 0.2, 0.3, 0.7), strict=True))
    content = dict.fromkeys((*QUERIES, "q4"), distances)
    path = text_file(tmp_path, json.dumps(content), name="run.json")
    if kind == "parquet":
        path = tmp_path / "run.parquet"
        rows = [(query, *pair) for query, found in content.items() for pair in found.items()]
        columns = zip(*rows, strict=True)
        pq.write_table(pa.table(dict(zip(("qid", "docid", "score"), columns, strict=True))), path)
    (found,) = problems(path)
    assert found.endswith(
        "the scores of all 4 queries rise from the first result to the last, as distances do. "
        'Write scores = "distance" beside run (smaller is better) or scores = "similarity".'
    )
    assert said(path, "distance").run.documents[0].tolist() == [0, 1, 2, 3]
    assert said(path, "similarity").run.documents[0].tolist() == [3, 2, 1, 0]
    content["q1"] = dict(reversed(distances.items()))
    assert read(text_file(tmp_path, json.dumps(content), name="some.json")).contradicted == 0


def mteb_predictions(folder: Path, *parts: tuple[str, str, dict[str, dict[str, float]]]) -> Path:
    """Write predictions as mteb does, with its own function."""
    from types import SimpleNamespace

    from mteb.abstasks import AbsTaskRetrieval

    path = folder / "Task_predictions.json"
    task = SimpleNamespace(_predictions_path=lambda _: path)
    model = SimpleNamespace(mteb_model_meta=SimpleNamespace(name="some/model", revision="1"))
    for subset, split, results in parts:
        AbsTaskRetrieval._save_task_predictions(task, results, model, folder, split, subset)
    return path


def test_mtebs_predictions_are_read_and_a_split_is_found_by_its_queries(tmp_path: Path):
    path = mteb_predictions(
        tmp_path,
        ("en", "test", {"q1": {"b": 0.75, "a": 0.25}}),
        ("de", "dev", {"other": {"b": 0.75}}),
    )
    found = read(path)
    assert found.run.documents.tolist() == [[1, 0], [-1, -1], [-1, -1]]
    assert found.missing_queries == ("q2", "q3")


def test_mtebs_predictions_that_fit_twice_or_never_are_refused(tmp_path: Path):
    results = {"q1": {"b": 0.75}}
    path = mteb_predictions(tmp_path, ("de", "test", results), ("en", "test", results))
    (found,) = problems(path)
    assert "mteb's predictions for 'de/test' and 'en/test', each with queries" in found
    path.write_text('{"mteb_model_meta": {}, "default": {"test": [1, 2]}}')
    assert "another task than retrieval" in problems(path)[0]


def test_a_table_without_the_columns_is_told_in_one_line(tmp_path: Path):
    path = tmp_path / "run.parquet"
    pq.write_table(pa.table({"q": ["q1"], "d": ["a"], "s": [1.0]}), path)
    query, document = problems(path)
    assert "no column 'query_id' (or 'qid'" in query
    assert "\n" not in query + document


def test_integer_ids_that_pandas_wrote_as_floats_are_found(tmp_path: Path):
    path = tmp_path / "run.parquet"
    pq.write_table(pa.table({"qid": [1.0], "docid": [7.0], "score": [1]}), path)
    found = read_run(path, query_ids=("1",), document_ids=("7",), depth=1)
    assert found.run.documents.tolist() == [[0]]


def test_equal_scores_of_most_queries_that_ranks_order_are_refused(tmp_path: Path):
    path = text_file(tmp_path, "q1 Q0 a 1 1 x\nq1 Q0 b 2 1 x\nq2 Q0 c 1 1 x\nq2 Q0 d 2 1 x\n")
    (problem,) = problems(path)
    assert "in 2 of 2 queries all scores are equal" in problem
    found = read_run(path, query_ids=QUERIES, document_ids=DOCUMENTS, depth=2, scores="ranks")
    assert found.run.documents[:2].tolist() == [[0, 1], [2, 3]]


def test_equal_scores_in_the_order_of_ids_are_read(tmp_path: Path):
    path = text_file(tmp_path, "q1 Q0 b 1 1 x\nq1 Q0 a 2 1 x\nq2 Q0 d 1 1 x\nq2 Q0 c 2 1 x\n")
    found = read_run(path, query_ids=QUERIES, document_ids=DOCUMENTS, depth=2)
    assert found.run.documents[:2].tolist() == [[1, 0], [3, 2]]


def test_white_space_in_an_id_is_named_as_such(tmp_path: Path):
    (problem,) = problems(text_file(tmp_path, "q1 Q0 my doc 1 0.5 x\n"))
    assert "got 'doc' where the rank is expected" in problem
    assert "%20" in problem
    (untagged,) = problems(text_file(tmp_path, "q1 Q0 my doc 1 0.5\n"))
    assert "got 'doc' where the rank is expected" in untagged
    (numbered,) = problems(text_file(tmp_path, "q1 Q0 doc 3 1 0.5 x\n"))
    assert "got 7 fields, so that '1' or '0.5' may be the score" in numbered


@pytest.mark.parametrize("rank", ["1", "1.0", "0", "-1", "2.5", "12345678901"])
@pytest.mark.parametrize("tag", ["x", "my best run", "2024"])
def test_any_number_is_a_rank_and_a_tag_may_have_spaces(tmp_path: Path, rank: str, tag: str):
    """As for trec_eval, which ignores the rank and takes the rest of the line as the tag."""
    path = text_file(tmp_path, f"q1 Q0 a {rank} 0.5 {tag}\nq1 Q0 b {rank} 0.9 {tag}\n")
    found = read_run(path, query_ids=QUERIES, document_ids=DOCUMENTS, depth=2)
    assert found.run.documents[0].tolist() == [1, 0]


def test_ranks_that_decide_may_be_written_as_floats(tmp_path: Path):
    path = text_file(tmp_path, "q1 Q0 a 1.0 0.5 x\nq1 Q0 b 2.0 0.9 x\n")
    wanted = {"query_ids": QUERIES, "document_ids": DOCUMENTS, "depth": 2}
    assert read_run(path, scores="ranks", **wanted).run.documents[0].tolist() == [0, 1]
    with pytest.raises(HarnessError, match="contradicts the scores"):
        read_run(path, **wanted)
