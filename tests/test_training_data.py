from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import plan_of, write_suite

from harness.collection import Collection, Judgements
from harness.errors import ExitCode, HarnessError
from harness.store import Store
from harness.suite.load import load_suite
from harness.suite.training import TrainingSpec
from harness.training.data import Origin, TrainingData, distinct, merge
from harness.training.reading import read_training, relevant_pairs


def read(path: Path, text: str, layout: str, **options: Any) -> TrainingData:
    """Write a file and read it in a layout."""
    path.write_text(text, "utf-8")
    return read_training("some", TrainingSpec(source=f"{layout}:{path}", **options))


def pairs(*rows: tuple[str, str], name: str = "some", synthetic: bool = False) -> TrainingData:
    return distinct("pairs", rows, origin=Origin(name, read=len(rows), synthetic=synthetic))


def refused(code: ExitCode, path: Path, text: str, layout: str, **options: Any) -> list[str]:
    with pytest.raises(HarnessError) as caught:
        read(path, text, layout, **options)
    assert caught.value.exit_code is code
    return [problem.replace(str(path), "FILE") for problem in caught.value.problems]


def test_pairs_are_the_relevant_judgements_each_once():
    judged = Judgements(
        queries=np.array([0, 0, 0, 1, 1, 2], dtype=np.int32),
        documents=np.array([0, 1, -1, 0, 2, 1], dtype=np.int32),
        grades=np.array([1, 0, 2, 2, -1, 1], dtype=np.int32),
    )
    collection = Collection(
        name="small",
        split="train",
        document_ids=("a", "b", "c"),
        documents=("one", "two", "three"),
        query_ids=("x", "y", "z"),
        queries=("first", "first", "third"),
        judgements=judged,
        licence="CC0",
    )
    found = relevant_pairs(collection, source="beir:small")
    assert list(found.rows()) == [("first", "one"), ("third", "two")]
    assert found.origins == (
        Origin("small:train", "beir:small", "CC0", read=3, kept=2, dropped={"duplicate": 1}),
    )


def test_rows_are_trimmed_and_those_that_are_empty_or_equal_but_for_case_are_dropped():
    found = pairs(
        (" What is  X? ", "An answer.\n"),
        ("what is x?", "AN ANSWER."),
        ("what is x?", "Another answer."),
        ("", "nothing asked"),
        ("same", "Same "),
    )
    assert list(found.rows()) == [
        ("What is  X?", "An answer."),
        ("what is x?", "Another answer."),
    ]
    assert found.origins[0].read == 5
    assert found.origins[0].kept == 2
    assert found.origins[0].dropped == {"duplicate": 1, "empty": 1, "both sides the same": 1}


def test_the_key_is_of_the_texts_and_labels_alone():
    one = pairs(("a", "b"), ("c", "d"))
    assert one.key == pairs(("a", "b"), ("c", "d"), name="other", synthetic=True).key
    assert one.key != pairs(("c", "d"), ("a", "b")).key
    scored = [
        distinct("scored", [("a", "b")], labels=[score], origin=Origin("x")) for score in (0.1, 0.2)
    ]
    labelled = distinct("labelled", [("a", "b")], labels=[0.1], origin=Origin("x"))
    assert len({data.key for data in (*scored, labelled)}) == 3


def test_merged_data_keep_a_row_of_two_parts_once_and_both_origins():
    real = pairs(("a", "b"), ("c", "d"), name="real")
    written = pairs(("A", "b"), ("e", "f"), name="written", synthetic=True)
    both = merge([real, written])
    assert list(both.rows()) == [("a", "b"), ("c", "d"), ("e", "f")]
    assert both.synthetic
    assert not real.synthetic
    assert [(origin.name, origin.kept, origin.dropped) for origin in both.origins] == [
        ("real", 2, {}),
        ("written", 1, {"also in other data": 1}),
    ]
    with pytest.raises(HarnessError, match="'real' has pairs, 'more' has texts") as caught:
        merge([real, distinct("texts", [("t",)], origin=Origin("more"))])
    assert caught.value.exit_code is ExitCode.USAGE


def test_pairs_take_negatives_and_become_triplets_in_sentence_transformers_order():
    two = pairs(("a", "b"), ("c", "d"))
    one_each = two.with_negatives([["x"], ["y"]])
    assert one_each.shape == "triplets"
    assert dict(one_each.columns) == {
        "anchor": ["a", "c"],
        "positive": ["b", "d"],
        "negative": ["x", "y"],
    }
    several = two.with_negatives([["x", "y"], ["z", "w"]])
    assert list(several.columns) == ["anchor", "positive", "negative_1", "negative_2"]
    assert several.negatives == 2
    assert list(several.take([1]).rows()) == [("c", "d", "z", "w")]
    with pytest.raises(ValueError, match="cannot take negatives"):
        two.with_negatives([["x"], ["y", "z"]])


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_data(tmp_path: Path, ending: str):
    rows = [
        {"Question": "who, me?", "answer": "you\tthere", "other": 1},
        {"Question": "why", "answer": 'be"cause', "other": 2},
    ]
    path = tmp_path / f"file.{ending}"
    table = pd.DataFrame(rows)
    match ending:
        case "parquet":
            table.to_parquet(path)
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case _:
            table.to_csv(path, index=False, sep="," if ending == "csv" else "\t")
    found = read_training("some", TrainingSpec(source=f"pairs:{path}"))
    assert list(found.rows()) == [("who, me?", "you\tthere"), ("why", 'be"cause')]


def test_triplets_have_one_negative_or_several(tmp_path: Path):
    one = read(tmp_path / "a.csv", "anchor,positive,negative\na,b,c\n", "triplets")
    assert list(one.columns) == ["anchor", "positive", "negative"]
    several = read(tmp_path / "b.csv", "query,pos,negative_1,negative_2\na,b,c,d\n", "triplets")
    assert list(several.columns) == ["anchor", "positive", "negative_1", "negative_2"]
    assert list(several.rows()) == [("a", "b", "c", "d")]


def test_the_lists_of_flagembedding_give_a_triplet_for_each_way(tmp_path: Path):
    line = json.dumps({"query": "q", "pos": ["p1", "p2"], "neg": ["n1", "n2"]})
    found = read(tmp_path / "a.jsonl", line, "triplets")
    assert list(found.rows()) == [
        ("q", "p1", "n1"),
        ("q", "p1", "n2"),
        ("q", "p2", "n1"),
        ("q", "p2", "n2"),
    ]


def test_sts_scores_are_rescaled_and_a_table_without_a_header_takes_the_names_given(
    tmp_path: Path,
):
    names = ["sentence1", "sentence2", "score"]
    text = "a plane,an air plane,5.0\nsame,same,5\na,b,1.25\n"
    found = read(tmp_path / "a.csv", text, "sts", columns=names)
    assert found.shape == "scored"
    assert list(found.rows()) == [("a plane", "an air plane"), ("same", "same"), ("a", "b")]
    assert found.labels is not None
    assert found.labels.tolist() == [1.0, 1.0, 0.25]
    assert refused(ExitCode.DATA, tmp_path / "a.csv", "a,b,7\nc,d,x\n", "sts", columns=names) == [
        "FILE:1: 'score' must be a number from 0 to 5, got '7'. Fix or remove the row.",
        "FILE:2: 'score' must be a number from 0 to 5, got 'x'. Fix or remove the row.",
    ]


def test_scores_are_taken_as_they_are(tmp_path: Path):
    text = "text1,text2,similarity\na,b,-0.5\nc,d,12\n"
    found = read(tmp_path / "a.csv", text, "scored")
    assert found.labels is not None
    assert found.labels.tolist() == [-0.5, 12.0]


def test_labels_are_zero_or_one(tmp_path: Path):
    text = "question1,question2,is_duplicate\na,b,1\nc,d,0\ne,f,true\n"
    found = read(tmp_path / "a.csv", text, "labelled")
    assert found.shape == "labelled"
    assert found.labels is not None
    assert found.labels.tolist() == [1.0, 0.0, 1.0]
    text = "sentence1,sentence2,label\na,b,2\n"
    assert refused(ExitCode.DATA, tmp_path / "b.csv", text, "labelled") == [
        "FILE:2: 'label' must be 0 or 1, got '2'. Fix or remove the row."
    ]


def test_what_a_premise_entails_is_its_positive_and_what_contradicts_it_a_negative(tmp_path: Path):
    text = """premise\thypothesis\tlabel
A man sleeps.\tA person rests.\tentailment
A man sleeps.\tSomeone is asleep.\t0
a man sleeps.\tHe runs.\tcontradiction
A man sleeps.\tIt is noon.\tneutral
A dog barks.\tAn animal makes noise.\tentailment
A cat sits.\tIt flies.\t2
A cat sits.\tIt is red.\t-1
"""
    found = read(tmp_path / "nli.tsv", text, "nli")
    assert list(found.rows()) == [
        ("A man sleeps.", "A person rests.", "He runs."),
        ("A man sleeps.", "Someone is asleep.", "He runs."),
    ]
    assert found.origins[0].read == 7
    assert found.origins[0].dropped == {
        "neutral": 1,
        "no label": 1,
        "no entailment and contradiction of one premise": 2,
    }


def test_clicks_of_a_pair_are_added_up_before_the_fewest_are_asked_for(tmp_path: Path):
    text = (
        "query,document,clicks,impressions\n"
        "shoes,red shoes,2,10\nShoes,red shoes,1,4\nshoes,hats,2,90\nboots,boots!,3,3\n"
    )
    found = read(tmp_path / "log.csv", text, "clicks", min_clicks=3)
    assert list(found.rows()) == [("shoes", "red shoes"), ("boots", "boots!")]
    assert found.origins[0].dropped == {"same pair, clicks added": 1, "fewer than 3 clicks": 1}
    text = "query,document,clicks,impressions\na,b,3,2\nc,d,-1,2\n"
    assert refused(ExitCode.DATA, tmp_path / "log.csv", text, "clicks") == [
        "FILE:2: 3 clicks of 2 impressions. Fix or remove the row.",
        "FILE:3: 'clicks' must be a number of 0 or more, got '-1'. Fix or remove the row.",
    ]


def test_paraphrases_are_pairs_and_texts_are_a_line_each_or_a_column(tmp_path: Path):
    found = read(tmp_path / "a.csv", "sentence_A,sentence_B\na,b\n", "paraphrases")
    assert (found.shape, list(found.rows())) == ("pairs", [("a", "b")])
    for name, text in (("a.txt", "one\n\ntwo\nOne\n"), ("b.csv", "sentence\none\ntwo\n")):
        found = read(tmp_path / name, text, "texts")
        assert (found.shape, list(found.rows())) == ("texts", [("one",), ("two",)])


def test_a_split_of_a_file_is_read_alone(tmp_path: Path):
    text = "query,document,split\na,b,train\nc,d,test\n"
    found = read(tmp_path / "a.csv", text, "pairs", split="train")
    assert list(found.rows()) == [("a", "b")]
    assert found.origins[0].dropped == {"in another split": 1}


def test_a_hugging_face_dataset_is_read_by_the_names_of_its_columns(tmp_path: Path):
    rows = pd.DataFrame({"premise": ["p", "p"], "hypothesis": ["h", "g"], "label": [0, 2]})
    (tmp_path / "set").mkdir()
    rows.to_parquet(tmp_path / "set" / "train.parquet")
    found = read_training("some", TrainingSpec(source=f"hf:{tmp_path}/set", licence="MIT"))
    assert list(found.rows()) == [("p", "h", "g")]
    assert found.licences == ("MIT",)


def test_a_dataset_that_can_not_be_loaded_is_one_error():
    with pytest.raises(HarnessError, match="hf:some/data: cannot be loaded") as caught:
        read_training("some", TrainingSpec(source="hf:some/data"))
    assert caught.value.exit_code is ExitCode.DATA


def test_a_column_that_is_absent_is_told_with_its_other_names(tmp_path: Path):
    expected = [
        (
            "FILE: no column 'query' (or 'anchor', 'question', 'search_term', 'search_query', "
            "'query_text'), got 'q', 'document'. Say which is which: "
            'columns = { query = "q", document = "document" }'
        )
    ]
    assert refused(ExitCode.DATA, tmp_path / "a.csv", "q,document\na,b\n", "pairs") == expected
    line = json.dumps({"q": "a", "document": "b"})
    assert refused(ExitCode.DATA, tmp_path / "a.jsonl", line, "pairs") == expected


def test_a_file_with_nothing_to_train_on_is_refused(tmp_path: Path):
    path = tmp_path / "a.csv"
    assert refused(ExitCode.DATA, path, "query,document\n,b\na,A\n", "pairs") == [
        (
            "pairs:FILE: 2 rows, but none is left to train on (1 empty, 1 both sides the same). "
            "Check the file."
        )
    ]
    assert refused(ExitCode.DATA, path, "query,document\n", "pairs") == [
        "pairs:FILE: 0 rows, but none is left to train on. Check the file."
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"source": "pears:a.csv"}, "unknown kind of source 'pears'. Did you mean 'pairs'?"),
        ({"source": "pairs:"}, "source 'pairs:' names nothing after the colon."),
        ({"source": "pairs:a.csv", "min_clicks": 2}, "'min_clicks' belongs to a click log"),
        ({"source": "pairs:a.csv", "layout": "nli"}, "'layout' is for a Hugging Face dataset"),
        ({"source": "pairs:a.jsonl", "columns": ["query"]}, "'columns' names those of a CSV"),
        (
            {"source": "pairs:a.csv", "columns": {"qurey": "x"}},
            "'columns' of 'pairs' has no 'qurey'. Did you mean 'query'?",
        ),
    ],
)
def test_a_mistake_in_a_table_is_told(spec: dict[str, Any], message: str):
    with pytest.raises(HarnessError, match="training data 'some': ") as caught:
        read_training("some", TrainingSpec(**spec))
    assert caught.value.exit_code is ExitCode.USAGE
    assert message in str(caught.value)


def test_the_columns_that_a_table_names_are_read(tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_text("Suchwort;page_text;Anzahl\nred;shoe;2\nred;shoe;1\nblue;hat;0\n")
    said = {"query": "Suchwort", "clicks": "Anzahl"}
    found = read_training("some", TrainingSpec(source=f"clicks:{path}", columns=said, min_clicks=3))
    assert list(found.rows()) == [("red", "shoe")]
    with pytest.raises(HarnessError) as caught:
        read_training("some", TrainingSpec(source=f"clicks:{path}"))
    (message,) = caught.value.problems
    assert message.endswith(
        "Say which is which: "
        'columns = { query = "Suchwort", document = "page_text", clicks = "Anzahl" }'
    )


def test_a_recipe_names_tables_and_splits_and_unknown_ones_are_told(
    tmp_path: Path, static_model: Path, beir: Path, store: Store
):
    (tmp_path / "more.csv").write_text("query,document\nba be,bi bo\nca ce,ci co\n")
    head = f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [training.more]
        source = "pairs:{tmp_path}/more.csv"
        [candidates.static]
        model = "{static_model}"
        [candidates.tuned]
        from = "static"
        """
    recipe = "finetune = {{ data = {}, batch_size = 8 }}\n"
    suite = write_suite(tmp_path / "a.toml", head + recipe.format('["small:train", "more"]'))
    data = plan_of(suite, store).planner.dense("tuned").model.data  # type: ignore[union-attr]
    assert [origin.name for origin in data.origins] == ["small:train", "more"]
    assert list(data.known.rows())[-2:] == [("ba be", "bi bo"), ("ca ce", "ci co")]
    assert [origin.read for origin in data.origins] == [40, 2]
    wrong = recipe.format('["moor", "small", "smal:train", "more", "more"]')
    with pytest.raises(HarnessError) as caught:
        load_suite(write_suite(tmp_path / "b.toml", head + wrong))
    assert [problem.partition("'tuned': data: ")[2] for problem in caught.value.problems] == [
        "no table [training.moor]. Did you mean 'more'?",
        "'small' is a collection without a split. Write 'small:train'.",
        "no collection 'smal'. Did you mean 'small'?",
        (
            "the same data are listed twice, got ['moor', 'small', 'smal:train', 'more', 'more']. "
            "List each once."
        ),
    ]
