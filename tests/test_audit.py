from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.collection.audit import audit
from harness.collection.load import load_raw
from harness.collection.problem import Problem
from harness.collection.raw import RawCollection, RawJudgements, RawSplit, RawTexts
from harness.errors import ExitCode, HarnessError

SHARED = Path(__file__).parents[2] / "shared" / "data"

DOCUMENTS = [("d1", "Cats purr"), ("d2", "Dogs bark")]
QUERIES = [("q1", "what purrs"), ("q2", "what barks")]
JUDGED = [("q1", "d1", 1), ("q2", "d2", 1)]


def texts(file: str, rows: list[tuple[str, str]]) -> RawTexts:
    lines = np.arange(1, len(rows) + 1, dtype=np.int32)
    return RawTexts(file, tuple(key for key, _ in rows), tuple(text for _, text in rows), lines)


def raw_of(
    *,
    documents: list[tuple[str, str]] = DOCUMENTS,
    queries: list[tuple[str, str]] = QUERIES,
    **splits: list[tuple[str, str, int]],
) -> RawCollection:
    """Return a collection in memory; the split `test` has both queries unless it is given."""
    known = texts("queries.jsonl", queries)
    return RawCollection(
        source="beir:small",
        documents=texts("corpus.jsonl", documents),
        splits={
            name: RawSplit(
                known,
                RawJudgements(
                    file=f"qrels/{name}.tsv",
                    query_ids=tuple(row[0] for row in rows),
                    document_ids=tuple(row[1] for row in rows),
                    grades=np.array([row[2] for row in rows], dtype=np.int32),
                    lines=np.arange(2, len(rows) + 2, dtype=np.int32),
                ),
            )
            for name, rows in ({"test": JUDGED} | splits).items()
        },
    )


def only(found: tuple[Problem, ...], check: str) -> Problem:
    (problem,) = [problem for problem in found if problem.check == check]
    return problem


def test_sound_collection_has_no_problems():
    assert audit(raw_of(), "test") == ()


def test_document_id_with_two_texts_is_an_error():
    raw = raw_of(documents=[*DOCUMENTS, ("d1", "Lions roar")])
    assert audit(raw, "test") == (
        Problem(
            severity="error",
            check="repeated-document-id",
            message=(
                "corpus.jsonl:3: document id 'd1' occurs again with another text (first at "
                "corpus.jsonl:1, 1 such line in all). Give each its own id."
            ),
            count=1,
            examples=("d1",),
        ),
    )


def test_id_with_the_same_text_twice_is_a_warning():
    found = audit(raw_of(documents=[*DOCUMENTS, *DOCUMENTS]), "test")
    problem = only(found, "repeated-document-id")
    assert (problem.severity, problem.count, problem.examples) == ("warning", 2, ("d1", "d2"))


def test_query_id_with_two_texts_is_an_error():
    raw = raw_of(queries=[*QUERIES, ("q2", "who barks")])
    assert only(audit(raw, "test"), "repeated-query-id").severity == "error"


def test_conflicting_judgements_are_an_error_and_equal_ones_are_not():
    raw = raw_of(test=[*JUDGED, *JUDGED, ("q1", "d1", 0)])
    problem, again = audit(raw, "test")
    assert (again.check, again.count) == ("repeated-judgement", 2)
    assert problem.message == (
        "qrels/test.tsv:6: query 'q1' and document 'd1' are judged 0, and 1 at qrels/test.tsv:2 "
        "(1 conflict in all). Keep one of the two."
    )


@pytest.mark.parametrize(("known", "severity"), [(99, "warning"), (98, "error")])
def test_unknown_documents_above_one_percent_are_an_error(known: int, severity: str):
    documents = [(f"d{n}", f"text {n}") for n in range(known)]
    rows = [("q1", key, 1) for key, _ in documents] + [("q2", "gone", 1)]
    raw = raw_of(documents=documents, test=rows)
    problem = only(audit(raw, "test"), "unknown-document")
    assert problem.severity == severity
    assert problem.examples == ("gone",)
    assert f"(1 of {known + 1} judgements, 1.0%)" in problem.message
    assert problem.message.startswith(
        f"qrels/test.tsv:{known + 2}: judges document 'gone', which is not in corpus.jsonl"
    )


def test_unknown_queries_are_told_with_their_share():
    problem = only(audit(raw_of(test=[*JUDGED, ("q9", "d1", 1)]), "test"), "unknown-query")
    assert problem.severity == "error"
    assert "1 of 3 judgements, 33.3%" in problem.message


def test_empty_query_is_an_error_and_empty_document_a_warning():
    raw = raw_of(documents=[("d1", ""), ("d2", "x")], queries=[("q1", " "), ("q2", "y")])
    found = audit(raw, "test")
    assert [(problem.severity, problem.check, problem.examples) for problem in found] == [
        ("error", "empty-query", ("q1",)),
        ("warning", "empty-document", ("d1",)),
    ]


def test_documents_with_one_normalised_text_are_told():
    raw = raw_of(documents=[*DOCUMENTS, ("d3", "CATS \n purr"), ("d4", "\uff23ats purr")])
    problem = only(audit(raw, "test"), "repeated-document")
    assert (problem.severity, problem.count, problem.examples) == ("warning", 2, ("d3", "d4"))


def test_queries_that_no_metric_can_use_are_told():
    raw = raw_of(queries=[*QUERIES, ("q3", "what swims")], test=[("q1", "d1", 1), ("q2", "d2", 0)])
    found = audit(raw, "test")
    assert only(found, "no-relevant-document").examples == ("q2",)
    assert only(found, "unjudged-query").examples == ("q3",)


def test_query_judged_in_another_split_only_is_no_problem():
    assert audit(raw_of(train=[("q1", "d1", 1)], test=[("q2", "d2", 1)]), "test") == ()


def test_empty_corpus_and_no_judged_query_are_errors():
    found = audit(raw_of(documents=[], test=[]), "test")
    errors = {problem.check for problem in found if problem.severity == "error"}
    assert errors == {"empty-corpus", "no-queries"}


def test_query_with_the_text_of_a_document_is_told_with_the_right_fix():
    twin = audit(raw_of(queries=[("q1", "cats PURR"), ("q2", "what barks")]), "test")
    assert "Remove these documents" in only(twin, "query-is-document").message
    same_id = audit(
        raw_of(queries=[("d1", "Cats purr")], test=[("d1", "d2", 1)]),
        "test",
    )
    assert "Set exclude_identical_ids" in only(same_id, "query-is-document").message


def test_query_of_another_split_is_told_by_its_text():
    raw = raw_of(queries=[*QUERIES, ("q9", "What  purrs")], train=[("q9", "d2", 1)])
    problem = only(audit(raw, "test"), "query-in-other-split")
    assert problem.message == (
        "qrels/test.tsv: 1 of 2 queries are in split 'train' too ('q1' = 'q9'). "
        "Keep them in one of the splits."
    )


def test_relevant_document_of_training_is_told_by_its_text():
    raw = raw_of(
        documents=[*DOCUMENTS, ("d9", "cats purr")],
        queries=[*QUERIES, ("q9", "who purrs")],
        train=[("q9", "d9", 1)],
    )
    problem = only(audit(raw, "test"), "document-in-training")
    assert (problem.severity, problem.count, problem.examples) == ("warning", 1, ("d1",))
    assert not [p for p in audit(raw, "train") if p.check == "document-in-training"]


def test_unknown_split_is_an_error_of_the_data():
    with pytest.raises(HarnessError, match=r"no split 'tests'\. Did you mean 'test'\?") as caught:
        audit(raw_of(), "tests")
    assert caught.value.exit_code is ExitCode.DATA


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real collections of ../shared/data are not on this machine"
)
def test_known_facts_of_medquad_are_found():
    raw = load_raw(f"beir:{SHARED / 'medquad'}")
    found = [(problem.check, problem.count) for problem in audit(raw, "test")]
    assert found == [("document-in-training", 19)]


def test_a_query_under_two_ids_says_what_its_judgements_cost():
    raw = raw_of(queries=[("q1", "what purrs"), ("q2", " What  PURRS")])
    problem = only(audit(raw, "test"), "repeated-query")
    assert (problem.count, problem.examples) == (2, ("q1", "q2"))
    assert "no single ranking can score above 0.82 nDCG@10 on them" in problem.message
    same = raw_of(queries=[("q1", "a"), ("q2", "A ")], test=[("q1", "d1", 1), ("q2", "d1", 1)])
    assert only(audit(same, "test"), "repeated-query-same").count == 2


@pytest.mark.parametrize("alike", ["d1 ", "d1\u200b", "d1\ufeff"])
def test_ids_that_look_alike_are_told(alike: str):
    raw = raw_of(documents=[*DOCUMENTS, (alike, "Lions roar")])
    assert only(audit(raw, "test"), "invisible-document-id").examples == (alike,)


def test_a_composed_and_a_decomposed_id_look_alike():
    raw = raw_of(queries=[*QUERIES, ("caf\u00e9", "x"), ("cafe\u0301", "y")])
    assert only(audit(raw, "test"), "invisible-query-id").count == 1


@pytest.mark.parametrize("marked", ["<p>Cats <b>purr</b></p>", "# Cats **purr**", "[Cats](x) purr"])
def test_documents_that_differ_in_markup_alone_are_told(marked: str):
    raw = raw_of(documents=[*DOCUMENTS, ("d3", marked)])
    assert only(audit(raw, "test"), "document-differs-in-markup").examples == ("d3",)


def test_ids_with_white_space_and_a_corpus_of_answers_alone_are_told():
    raw = raw_of(documents=[*DOCUMENTS, ("a b.pdf", "Fish")], test=[*JUDGED, ("q1", "a b.pdf", 1)])
    assert only(audit(raw, "test"), "id-with-space").examples == ("a b.pdf",)
    assert only(audit(raw, "test"), "all-documents-relevant").count == 3
