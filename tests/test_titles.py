"""Titles: what some texts are about, in phrases of their own."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnosis.layout import name_topics
from harness.diagnosis.titles import title
from harness.diagnosis.words import count_terms

ILLNESSES = ("gout", "asthma", "lupus", "rabies", "mumps", "measles", "anthrax", "cholera")
OTHERS = [f"What are the treatments for {name} ?" for name in ILLNESSES * 5]


def named(
    ours: list[str],
    theirs: list[str] = OTHERS,
    *,
    language: str = "english",
    central: dict[str, float] | None = None,
) -> str:
    terms = count_terms([*ours, *theirs], language=language)
    inside = np.arange(len(ours) + len(theirs)) < len(ours)
    return title(central or dict.fromkeys(ours, 1.0), terms, inside=inside, around=~inside)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "What are the genetic changes related to {} ?",
            "genetic changes related to …",
        ),
        ("How to diagnose {} ?", "how to diagnose …"),
        ("Is {} inherited ?", "inherited"),
    ],
)
def test_what_varies_is_left_open(question: str, expected: str):
    assert named([question.format(name) for name in ILLNESSES]) == expected


def test_two_ways_of_asking_are_two_phrases():
    ours = ["Why was my card declined?", "The shop refused my payment."] * 8
    assert named(ours) == "shop refused my payment; card declined"


def test_a_negation_stays():
    ours = ["My new card is not working", "the card is still not working", "card not working"] * 4
    assert named(ours, ["I lost my card", "order a card"] * 10) == "new card is not working"


def test_negations_are_one_word_whatever_their_form():
    ours = [
        "There is a direct debit that I didn't make",
        "I don't recognise this direct debit",
        "I never allowed a direct debit",
        "I have not set up a direct debit",
    ] * 4
    found = named(ours, ["When is my direct debit due?", "stop a direct debit"] * 10)
    assert "direct debit" in found
    assert {"didn't", "don't", "never", "not"} & set(found.split())


def test_a_phrase_never_begins_after_its_negation():
    assert named(["it is not connected to my phone"] * 8).startswith("not connected")


def test_a_particle_stays_with_its_word():
    ours = ["The limit to top up", "is there a limit to top-up", "what's the top up limit?"] * 5
    assert named(ours) in {"limit to top up", "top up limit"}


def test_a_question_keeps_the_word_that_asks():
    ours = ["How many cards can I have?", "Tell me how many cards one can own"] * 5
    assert named(ours, ["I lost my card"] * 20).startswith("how many cards can I have")


def test_the_most_central_of_two_texts_of_the_same_words_gives_the_title():
    ours = ["My new card I want to activate", "activate my new card"] * 8
    central = {"My new card I want to activate": 0.0, "activate my new card": 1.0}
    assert named(ours, central=central) == "activate my new card"


def test_a_phrase_does_not_begin_with_the_end_of_another_clause():
    ours = ["A bad company and I want to delete my account", *["delete my account"] * 3] * 4
    assert named(ours, ["It is a bad company"] * 20) == "delete my account"


def test_function_words_alone_are_no_title():
    assert named(["or will it be about that"] * 10) == ""
    assert named(["was ist das"] * 10, ["wie ist die Dosis"] * 30, language="none") == ""


def test_capitals_of_a_whole_text_are_not_kept_but_names_are():
    assert named(["SEND MONEY ABROAD"] * 6) == "send money abroad"
    assert "Apple Pay" in named(["Does it take Apple Pay?"] * 6)


def test_parts_of_a_map_are_named_by_their_texts():
    places = np.concatenate([np.zeros((60, 2)), np.ones((60, 2)), np.full((60, 2), 2.0)])
    places += np.random.default_rng(0).normal(scale=0.01, size=places.shape)
    texts = ["track my parcel"] * 60 + ["bake a cake"] * 60 + ["what is it"] * 60
    belongs, titles = name_topics(places, texts, language="english")
    assert len(titles) == 2
    assert "parcel" in titles[belongs[0]]
    assert "cake" in titles[belongs[60]]
    assert set(belongs[120:].tolist()) == {-1}


def test_a_number_begins_no_title_but_may_stand_in_one():
    assert named([f"90-95% of cases of {each}" for each in ILLNESSES * 2]).startswith("cases of")
    assert named([f"has type 2 {each}" for each in ILLNESSES * 2]).startswith("type 2")
