# ruff: noqa: RUF001 - questions in Chinese and Cyrillic
from __future__ import annotations

import numpy as np
import pytest
from conftest import sentences

from harness.collection import Collection, Judgements
from harness.training.leaks import Leak, find_leaks
from harness.training.similarity import similar

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


# ------------------------------------------------------------- one question in another dress

ASKED = [
    "How long does paint on a wooden fence last?",
    "Which river flows through the town of Kelmscott?",
    "¿Cuántos años vivió el pintor en Toledo?",
    "Wie viele Brücken hat die Stadt Würzburg?",
    "What are the symptoms of chronic bronchitis?",
    "Is chronic bronchitis inherited?",
    "Who won the Bergmann medal in 1994?",
    "What was the free cash flow of Acme in 2018?",
]
PAGES = [
    "Paint on a wooden fence lasts five to seven years if the wood is dry.",
    "The Thames flows through Kelmscott, a small town in the county.",
    "El pintor vivió en Toledo durante treinta y siete años.",
    "Würzburg hat viele alte Brücken über den Main.",
    "Chronic bronchitis shows by a cough that lasts for months.",
    "Bronchitis is hardly ever inherited.",
    "The Bergmann medal was won by Ana Ruiz.",
    "The free cash flow of Acme rose again.",
]


PLAIN = [text for text in sentences(500, seed=8, words=11) if len(text.split()) > 8]
OURS, THEIRS = PLAIN[:60], PLAIN[60:140]


def given_away(text: str) -> set[str]:
    """Return the queries that a training text among plain ones gives away."""
    collection = scored([*ASKED, *OURS], [*PAGES, *["Nothing."] * len(OURS)])
    documents = [*THEIRS, "Another page about something else."]
    found = leaks([*THEIRS, text], collection, documents)
    return {collection.queries[leak.query] for leak in found}


@pytest.mark.parametrize("query", ASKED)
@pytest.mark.parametrize(
    "dress",
    [
        "query: {}",
        "search_query: {}",
        "Represent this sentence for searching relevant passages: {}",
        "Instruct: Given a web search query, retrieve passages that answer it\nQuery: {}",
        "task: question answering | query: {}",
        "Could you please tell me: {}",
        "Hi there, {} Thanks a lot!",
        "I have been asked this at work and have no idea. {} Any hint is welcome.",
        "Hola, ¿podría decirme: {} Muchas gracias",
        "Guten Tag, ich möchte gerne wissen: {} Vielen Dank",
        "1) {}",
        "Question 12: {}",
        "question 12 {}",
        "Example. " + "A longer prompt has many words that say nothing. " * 20 + "Query: {}",
        "« {} »",
    ],
)
def test_a_prompt_or_a_polite_wrapper_hides_nothing(query: str, dress: str):
    assert query in given_away(dress.format(query))


@pytest.mark.parametrize(
    "text",
    [
        "I would like to know how long paint on a wooden fence lasts, please",
        "Tell me which river flows through the town of Kelmscott",
        "HOW LONG DOES PAINT ON A WOODEN FENCE LAST ? ? ?",
        "Which river flows through the town of Kélmscótt?",
        "Which river flows through the town of Kelm\u200dscott?",
        "Which ri\u00adver fl\u2060ows through the to\ufeffwn of Kelm\u200bscott?",
        "\uff37\uff48\uff49\uff43\uff48 river flows through the town of Kelmscott?",
        "Cuantos anos vivio el pintor en Toledo",
        "Wie viele Brucken hat die Stadt Wurzburg",
        "Wie viele Bru\u0308cken hat die Stadt Wu\u0308rzburg?",
        "Which river flows through the town of Kelmsctot?",
        "Which river flows through the town of Kelmscot?",
        "Which river flows thruogh the town of Kelmscott?",
        "Which rivers flow through the towns of Kelmscott?",
        "What are the symptom of chronic bronchitiss?",
        "Waht are the symptoms of chronic bronchitis?",
        "Query: could you tell me which river flows through the town of Kelmscotr? Thanks",
        "Who won the Bergmann medals in 1,994?",
    ],
)
def test_accents_invisible_signs_slips_and_plurals_hide_nothing(text: str):
    assert given_away(text)


@pytest.mark.parametrize(
    "text",
    [
        "Who won the Bergmann medal in 1995?",
        "What was the free cash flow of Acme in 2019?",
        "What was the free cash flow of Acme in the first quarter of 2018?",
        "In 1850, which river flows through the town of Kelmscott?",
        "Which river flows through the town of Kelmscott in 1850?",
        "Which river flows through the town of Kelmscott? (1850)",
        "During two summers how long does paint on a wooden fence last?",
        "What are the symptoms of acute tonsillitis?",
        "What are the treatments for gout?",
        "Is chronic kidney bronchitis inherited?",
        "How long does paint on a metal roof last?",
        "Which river flows through the town of Lechlade?",
        "Could you please tell me the time?",
        "Instruct: Given a web search query, retrieve passages that answer it\nQuery: what is gout",
    ],
)
def test_other_questions_of_the_same_form_give_nothing_away(text: str):
    assert given_away(text) == set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sales in 2018", "sales in 2019"),
        ("how many teeth do two adult cats have", "how many teeth do three adult cats have"),
        ("dose of ibuprofen 200 mg for an adult", "dose of ibuprofen 400 mg for an adult"),
        ("vaccine against hepatitis B for adults", "vaccine against hepatitis C for adults"),
        ("when did World War I end in Europe", "when did World War II end in Europe"),
        ("capital of the 3rd largest country", "capital of the second largest country"),
    ],
)
def test_a_number_or_a_letter_that_alone_differs_is_another_question(one: str, other: str):
    collection = scored([one, *OURS], ["The page."] * (1 + len(OURS)))
    training = [*THEIRS, other]
    assert leaks(training, collection) == ()
    assert leaks(training, collection, ["The page."] * len(training)) == ()


@pytest.mark.parametrize("query", ["gout", "what is gout?", "gout therapy"])
@pytest.mark.parametrize(
    ("dress", "found"),
    [
        ("query: {}", 1),
        ("Instruct: Retrieve passages that answer\nQuery: {}", 1),
        ("Represent this sentence for searching relevant passages: {}", 1),
        ("Could you please tell me {}", 1),
        ("Diet and rest {} at home for adults", 0),
    ],
)
def test_a_query_of_one_word_is_found_behind_a_label_alone(query: str, dress: str, found: int):
    collection = scored([query, *OURS], ["The page."] * (1 + len(OURS)))
    assert len(leaks([*THEIRS, dress.format(query)], collection)) == found


def test_a_known_word_is_no_slip_of_another():
    collection = scored(["Is hypothyroidism inherited?"], ["On hypothyroidism."])
    training = ["Is hyperthyroidism inherited?"]
    assert leaks(training, collection, ["All about hyperthyroidism in adults."]) == ()


def test_a_short_document_that_opens_with_a_scored_question_is_a_page_and_no_leak():
    page = "What are the symptoms of chronic bronchitis? A cough that lasts for months."
    collection = scored(ASKED, PAGES)
    assert leaks(["how is a cough treated"], collection, [page]) == ()


def test_what_is_wrapped_is_said_to_be_within_a_longer_text():
    [found] = leaks([f"Instruct: answer.\nQuery: {ASKED[0]}"], scored(ASKED, PAGES))
    assert (found.how, found.similarity) == ("the same words within a longer text", 1.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "Is progressive ophthalmoplegia inherited?",
            "Is chronic progressive ophthalmoplegia inherited?",
        ),
        ("What is (are) Niemann disease ?", "What is (are) Niemann disease type A ?"),
        ("What is (are) Niemann disease type I ?", "What is (are) Niemann disease ?"),
        ("What is (are) Charcot disease type 1A ?", "What is (are) Charcot disease type 1D ?"),
        ("What is (are) acquired hemophilia ?", "What is (are) acquired hemophilia A ?"),
        (
            "what trials are being done for myopathy?",
            "what trials are being done for congenital myopathy?",
        ),
        (
            "Is a long rare name of a disease type 2 inherited ?",
            "What is a long rare name of a disease type 2 ?",
        ),
        ("ophthalmoplegia in children at home", "treatment of ophthalmoplegia in children at home"),
        ("sickness remedies early in pregnancy", "morning sickness remedies early in pregnancy"),
        ("average response of a mail server", "average response of a mail server time"),
        ("how to sort a list in C", "how to sort a list in C++"),
        ("songs of the 1990s in Europe", "songs of 1990 in Europe"),
        ("travel to Rome with a visa", "travel to Rome without a visa"),
        ("train from Rome on Sunday", "train to Rome on Sunday"),
        ("when was Tesla born in Smiljan", "where was Tesla born in Smiljan"),
        ("do vaccines cause autism in children", "don't vaccines cause autism in children"),
        ("name of the NBA commissioner", "name of the NBC commissioner"),
        ("what is the protein function", "what is the AER protein function"),
        ("visa requirements for Rome", "US visa requirements for Rome"),
        ("da", "be da"),
        ("gout", "learn gout"),
        ("engine", "search engine"),
        ("what is it", "what it is about"),
        ("北京的人口是多少", "南京的人口是多少"),
        ("दिल्ली की जनसंख्या कितनी है", "मुंबई की जनसंख्या कितनी है"),
        ("В каком году был основан Суздаль", "В каком году была основана Тула"),
    ],
)
def test_a_name_a_kind_an_opposite_or_another_question_word_is_another_question(
    one: str, other: str
):
    documents = ["Another page."] * (1 + len(THEIRS))
    for query, text in ((one, other), (other, one)):
        collection = scored([query, *OURS], ["The page."] * (1 + len(OURS)))
        assert leaks([*THEIRS, text], collection, documents) == ()


@pytest.mark.parametrize(
    "text",
    [
        "In women: what are the symptoms of chronic bronchitis?",
        "In children with asthma, what are the symptoms of chronic bronchitis?",
        "What are the symptoms of chronic bronchitis (in children)?",
        "What are the symptoms of chronic bronchitis in smokers?",
        "How is chronic bronchitis inherited?",
        "Is chronic bronchitis not inherited?",
        "Who won the Bergmann medal?",
    ],
)
def test_a_question_that_is_narrowed_is_another_question(text: str):
    assert given_away(text) == set()


@pytest.mark.parametrize(
    ("query", "dress"),
    [
        ("Какие симптомы у хронического бронхита?", "Подскажите, пожалуйста, {}"),
        ("Quali sono i sintomi della bronchite?", "Buongiorno, vorrei sapere: {} Grazie mille"),
        ("Quels sont les symptômes de la bronchite ?", "Bonjour, pourriez-vous me dire {} Merci"),
        ("Hoeveel inwoners heeft de stad Utrecht?", "Goedendag, kunt u mij vertellen: {}"),
        ("如何更换银行卡的密码", "请问，{}？谢谢"),
        ("如何更换银行卡的密码", "为这个句子生成表示以用于检索相关文章：{}"),
        ("東京タワーの高さは何メートルですか", "すみません、{}"),
        ("दिल्ली की जनसंख्या कितनी है?", "प्रश्न: {}"),
        ("What's the tallest building in Oslo?", "<p>{}</p>"),
        ("What's the tallest building in Oslo?", "<div class='q'>**{}**</div>"),
        ("What's the tallest building in Oslo?", "### Instruction:\n{}\n\n### Response:"),
        ("What's the tallest building in Oslo?", "Instruct: find text\\nQuery: {}"),
        ("What's the tallest building in Oslo?", "I don't know this: {} Cheers, Sam"),
        ("What's the tallest building in Oslo?", "My boss asked us to find out {}"),
        ("Zinc shortens a cold in adults", "Represent this sentence for retrieval {}"),
    ],
)
def test_wrappers_of_other_languages_and_formats_hide_nothing(query: str, dress: str):
    collection = scored([query, *OURS], ["The page."] * (1 + len(OURS)))
    assert len(leaks([*THEIRS, dress.format(query)], collection)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "What&#39;s the tallest&nbsp;building in Oslo?",
        "Whаt's the tаllest building in Оslо?",  # Cyrillic letters among Latin ones
        "What's the tallestbuilding in Oslo?",
        "What's the tall-est building in Oslo?",
        "Wht's the tallest building in Oslo?",
    ],
)
def test_entities_lookalikes_and_spaces_hide_nothing(text: str):
    query = "What's the tallest building in Oslo?"
    collection = scored([query, *OURS], ["The page."] * (1 + len(OURS)))
    assert len(leaks([*THEIRS, text], collection)) == 1


def test_a_scored_query_within_a_prompt_is_given_away_by_the_question_itself():
    query = "Instruct: Retrieve passages.\nQuery: which river flows through Kelmscott?"
    collection = scored([query, *OURS], ["The page."] * (1 + len(OURS)))
    assert len(leaks([*THEIRS, "Which river flows through Kelmscott?"], collection)) == 1


def test_texts_are_compared_in_blocks_with_one_result(monkeypatch: pytest.MonkeyPatch):
    texts = sentences(300, seed=5, words=5)
    whole = similar(texts, texts, at_least=0.3)
    monkeypatch.setattr("harness.training.similarity._ROWS", 37)
    parts = similar(texts, texts, at_least=0.3)
    assert len(whole.left) > 300
    for one, other in zip(whole, parts, strict=True):
        assert one.tolist() == other.tolist()
