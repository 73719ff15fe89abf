from __future__ import annotations

import numpy as np
import pytest
from conftest import sentences

from harness.collection import Collection, Judgements
from harness.training.leaks import Leak, find_leaks, similar

TEMPLATES = ("What are the treatments for {} ?", "Is {} inherited ?", "How to diagnose {} ?")
DISEASES = [
    f"{first}{last}" for first in ("adeno", "glio", "osteo", "neuro") for last in "abcdefgh"
]


def scored(queries: list[str], documents: list[str] | None = None) -> Collection:
    """Return a collection in which each query has the document of its row."""
    rows = np.arange(len(queries), dtype=np.int32)
    return Collection(
        name="small",
        split="test",
        document_ids=tuple(f"d{row:03}" for row in rows),
        documents=tuple(documents or [f"Document {row}." for row in rows]),
        query_ids=tuple(f"q{row:03}" for row in rows),
        queries=tuple(queries),
        judgements=Judgements(rows, rows, np.ones(len(rows), dtype=np.int32)),
    )


def questions(diseases: list[str]) -> list[str]:
    return [template.format(disease) for disease in diseases for template in TEMPLATES]


def leaks(training: list[str], collection: Collection, documents: list[str] | None = None):
    given = documents or [f"Some other text {row}." for row in range(len(training))]
    return find_leaks(training, given, collection)


def test_questions_of_one_template_about_other_things_are_no_leak():
    assert leaks(questions(DISEASES[:16]), scored(questions(DISEASES[16:]))) == ()


def test_questions_of_one_template_with_one_generic_answer_are_no_leak():
    generic = "Trials are listed by the institute. Talk with your doctor about them."
    collection = scored(questions(DISEASES[16:]), [generic] * 48)
    assert leaks(questions(DISEASES[:16]), collection, [generic] * 48) == ()


@pytest.mark.parametrize(
    ("variant", "how"),
    [
        ("Is glioa inherited ?", "the same text"),
        ("  is GLIOA  inherited ?", "the same text"),
        ("Is glioa inherited", "the same words"),
        ("glioa: is inherited?", "the same words"),
        ("What are treatments for glioa ?", "almost the same words"),
    ],
)
def test_a_variant_of_a_scored_query_is_found_and_said_to_be_one(variant: str, how: str):
    queries = questions(DISEASES)
    training = [*questions(["malaria", "measles"]), variant]
    [found] = leaks(training, scored(queries))
    assert (found.row, found.text, found.how) == (6, variant, how)
    assert "glioa" in queries[found.query]


def test_a_negated_claim_about_the_same_document_is_a_leak_and_about_another_one_is_not():
    words = sentences(200, seed=3, words=7)
    claim = "Zinc supplements shorten the common cold in older adults and small children."
    collection = scored([claim, *words], ["An abstract about zinc.", *words])
    training, other = (
        ["Zinc supplements prolong the common cold in older adults and small children."],
        ["Another abstract."],
    )
    [found] = leaks(training, collection, ["an abstract about  ZINC."])
    assert (found.how, found.query) == ("the same answer", 0)
    assert 0.7 <= found.similarity < 0.85
    assert leaks(training, collection, other) == ()


def test_a_scored_query_among_the_training_documents_is_a_leak():
    queries = questions(DISEASES)
    found = leaks(["Tell me about measles"], scored(queries), [queries[5]])
    assert found == (Leak(0, queries[5], 5, "the same text", 1.0),)


def test_every_training_row_with_the_leaked_text_is_told():
    queries = questions(DISEASES)
    found = leaks(["nothing alike", queries[2], queries[2]], scored(queries))
    assert [leak.row for leak in found] == [1, 2]


def test_languages_without_spaces_are_compared_sign_by_sign():
    collection = scored(["如何更换银行卡的密码", "怎样取消我的订单"])
    [found] = leaks(["如何更换银行卡密码"], collection)
    assert (found.query, found.how) == (0, "almost the same words")


def test_no_pair_above_the_limit_is_missed():
    """Prefix filtering must find what comparing everything with everything finds."""
    texts = sentences(600, seed=5, words=5)
    left, right = texts[:300], texts[300:]
    sets = [[set(text.split()) for text in side] for side in (left, right)]
    everyone = [*sets[0], *sets[1]]
    count: dict[str, int] = {}
    for words in everyone:
        for word in words:
            count[word] = count.get(word, 0) + 1
    weight = {word: np.log1p(len(everyone) / n) for word, n in count.items()}

    def share(one: set[str], other: set[str]) -> float:
        return sum(weight[w] for w in one & other) / sum(weight[w] for w in one | other)

    for limit in (0.2, 0.35, 0.5):
        expected = {
            (i, j): share(one, other)
            for i, one in enumerate(sets[0])
            for j, other in enumerate(sets[1])
            if share(one, other) >= limit
        }
        assert len(expected) > 3
        found = similar(left, right, at_least=limit)
        pairs = zip(found.left.tolist(), found.right.tolist(), strict=True)
        got = dict(zip(pairs, found.similarity.tolist(), strict=True))
        assert got == pytest.approx(expected)


def test_texts_without_a_word_are_like_nothing():
    assert leaks(["?!", ""], scored(["...", "is it?"])) == ()
