"""Every rule of the decision: where it decides, where it does not, and what it says."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from situations import cut, decided, differences, option, rule, situation
from small_curves import curve

from harness.decision.effects import measure
from harness.decision.holes import Contradiction, Holes
from harness.decision.rules import decide
from harness.decision.situation import Action, Failures, GradesUsed, Health, OptionCost
from harness.runs.headroom import Gap
from harness.statistics.verdicts import more_in_words
from harness.suite.spec import Budgets, DecisionSpec


def test_contradicted_judgements_are_fixed_first():
    wrong = Health(contradiction=Contradiction(agreed=100, contradicted=40))
    found = decided(option("b", 0.3), health=wrong)
    assert (found.action, found.candidate, found.strength) == (
        Action.FIX_DATA,
        None,
        "recommended",
    )
    assert rule(found, "data") == (True, found.rules[0].evidence)
    assert "first on 100 queries; on 40%" in found.rules[0].evidence
    assert "40%" in found.sentence
    assert found.experiment.startswith("Judge a sample")


@pytest.mark.parametrize(
    "counts",
    [Contradiction(100, 15), Contradiction(100, 20), Contradiction(19, 19), Contradiction(0, 0)],
)
def test_few_contradictions_or_few_agreements_do_not_accuse_the_data(counts: Contradiction):
    found = decided(option("b", 0.3), health=Health(contradiction=counts))
    assert found.action is Action.SWITCH
    assert not rule(found, "data")[0]


def test_without_two_systems_the_data_rule_says_so():
    assert "are not checked" in rule(decided(option("b", 0.3)), "data")[1]


def test_holes_in_the_run_are_fixed_first():
    assert decided(option("b", 0.3), health=Health(missing=0.06)).action is Action.FIX_PIPELINE
    assert decided(option("b", 0.3), health=Health(missing=0.05)).action is Action.SWITCH


def test_same_weights_run_better_are_a_fix_and_come_before_a_better_switch():
    found = decided(option("prompted", 0.1, Action.FIX_PIPELINE), option("b", 0.3))
    assert (found.action, found.candidate) == (Action.FIX_PIPELINE, "prompted")
    fix = "Fix the pipeline: run the model as 'prompted' does (recommended)."
    assert found.sentence == f"{fix} Switch: open."
    assert found.experiment == "Make 'prompted' the baseline and decide again."
    assert [each.sentence for each in found.answers] == [
        "Pipeline: yes, +0.100 with 'prompted'.",
        "Switching: open, +0.300 with 'b'; data and pipeline come first.",
    ]


def test_same_weights_run_worse_change_nothing():
    found = decided(option("other", -0.1, Action.FIX_PIPELINE), option("b", 0.3))
    assert found.action is Action.SWITCH


def test_known_mistake_is_fixed_first_unless_an_option_without_it_was_measured():
    mistake = Health(pipeline=("'base' was run without its prompts.",))
    assert decided(option("b", 0.3), health=mistake).action is Action.FIX_PIPELINE
    tried = option("prompted", 0.0, Action.FIX_PIPELINE)
    found = decided(tried, option("b", 0.3), health=mistake)
    assert found.action is Action.SWITCH
    assert rule(found, "pipeline") == (False, "'base' was run without its prompts.")


def test_likely_fix_is_leaned_to():
    found = decided(option("prompted", 0.0245, Action.FIX_PIPELINE))
    assert (found.action, found.strength) == (Action.FIX_PIPELINE, "weak")


@pytest.mark.parametrize(
    ("action", "verb"),
    [
        (Action.SWITCH, "Switch to 'b'"),
        (Action.FUSE, "Fuse: use 'b'"),
        (Action.RERANK, "Rerank: use 'b'"),
        (Action.FINE_TUNE, "Fine-tune: use 'b'"),
    ],
)
def test_worthwhile_option_is_recommended_by_its_kind(action: Action, verb: str):
    found = decided(option("b", 0.08, action), option("c", -0.05))
    assert (found.action, found.candidate, found.strength) == (action, "b", "recommended")
    others = "" if action is Action.SWITCH else " Switch: no."
    also = ", not to 'c'" if action is Action.SWITCH else ""
    assert found.sentence == f"{verb} (recommended){also}.{others}"
    assert found.price.startswith("+0.080 ndcg@10 ")
    assert [each.reply for each in found.answers if each.action is action] == ["yes"]
    assert rule(found, "improvement")[0]
    assert found.more_queries is None


KINDS = (Action.SWITCH, Action.FUSE, Action.RERANK, Action.FINE_TUNE)


@pytest.mark.parametrize(("cheap", "costly"), list(itertools.combinations(KINDS, 2)))
def test_costlier_change_is_taken_only_where_it_is_better(cheap: Action, costly: Action):
    base = differences(0.1, seed=1)
    for more, expected in ((0.0, "cheap"), (0.008, "cheap"), (0.05, "costly")):
        values = base + differences(more, sd=0.05, seed=2)
        found = decided(option("cheap", base, cheap), option("costly", values, costly))
        assert found.candidate == expected
        said = "(a costlier kind of change): P(gain of 'costly' over 'cheap') "
        assert said in rule(found, "improvement")[1]


def test_best_of_a_kind_is_taken():
    assert decided(option("b", 0.08), option("c", 0.1)).candidate == "c"


def test_option_beyond_a_budget_is_not_taken_and_the_budget_is_asked_for():
    slow = option(
        "slow", 0.2, over_budget=("The p95 latency of 90 ms exceeds the budget of 50 ms.",)
    )
    found = decided(slow, option("b", -0.1), budgets=Budgets(query_ms_p95=50))
    assert (found.action, found.strength) == (Action.KEEP, "recommended")
    assert found.experiment.startswith("Ask whether the budget can be raised for 'slow' (+0.200)")
    assert rule(found, "budgets")[1].startswith(
        "1 candidate is excluded or not eligible. 'slow': The p95 latency of 90 ms"
    )
    assert found.options[0].excluded == "The p95 latency of 90 ms exceeds the budget of 50 ms."


@pytest.mark.parametrize(
    "why", [{"over_budget": ("Too slow.",)}, {"leaked": ("Seen.",)}, {"harmful": ("Harm.",)}]
)
def test_an_excluded_option_is_named_only_where_it_would_be_chosen(why: dict[str, tuple[str]]):
    base = differences(0.1, seed=1)
    for more, told in ((0.012, False), (0.08, True)):
        values = base + differences(more, sd=0.1, seed=2)
        found = decided(option("b", base), option("out", values, Action.FUSE, **why))
        assert found.candidate == "b"
        assert ("'out'" in found.experiment) == told
    if "over_budget" in why:
        said = "Ask whether the budget can be raised for 'out' (+0.080 against 'b'): Too slow."
        assert found.experiment == said


def test_everything_over_budget_keeps_and_says_why():
    found = decided(option("slow", 0.2, over_budget=("Too slow.",)))
    assert found.action is Action.KEEP
    assert "Every option is excluded, and no compression passes." in found.price


def test_leaked_option_is_not_taken_and_is_to_be_trained_again():
    leaked = option("tuned", 0.4, Action.FINE_TUNE, leaked=("It was trained on the queries.",))
    found = decided(leaked, option("b", 0.1))
    assert (found.action, found.candidate) == (Action.SWITCH, "b")
    assert found.experiment.startswith("Retrain 'tuned' without the test queries")


def test_truncation_of_a_model_beyond_the_budget_stands_for_it():
    full = option("big", 0.2, over_budget=("Too many bytes.",))
    short = option("big/64", 0.15, shortens="big", width=64)
    assert decided(full, short).candidate == "big/64"


def test_truncation_of_a_model_within_the_budget_does_not_compete_with_it():
    short = option("big/64", 0.25, shortens="big", width=64)
    assert decided(option("big", 0.2), short).candidate == "big"


def test_baseline_over_budget_is_never_kept():
    found = decided(option("b", -0.2), baseline_over_budget=("Too slow.",))
    assert (found.action, found.candidate, found.strength) == (Action.SWITCH, "b", "weak")
    told = "1 candidate is excluded or not eligible. 'base': Too slow."
    assert rule(found, "budgets")[1] == told


def tiny_loss(n: int = 2000, *, seed: int = 3) -> np.ndarray:
    return differences(-0.0005, sd=0.03, n=n, seed=seed)


def test_truncation_that_loses_nothing_is_recommended_and_the_smallest_of_a_sequence():
    found = decided(
        cut("base/256", tiny_loss(), 256),
        cut("base/64", tiny_loss(seed=4), 64),
        cut("base/16", differences(-0.1, n=2000), 16),
        option("b", differences(-0.1, n=2000)),
    )
    assert (found.action, found.candidate) == (Action.TRUNCATE, "base/64")
    assert found.sentence == ("Truncate to 64 dimensions: use 'base/64' (recommended). Switch: no.")
    assert found.price.startswith("The loss is at most")
    evidence = rule(found, "compression")[1]
    assert "'base/256' passes" in evidence
    assert "'base/16' loses too much" in evidence


def test_widths_after_the_first_that_fails_are_not_tested():
    found = decided(
        cut("base/128", differences(-0.1, n=2000), 128),
        cut("base/64", tiny_loss(), 64),
    )
    assert found.action is Action.KEEP
    assert "base/64" not in rule(found, "compression")[1]


def test_rare_severe_losses_stop_a_truncation_whose_mean_is_well():
    values = np.zeros(3000)
    values[:100] = -1.0
    values[100:300] = 0.5
    found = decided(cut("base/64", values, 64))
    assert found.action is Action.KEEP
    assert "'base/64' loses too much" in rule(found, "compression")[1]


def test_one_severe_loss_of_few_queries_leaves_the_truncation_open():
    values = np.zeros(30)
    values[0] = -1.0
    found = decided(cut("base/64", values, 64))
    assert found.action is Action.UNDECIDED
    assert "Whether 'base/64' loses too much is undecided" in found.price
    assert found.more_queries is not None
    assert 100 < found.more_queries < 20_000


def test_truncation_with_few_queries_is_open_even_without_any_loss():
    found = decided(cut("base/64", np.zeros(100), 64))
    assert found.action is Action.UNDECIDED
    assert found.more_queries is not None
    assert 150 <= found.more_queries <= 600


def test_taken_option_is_cut_too_where_its_own_truncation_loses_nothing():
    gain = differences(0.1, n=2000)
    short = cut("b/64", gain + tiny_loss(), 64, of="b")
    found = decided(option("b", gain), short)
    assert (found.action, found.candidate) == (Action.SWITCH, "b")
    assert found.sentence == ("Switch to 'b', truncated to 64 dimensions ('b/64') (recommended).")
    assert re.fullmatch(
        r"Truncation: yes, .?0\.00[01] with 'b/64' against 'b'; the loss is at most 0\.002 .*",
        found.answers[1].sentence,
    )


def test_truncation_must_pass_on_every_collection():
    losing = (tiny_loss(), differences(-0.1, n=2000))
    option_ = option("base/64", losing, Action.TRUNCATE, shortens="base", width=64)
    assert decided(option_).action is Action.KEEP


def test_baseline_is_kept_on_positive_evidence():
    found = decided(option("b", -0.1), option("c", -0.05))
    assert (found.action, found.candidate, found.strength) == (Action.KEEP, "base", "recommended")
    assert found.price.startswith("No option can gain 0.01 ndcg@10: even 'c' loses at least 0.0")


def test_no_difference_with_few_queries_is_no_reason_to_keep():
    found = decided(option("b", 0.0))
    assert found.action is Action.UNDECIDED
    assert "A worthwhile gain is still possible for 'b'" in rule(found, "keep")[1]


def test_open_truncation_is_no_reason_to_keep():
    values = differences(-0.005, sd=0.1)
    found = decided(option("b", -0.1), cut("base/64", values, 64))
    assert found.action is Action.UNDECIDED
    assert "'base/64' may lose too much" in rule(found, "keep")[1]


def test_probable_gain_is_leaned_to():
    found = decided(option("b", 0.0245))
    assert (found.action, found.candidate, found.strength) == (Action.SWITCH, "b", "weak")
    assert 0.9 <= found.options[0].p_worthwhile < 0.95
    assert found.sentence == "Switch to 'b' (weak recommendation)."
    assert found.more_queries is not None
    assert found.experiment == (
        f"Judge about {more_in_words(found.more_queries)} of the same kind, to settle whether 'b' "
        "gains 0.01 or more."
    )


def test_one_leans_to_the_cheaper_of_two_probable_gains():
    base = differences(0.0245, seed=1)
    costly = option("tuned", base + 0.001, Action.FINE_TUNE)
    assert decided(option("b", base), costly).candidate == "b"


def test_undecided_names_a_number_of_queries_that_settles_it():
    """Asked again with that many queries of the same kind, it is decided."""
    for mean in (0.0, 0.012, 0.03):
        found = decided(option("b", differences(mean, n=100)))
        assert found.strength != "recommended"
        assert found.more_queries is not None
        again = decided(option("b", differences(mean, n=100 + found.more_queries)))
        assert again.strength == "recommended" or mean == 0.012
        assert found.more_queries < 15_000


@pytest.mark.parametrize("seen", [[0.02] * 100, [0.05] * 20, [0.0] * 30, [-0.4] + [0.05] * 29])
def test_as_many_more_queries_as_are_named_settle_it_if_they_are_alike(seen: list[float]):
    found = decided(option("b", np.array(seen)), n=len(seen))
    assert found.strength != "recommended"
    assert found.more_queries is not None
    times = -(-(len(seen) + found.more_queries) // len(seen))
    again = decided(option("b", np.array(seen * times)), n=len(seen) * times)
    assert again.strength == "recommended"


def test_a_gain_that_queries_alone_do_not_tell_from_the_worthwhile_one_names_no_number():
    found = decided(option("b", np.full(660, 0.012)), n=660)
    assert found.more_queries is None
    assert found.sentence.startswith("Switch: undecided. The gain is so close to the required")
    assert "more)" not in found.sentence


@pytest.mark.parametrize("n", [2, 3, 5, 19])
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5, 1.0])
def test_handful_of_queries_decides_nothing(n: int, value: float):
    found = decided(option("b", np.full(n, value)), cut("base/8", np.zeros(n), 8))
    assert found.action is Action.UNDECIDED
    assert found.more_queries is not None
    assert found.more_queries >= 20 - n


def test_two_queries_of_each_collection_decide_nothing():
    found = decided(option("b", [np.array([0.9, 1.0]), np.array([0.8, 0.9])]))
    assert found.action is Action.UNDECIDED


def test_small_collections_have_wide_intervals():
    """Four collections of five queries: the bootstrap alone would be far too sure."""
    rng = np.random.default_rng(0)
    missed = 0
    for seed in range(60):
        parts = [rng.choice([-0.5, 0, 0.5], size=5) for _ in range(4)]
        [effect] = measure(situation(option("b", parts), seed=seed))
        missed += not effect.low <= 0 <= effect.high
    assert missed <= 6


def test_no_option_is_undecided_and_asks_for_some():
    found = decided()
    assert (found.action, found.more_queries, found.options) == (Action.UNDECIDED, None, [])
    assert "add options to compare" in found.sentence


def test_identical_option_is_kept_out_once_enough_queries_tie():
    assert decided(option("same", np.zeros(100))).action is Action.UNDECIDED
    assert decided(option("same", np.zeros(400))).action is Action.KEEP


def test_collections_count_alike_whatever_their_size():
    parts = (differences(0.2, n=100), differences(-0.1, n=1000))
    found = decided(option("b", parts))
    assert found.options[0].difference == pytest.approx(0.05)
    assert found.n == 1100


def test_gain_on_several_collections_is_recommended():
    parts = [differences(0.1, seed=seed) for seed in range(3)]
    found = decided(option("b", parts))
    assert (found.action, found.strength) == (Action.SWITCH, "recommended")
    assert "+0.100 ndcg@10 (mean of 3 collections)" in found.price
    assert [(each.collection, each.n) for each in found.by_collection] == [
        ("c0", 400),
        ("c1", 400),
        ("c2", 400),
    ]


def all_kinds() -> list:
    return [
        option("b", 0.06),
        option("c", 0.06),
        option("hybrid", 0.07, Action.FUSE),
        option("tuned", 0.15, Action.FINE_TUNE),
        option("slow", 0.3, over_budget=("Too slow.",), exceeded=("p95 90 ms, budget 50 ms",)),
        cut("base/64", -0.1, 64),
    ]


def test_same_situation_gives_the_same_bytes():
    first, second = (decided(*all_kinds()).model_dump_json() for _ in range(2))
    assert first == second


def test_order_of_the_options_changes_nothing():
    expected = decided(*all_kinds()).model_dump_json()
    for order in ([5, 4, 3, 2, 1, 0], [2, 0, 5, 1, 4, 3]):
        assert decided(*(all_kinds()[place] for place in order)).model_dump_json() == expected


def test_what_scores_about_as_well_as_the_chosen_option_is_not_called_worse():
    base = differences(0.1, seed=1)
    found = decided(
        option("b", base), option("c", base + differences(-0.004, seed=2)), option("d", 0.05)
    )
    whys = {each.candidate: each.why_not for each in found.options}
    assert whys["c"] == "scores 0.004 lower than 'b' (not significant)"
    assert whys["d"] == "scores 0.050 lower than 'b'"


def test_a_gate_that_the_chosen_option_would_fail_is_told():
    failed = ("[gates.size]: its index size of 1,536 bytes exceeds 1,024 bytes.",)
    found = decided(option("b", 0.1, failed_gates=failed), option("c", 0.05, failed_gates=failed))
    assert found.warnings == [f"'b' would fail {failed[0]}"]


@pytest.mark.parametrize("over", [(), ("Too slow.",)])
def test_a_truncation_is_called_one_with_a_budget_or_without(over: tuple[str, ...]):
    full = option("big", 0.05, over_budget=over)
    short = option("big/64", 0.02, shortens="big", width=64, over_budget=over)
    found = decided(option("b", 0.1), full, short)
    assert {each.candidate: each.action for each in found.options}["big/64"] is Action.TRUNCATE


def test_numbers_of_the_price_are_those_of_the_fields():
    found = decided(*all_kinds())
    [taken] = [each for each in found.options if each.candidate == found.candidate]
    assert re.findall(r"[+-]\d\.\d{3}", found.price) == [f"{taken.difference:+.3f}"]
    assert (taken.why_not, found.n) == ("", 400)


def test_every_kind_of_change_has_one_answer_and_every_option_a_reason():
    found = decided(*all_kinds())
    assert [each.sentence for each in found.answers] == [
        "Switching: no, +0.060 with 'b'; scores 0.090 lower than 'tuned'.",
        "Fusion: no, +0.070 with 'hybrid'; scores 0.080 lower than 'tuned'.",
        "Fine-tuning: yes, +0.150 with 'tuned'.",
        "Truncation: no, \u22120.100 with 'base/64'; loses too much (margin 0.01).",
    ]
    assert {each.candidate: each.why_not for each in found.options} == {
        "slow": "p95 90 ms, budget 50 ms; without it a gain of 0.01 over 'tuned' (P > 0.99)",
        "tuned": "",
        "hybrid": "scores 0.080 lower than 'tuned'",
        "b": "scores 0.090 lower than 'tuned'",
        "c": "scores 0.090 lower than 'tuned'",
        "base/64": "loses too much (margin 0.01)",
    }


def test_a_costlier_change_that_scores_more_is_answered_with_its_probability():
    base = differences(0.1, seed=1)
    better = base + differences(0.008, sd=0.05, seed=2)
    cost = OptionCost(query_ms_p95=1000.0), OptionCost(query_ms_p95=1.0)
    found = decided(
        option("cheap", base, cost=cost[1]),
        option("costly", better, Action.RERANK, cost=cost[0]),
        option("worse", differences(0.03, seed=5), Action.FUSE, cost=cost[0]),
    )
    faster = ", at 1,000 times its latency"
    assert [each.sentence for each in found.answers] == [
        "Switching: yes, +0.100 with 'cheap'.",
        f"Fusion: no, +0.030 with 'worse'; scores 0.070 lower than 'cheap'{faster}.",
        f"Reranking: no, +0.108 with 'costly'; {found.options[0].why_not}.",
    ]
    unproven = r"gain over 'cheap' unproven \(P 0\.\d\d; 0\.95 needed\)"
    assert re.fullmatch(unproven, found.options[0].why_not)
    chance = found.options[0].why_not.partition("(P ")[2][:4]
    assert found.experiment.startswith(
        f"'costly' might gain 0.01 over 'cheap' (P {chance}): measured +0.008, so close to the "
    )
    wider = base + differences(0.02, sd=0.15, seed=2)
    far = decided(option("cheap", base), option("costly", wider, Action.RERANK))
    assert re.match(
        r"'costly' might gain 0\.01 over 'cheap' \(P 0\.\d\d; measured \+0\.020\): judge about "
        r"[\d,]+ more queries to settle whether it does\.",
        far.experiment,
    )


def test_the_first_line_answers_every_kind_of_change_and_one_alone_at_its_beginning():
    kept = "Keep 'base' (recommended)."
    alone = decided(option("b", -0.1, Action.RERANK))
    assert alone.sentence == f"Rerank: no. {kept}"
    both = decided(option("b", -0.1, Action.RERANK), option("c", -0.1, Action.FUSE))
    assert both.sentence == f"{kept} Fuse, rerank: no."
    mixed = decided(option("b", 0.012), option("tuned", -0.2, Action.FINE_TUNE))
    assert mixed.sentence.endswith(" (n=400 now). Switch: open. Fine-tune: no.")
    broken = Health(contradiction=Contradiction(agreed=100, contradicted=40))
    assert "no." not in decided(option("b", -0.1, Action.RERANK), health=broken).sentence


def test_undecided_kinds_are_open():
    found = decided(option("b", 0.012), option("tuned", -0.2, Action.FINE_TUNE))
    assert [each.reply for each in found.answers] == ["open", "no"]
    assert found.answers[0].sentence.startswith("Switching: open, +0.012 with 'b'; P(gain) 0.")


def test_parameters_of_the_suite_move_the_verdict():
    assert decided(option("b", 0.05), spec=DecisionSpec(gain=0.2)).action is Action.KEEP
    assert decided(option("b", 0.05), spec=DecisionSpec(gain=0.01)).action is Action.SWITCH


def test_headroom_is_told_and_a_reranker_proposed_where_the_order_is_the_loss():
    gap = Gap(achieved=0.5, ordering_loss=0.4, first_stage_loss=0.1, depth=100)
    found = decided(option("b", -0.1), gap=gap)
    assert "0.400 (80%) is lost to ranking within its top 100" in rule(found, "improvement")[1]
    assert found.experiment == (
        "A reranker on 'base' was not tried: a perfect reranker of its top 100 would add 0.400 "
        "ndcg@10."
    )
    deep = Gap(achieved=0.5, ordering_loss=0.1, first_stage_loss=0.4, depth=100)
    assert decided(option("b", -0.1), gap=deep).experiment == (
        "A fusion of 'base' with a dense model was not tried: 0.400 ndcg@10 is lost to documents "
        "beyond its top 100."
    )


def test_experiments_go_from_untested_models_to_truncation_to_training():
    plain = option("b", -0.1)
    assert "'org/new'" in decided(plain, untested=("org/new",)).experiment
    dense = {"with_vectors": frozenset({"base"}), "with_weights": frozenset({"base"})}
    found = []
    tried = ["truncate", "compress", "fine-tune"]
    for count in range(4):
        about = {"base": frozenset(tried[:count])}
        found.append(decided(plain, tried=about, **dense).experiment.partition("'base'")[0])
    assert found == ["Truncate ", "Quantise ", "Fine-tune ", "No cheap change of "]
    about = {"base": frozenset({"index"})}
    assert decided(plain, tried=about, **dense).experiment.startswith("Quantise 'base' to int8")


def test_notes_and_published_findings_are_passed_on():
    found = decided(option("b", 0.1), published=("m is better.",), health=Health(notes=("x",)))
    assert (found.published, found.notes) == (["m is better."], ["x"])


def test_decision_reads_back_from_its_json():
    found = decided(*all_kinds())
    assert type(found).model_validate_json(found.model_dump_json()) == found
    assert decide(situation(*all_kinds()), suite="small") == found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"enough": 2000}, "Collect about 1,200 more training pairs. 'tuned': a gain of 0.01"),
        ({"enough": 100, "doubled_low": 0.01}, "Collect more training pairs. Twice the pairs"),
        ({}, "No cheap change of 'base' is untested. Decide again when data or models change."),
    ],
)
def test_a_learning_curve_is_evidence_and_may_be_the_next_experiment(
    changes: dict[str, object], words: str
):
    found = decided(
        option("tuned", -0.05, Action.FINE_TUNE),
        option("reranked", -0.05, Action.RERANK),
        curves=(curve(baseline="base", **changes),),
        tried={"base": frozenset({Action.RERANK})},
    )
    assert found.action is Action.KEEP
    assert found.experiment.startswith(words)
    assert "Twice the pairs (1,600) would add about +0.020" in rule(found, "improvement")[1]


def test_lean_counts_how_many_options_there_are():
    """One option of two standard errors is leaned to; the best of ten such is not."""
    rng = np.random.default_rng(4)
    many = [option(f"c{place}", differences(0.0, seed=100 + place)) for place in range(9)]
    best = option("b", differences(0.0245, seed=int(rng.integers(50))))
    assert decided(best).strength == "weak"
    found = decided(best, *many)
    assert found.strength == "none"
    [mine] = [each for each in found.options if each.candidate == "b"]
    assert mine.p_adjusted is not None
    assert mine.p_adjusted < 0.7
    assert mine.p_worthwhile > 0.9


def test_copies_of_an_option_count_as_one():
    values = differences(0.05, sd=0.3, n=500)
    alone = measure(situation(option("a", values)))[0].p_adjusted
    copies = [option(name, values.copy()) for name in "abcdefgh"]
    assert measure(situation(*copies))[0].p_adjusted == pytest.approx(alone, abs=0.02)


def test_queries_to_settle_start_from_what_is_left_of_the_best_of_many():
    many = [option(f"c{place}", differences(0.0, n=100, seed=place)) for place in range(9)]
    best = option("b", differences(0.05, n=100, seed=77))
    alone, among = measure(situation(best))[0], measure(situation(best, *many))[0]
    assert alone.likely == pytest.approx(0.05, abs=0.002)
    assert among.likely < 0.03
    assert among.option.name == "b"


def destroying(n: int = 1500) -> np.ndarray:
    """Gain 0.31 on 68% of the queries and lose everything on 12%."""
    return np.repeat([0.31, -1.0, 0.0], [int(0.68 * n), int(0.12 * n), n - int(0.8 * n)])


@pytest.mark.parametrize("action", KINDS)
def test_severe_losses_are_told_with_every_change(action: Action):
    found = decided(option("c0", destroying(), action))
    assert found.strength == "recommended"
    [told] = found.warnings
    assert told == (
        "Severe losses: 180 of 1,500 queries (12.0%) lose at least 0.5 ndcg@10 against 'base' "
        "(no limit set); 0.0% gain at least 0.5."
    )


@pytest.mark.parametrize("action", KINDS)
def test_cap_on_severe_losses_bars_every_change(action: Action):
    spec = DecisionSpec(severe_losses_any_change=0.05)
    found = decided(option("c0", destroying(), action), spec=spec)
    assert found.action is Action.KEEP
    assert "12.0% of the queries (180 of 1,500) lose 0.5 or more" in found.options[0].excluded
    assert "severe losses under 'c0'" in found.experiment
    assert decided(option("c0", 0.1, action), spec=spec).strength == "recommended"


def test_open_cap_is_leaned_to_at_most_and_says_how_many_queries_tell():
    values = differences(0.2, sd=0.1, n=100)
    values[:4] = -0.9
    found = decided(option("c0", values), spec=DecisionSpec(severe_losses_any_change=0.05))
    assert (found.action, found.strength) == (Action.SWITCH, "weak")
    assert any("the cap is 5.0%. About" in line for line in found.warnings)
    assert found.experiment.startswith("Judge more queries of the same kind")


def test_cap_of_truncations_stays_their_own():
    found = decided(
        cut("base/64", tiny_loss(), 64), spec=DecisionSpec(severe_losses_any_change=0.0001)
    )
    assert found.action is Action.TRUNCATE


def test_collection_that_loses_is_named_with_its_figure():
    parts = (differences(0.12, n=500), differences(-0.05, n=500, seed=2))
    found = decided(option("b", parts))
    assert found.action is Action.SWITCH
    assert found.sentence == "Switch to 'b' (recommended). Collections disagree."
    on = found.by_collection[1]
    rounded = tuple(round(value, 3) for value in (on.difference, on.low, on.high))
    assert (on.candidate, on.collection, on.n, *rounded) == ("b", "c1", 500, -0.05, -0.068, -0.032)
    same = (differences(0.12, n=500), differences(0.05, n=500, seed=2))
    assert "disagree" not in decided(option("b", same)).sentence


OPEN_BUDGET = ("The p95 latency is not measured, and the budget is 20 ms.",)


def test_budget_on_something_unmeasured_asks_to_measure():
    found = decided(option("b", 0.1, unmeasured=OPEN_BUDGET), option("c", -0.1))
    assert (found.action, found.candidate, found.strength) == (Action.UNDECIDED, None, "none")
    assert found.sentence.startswith("Switch: undecided. Measure 'b' first.")
    assert found.warnings == list(OPEN_BUDGET)
    assert found.experiment == "Measure 'b' (or lift the budget) and decide again."


def test_measured_option_is_taken_and_the_unmeasured_one_is_told():
    found = decided(option("b", 0.1, unmeasured=OPEN_BUDGET), option("c", 0.08))
    assert (found.candidate, found.strength) == ("c", "recommended")
    assert f"'b' (+0.100) is not eligible yet: {OPEN_BUDGET[0]}" in found.warnings


def test_unmeasured_option_is_not_leaned_to_and_one_that_loses_is_no_matter():
    assert decided(option("b", 0.0245, unmeasured=OPEN_BUDGET)).action is Action.UNDECIDED
    assert decided(option("b", -0.1, unmeasured=OPEN_BUDGET)).action is Action.KEEP
    short = option("base/64", tiny_loss(), Action.TRUNCATE, shortens="base", width=64)
    open_one = replace(short, unmeasured=OPEN_BUDGET)
    assert decided(open_one).action is not Action.TRUNCATE


def test_kept_baseline_with_an_unmeasured_budget_is_told():
    found = decided(option("b", -0.1), baseline_unmeasured=OPEN_BUDGET)
    assert found.action is Action.KEEP
    assert found.warnings == [f"'base': {OPEN_BUDGET[0]}"]


def test_price_of_an_option_is_told():
    found = decided(
        option("b", 0.1, cost=OptionCost(query_ms_p95=1194.0, bytes_per_document=1536)),
        baseline_cost=OptionCost(query_ms_p95=17.5, bytes_per_document=1024),
    )
    assert found.price == (
        "+0.100 ndcg@10 for 68 times the p95 latency (17.5 to 1,190 ms) and 1.5 times the index "
        "size; no budget is set."
    )
    assert found.options[0].price == "68x latency, 1.5x index"


@pytest.mark.parametrize(("now", "told"), [(0.65, "same latency"), (2.7, "3x latency")])
def test_the_latency_of_a_model_of_one_shape_is_the_same_within_the_noise(now: float, told: str):
    shape = {"parameters": 8_192_000, "bytes_per_document": 1024.0}
    found = decided(
        option("tuned", 0.1, cost=OptionCost(query_ms_p95=now, **shape)),
        baseline_cost=OptionCost(query_ms_p95=0.9, **shape),
    )
    assert found.options[0].price == f"{told}, same index"


def test_price_of_an_option_holds_what_a_provider_bills():
    billed = OptionCost(query_ms_p95=240.0, usd_per_million_queries=0.4)
    found = decided(option("b", 0.1, cost=billed), baseline_cost=OptionCost(query_ms_p95=20.0))
    told = "for 12 times the p95 latency (20.0 to 240 ms) and 0.4 USD for a million queries"
    assert found.price == f"+0.100 ndcg@10 {told}; no budget is set."
    assert found.options[0].price == "12x latency, 0.4 USD per million queries"
    cheaper = option("b", 0.1, cost=replace(billed, usd_per_million_queries=0.1))
    assert " at 0.1 USD instead of 0.4 USD for a million queries" in (
        decided(cheaper, baseline_cost=billed).price
    )


def test_a_price_never_rests_on_the_latency_of_a_busy_machine():
    found = decided(
        option("b", 0.1, cost=OptionCost(bytes_per_document=1024, busy=True)),
        baseline_cost=OptionCost(query_ms_p95=17.5, bytes_per_document=1024),
        budgets=Budgets(bytes_per_document=2000),
    )
    assert found.price == (
        "+0.100 ndcg@10 at the same index size (latency not compared: busy machine); within the "
        "budgets."
    )
    assert found.options[0].price == "latency n/a, same index"


def test_next_experiment_is_about_the_option_that_is_taken():
    behind = Gap(achieved=0.5, ordering_loss=0.4, first_stage_loss=0.1, depth=100)
    mine = Gap(achieved=0.6, ordering_loss=0.25, first_stage_loss=0.15, depth=100)
    found = decided(option("b", 0.1), gap=behind, gaps={"b": mine})
    assert found.experiment == (
        "A reranker on 'b' was not tried: a perfect reranker of its top 100 would add 0.250 "
        "ndcg@10."
    )
    both = {"gap": behind, "gaps": {"b": mine}}
    of_the_other = {"base": frozenset({"rerank"})}
    assert decided(option("b", 0.1), tried=of_the_other, **both).experiment == found.experiment
    of_this = {"b": frozenset({"rerank"})}
    dense = {"with_vectors": frozenset({"b"}), **both}
    assert decided(option("b", 0.1), tried=of_this, **dense).experiment.startswith("Truncate 'b'")
    assert decided(option("b", 0.1), tried=of_this, **both).experiment == (
        "A stronger reranker on 'b' may help: a perfect reranker of its top 100 would add 0.250 "
        "ndcg@10."
    )


def test_identical_options_take_the_queries_that_rule_an_unseen_gain_out():
    few = decided(option("same", np.zeros(100)), n=100)
    assert few.more_queries is not None
    n = 100 + few.more_queries
    assert decided(option("same", np.zeros(n)), n=n).action is Action.KEEP


PEOPLE = "n=400 queries, 120 human and 2,400 model grades"


def test_an_estimate_from_grades_names_its_source():
    found = decided(option("b", 0.1), grades=(GradesUsed(PEOPLE, by_people=True, alone={}),))
    assert (found.strength, found.candidate) == ("recommended", "b")
    assert found.warnings[0] == f"c0 is estimated from grades: {PEOPLE}."
    assert rule(found, "grades") == (False, f"c0 is estimated from grades: {PEOPLE}.")


def test_grades_of_a_model_alone_lean_at_most():
    source = "n=400 queries, 0 human and 2,400 model grades"
    found = decided(option("b", 0.1), grades=(GradesUsed(source, by_people=False, alone={}),))
    assert (found.strength, found.candidate) == ("weak", "b")
    assert "(weak recommendation)" in found.sentence
    assert any("alone recommend nothing" in warning for warning in found.warnings)


@pytest.mark.parametrize("alone", [0.1, -0.1])
def test_it_is_said_where_a_model_alone_would_have_decided_otherwise(alone: float):
    grades = GradesUsed(PEOPLE, by_people=True, alone={"b": differences(alone)})
    found = decided(option("b", 0.1), grades=(grades,))
    told = [warning for warning in found.warnings if "By the model's grades alone" in warning]
    assert len(told) == (0 if alone > 0 else 1)
    assert all("Keep 'base' (recommended)." in warning for warning in told)


def test_grades_of_a_part_show_no_loss_of_a_single_query():
    grades = (GradesUsed(PEOPLE, by_people=True, alone={}),)
    capped = DecisionSpec(severe_losses_any_change=0.1)
    found = decided(option("b", 0.1), grades=grades, spec=capped)
    assert found.strength == "weak"
    assert "not known from grades of a part" in " ".join(found.warnings)
    short = decided(cut("b/64", np.zeros(400), 64), grades=grades)
    assert short.action is Action.UNDECIDED


def test_an_option_is_called_by_its_last_step_and_its_parts_are_not_denied():
    tuned = option("tuned", 0.1, Action.FINE_TUNE)
    both = option("both", 0.3, Action.FINE_TUNE, step=Action.FUSE)
    found = decided(tuned, both)
    assert (found.action, found.sentence) == (Action.FUSE, "Fuse: use 'both' (recommended).")
    assert {each.candidate: (each.action, each.reply) for each in found.options} == {
        "both": (Action.FUSE, "yes"),
        "tuned": (Action.FINE_TUNE, "no"),
    }


def test_a_verdict_of_a_busy_machine_says_that_it_rests_on_quality():
    busy = OptionCost(busy=True)
    found = decided(
        option("b", 0.1, cost=busy), option("re", 0.03, Action.RERANK), baseline_cost=busy
    )
    assert found.sentence.endswith("Rerank: no. Latency was not measured (busy machine).")
    told = "In quality alone, reranking gains +0.030 with 're', less than 'b' (+0.100)."
    assert told in found.warnings


def test_supported_reasons_name_their_remedy_and_what_it_gains():
    failures = Failures(n=400, supported={"fine-tune": ("Vocabulary mismatch", "Length bias")})
    tuned = option("tuned", 0.04, Action.FINE_TUNE)
    assert rule(decided(option("b", 0.2), tuned, failures=failures), "failures")[1] == (
        "The diagnosis of 'base' (n=400) confirmed no remedy. Supported reasons: Vocabulary "
        "mismatch and Length bias point to fine-tuning ('tuned' gains +0.040, less than 'b' with "
        "+0.200). 'b' is not diagnosed: name it in [diagnosis]."
    )


def test_few_judgements_are_told_once():
    few = option("b", 0.2, holes=(Holes((0.05, 0.07)),))
    lead = "On c0, 'b' leads 'base' by 0.200; the lead vanishes if 9 are relevant."
    found = decided(few, failures=Failures(reversals={("b", "base"): (lead,)}))
    judged = "5% of the top 10 of 'base' are judged, and 7% of those of 'b'."
    assert found.warnings == [f"Only {judged} {lead}"]
    assert lead not in found.notes
    evidence = rule(found, "unjudged")[1]
    assert evidence.startswith("No sign of judging bias: leaving out documents judged relevant,")
    above = "The warning above says how many relevant ones would end the lead."
    assert evidence.endswith(f" As it is, {judged} {above}")
    blind = option("b", 0.2, holes=(Holes((0.05, 0.07), testable=False),))
    assert rule(decided(blind), "unjudged")[1].startswith("Judging bias cannot be tested: only ")
    most = option("b", 0.2, holes=(Holes((0.6, 0.7)),))
    assert decided(most).warnings == []
