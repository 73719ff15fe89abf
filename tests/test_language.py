from __future__ import annotations

from pathlib import Path

import pytest
from conftest import plan_of, run_suite, write_beir, write_suite

from harness.collection.language import detect_language
from harness.errors import HarnessError
from harness.store import Store

GERMAN = [
    "Die Häuser am Rand der kleinen Stadt wurden im vergangenen Jahr verkauft.",
    "Viele Katzen schlafen am Tag und gehen in der Nacht auf die Jagd.",
    "Der Zug nach Hamburg hatte wegen des Sturms fast zwei Stunden Verspätung.",
]
ENGLISH = [
    "The houses at the edge of the small town were sold in the past year.",
    "Many cats sleep during the day and go hunting in the night.",
    "The train to Hamburg was almost two hours late because of the storm.",
]
VIETNAMESE = ["Hà Nội là thủ đô của nước Cộng hòa xã hội chủ nghĩa Việt Nam."]
CHINESE = ["北京是中国的首都", "上海的天气"]
KOREAN = ["서울은 대한민국의 수도이며 한강을 끼고 있는 대도시이다."]


@pytest.mark.parametrize(
    ("documents", "language"),
    [
        (GERMAN, "german"),
        (ENGLISH, "english"),
        (VIETNAMESE, "none"),  # no stemmer
        (CHINESE, "bigrams"),
        (KOREAN, "bigrams"),
        (GERMAN + ENGLISH, "none"),  # two languages
        (["d1", "ba be bo", ""], "english"),  # nothing tells
        ([], "english"),
    ],
)
def test_the_language_of_documents_is_told(documents: list[str], language: str):
    assert detect_language(documents).language == language


def suite_of(folder: Path, documents: list[str], query: str, language: str = "") -> Path:
    write_beir(
        folder / "data",
        documents={f"d{row}": text for row, text in enumerate(documents)},
        queries={"q0": query, "q1": query},
        qrels={"test": [("q0", "d0", 1), ("q1", "d0", 1)]},
    )
    return write_suite(
        folder / "suite.toml",
        'baseline = "words"\ncollections.small.source = "beir:data"\n'
        f'[candidates.words]\nkind = "bm25"\n{language}',
    )


def test_bm25_takes_the_language_of_the_collection_and_says_so(tmp_path: Path, store: Store):
    plan = run_suite(suite_of(tmp_path, GERMAN, "Hause und Häusern"), store)
    found = plan.planner.run_stage("words", "small").result(store)
    assert found.documents[:, 0].tolist() == [0, 0]
    assert (
        "'words': language = \"german\" was detected in 3 of a sample of 3 documents of 'small'."
    ) in plan.planner.warnings
    given = plan_of(suite_of(tmp_path / "given", GERMAN, "Haus", 'language = "german"\n'), store)
    assert not any("detected" in each for each in given.planner.warnings)


def test_words_of_a_script_without_spaces_are_refused(tmp_path: Path, store: Store):
    with pytest.raises(HarnessError, match="would treat whole sentences as words") as refused:
        plan_of(suite_of(tmp_path, CHINESE, "天气", 'language = "none"\n'), store)
    assert refused.value.exit_code == 2
