"""Reading a language model's answers, and what its questions are dropped for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.synthetic.filters import COPY, DUPLICATE, NEAR_DUPLICATE, POINTS, reasons_to_drop
from harness.synthetic.prompt import PASSAGE_CHARACTERS, Prompt, passage_start, read_questions
from harness.synthetic.realism import QueryLog, compare_with_log
from harness.synthetic.synthesize import choose_passages

ASPIRIN = (
    "Aspirin thins the blood, which lowers the risk of a second heart attack. A daily dose of 81 "
    "milligrams is usual for adults; more can upset the stomach."
)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"questions": ["A?", "B?"]}', ("A?", "B?")),
        ('```json\n{"questions": ["A?"]}\n```', ("A?",)),
        ('Of course, here they are [three]:\n{"questions": ["A?", "B?"]} Enjoy!', ("A?", "B?")),
        ('["A?", "B?"]', ("A?", "B?")),
        ('{"note": "easy", "questions": ["A?"]}', ("A?",)),
        ('{"questions": ["  A\\n b? ", ""]}', ("A b?",)),
        ('{"questions": []}', ()),
        (json.dumps({"questions": ["Q" * 401, "A?"]}), ("A?",)),
        (json.dumps({"questions": ["A?", "B?", "C?", "D?"]}), ("A?", "B?", "C?")),
        ('{"questions": ["A?", "B?"], "why": "beca', ("A?", "B?")),
    ],
)
def test_questions_are_read_however_they_are_wrapped(answer: str, expected: tuple[str, ...]):
    assert read_questions(answer, count=3) == expected


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "What is it?",
        '{"questions": "A?"}',
        '{"questions": [1, 2]}',
        '{"questions": ["A',
        "{" * 9,
    ],
)
def test_what_is_no_list_of_questions_is_not_read(answer: str):
    assert read_questions(answer, count=3) is None


def test_a_duplicate_of_any_passage_is_dropped_and_the_first_one_stays():
    passages = [ASPIRIN, "Ibuprofen eases pain.", "Ibuprofen eases pain."]
    found = reasons_to_drop(
        passages, ["What eases pain?", "what  eases PAIN", "Does ibuprofen help?"]
    )
    assert found == [None, DUPLICATE, None]


def test_near_duplicates_have_nearly_the_same_words_in_any_order():
    texts = [
        "what is the usual daily aspirin dose for an adult with heart disease",
        "what is the usual daily dose of aspirin for an adult with heart disease",
        "what is the usual daily ibuprofen dose for an adult with heart disease",
        "adult with heart disease: usual daily aspirin dose for an, what is the",
    ]
    found = reasons_to_drop([ASPIRIN, "other", "other", "other"], texts)
    assert found == [None, NEAR_DUPLICATE, None, NEAR_DUPLICATE]


def test_questions_that_differ_in_what_they_ask_are_kept():
    texts = ["who discovered aspirin", "when was aspirin discovered", "type 1 dose", "type 2 dose"]
    assert reasons_to_drop([ASPIRIN] * 4, texts) == [None] * 4


def test_a_question_made_of_the_passage_s_own_phrases_is_dropped():
    texts = [
        "aspirin thins the blood, which lowers the risk",
        "Daily dose of 81 milligrams is usual for adults?",
        "a daily dose of 81",
        "Should I take a blood thinner after my heart attack?",
    ]
    assert reasons_to_drop([ASPIRIN] * 4, texts) == [COPY, COPY, None, None]


def test_a_question_about_the_passage_itself_is_dropped():
    texts = [
        "What does the passage say of aspirin?",
        "Why does this article recommend 81 mg?",
        "What is the passage of time on the moon?",
    ]
    assert reasons_to_drop([ASPIRIN] * 3, texts)[:2] == [POINTS, POINTS]


def test_queries_are_compared_with_a_log_and_alike_ones_are_not_told_apart():
    rng = np.random.default_rng(3)
    words = np.array([f"w{place}" for place in range(60)])

    def drawn(n: int, *, longer: int = 0, asks: float = 0.3, first: int = 0) -> list[str]:
        lengths = rng.integers(2 + longer, 6 + longer, n)
        texts = [" ".join(rng.choice(words[first : first + 40], size)) for size in lengths]
        return [f"how {text}" if rng.random() < asks else text for text in texts]

    log = QueryLog("log.txt", tuple(drawn(400)))
    alike = [compare_with_log("a", drawn(200), log) for _ in range(20)]
    least = [min(each.length.p, each.questions.p, each.vocabulary.p) for each in alike]
    assert sum(p < 0.05 for p in least) <= 4  # P(more of 20) is 0.0003 at 5%
    assert "do not differ significantly" in alike[int(np.argmax(least))].sentence
    longer, asking, other = (
        compare_with_log("a", drawn(200, **planted), log)
        for planted in ({"longer": 2}, {"asks": 0.6}, {"first": 20})
    )
    assert longer.length.p < 0.001
    assert longer.length.low < 2 < longer.length.high
    assert asking.questions.p < 0.001
    assert asking.questions.low < 0.3 < asking.questions.high
    assert (other.vocabulary.p, other.length.p > 0.05) == (pytest.approx(0.003), True)
    assert other.vocabulary.distance > 2 * other.vocabulary.by_chance


def test_a_long_passage_is_cut_at_the_end_of_a_word():
    passage = "word " * 1000
    assert passage_start(passage) == ("word " * 400).strip()
    assert len(passage_start("x" * 5000)) >= PASSAGE_CHARACTERS
    (message,) = Prompt(2, "").ask(passage)
    assert '{"questions": ["…", "…"]}' in message.text
    assert "collection:" not in message.text


def test_more_passages_keep_those_of_fewer_and_the_order_of_the_corpus_does_not_matter():
    texts = [f"text {number}" for number in range(100)]
    few, more = choose_passages(texts, 10), choose_passages([*texts[::-1], " ", texts[0]], 20)
    assert more[:10] == few
    assert len(set(more)) == 20
    assert len(choose_passages(texts, 1000)) == 100
