"""The audit of a published mean: the verdict, its exit code, and what is refused."""

from __future__ import annotations

import json

import pytest
from command_line import harness as call

import harness
from harness.gates.score import MEASURED


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("0.71", "80", "--target", "0.70"),
            5,
            "Not resolvable: 80 queries cannot distinguish 0.71",
        ),
        (("0.71", "80", "--target", "0.50"), 0, "Resolvable: 0.71 is above the target 0.5."),
        (("0.62", "1500", "--target", "0.70"), 1, "Resolvable: 0.62 is below the target 0.7."),
        (("1.0", "10", "--target", "0.70"), 5, "no result of 10 queries reaches p < 0.05"),
        (("0.70", "80", "--target", "0.70"), 5, "at any number of queries"),
    ],
)
def test_the_verdict_is_the_exit_code(arguments: tuple[str, ...], code: int, said: str):
    value, n, *rest = arguments
    done = call("audit-score", "--value", value, "--n", n, *rest)
    assert (done.returncode, done.stderr) == (code, "")
    assert said in " ".join(done.stdout.split())


def test_as_json_it_is_what_python_returns():
    done = call("audit-score", "--value", "0.71", "--n", "80", "--target", "0.7", "--json")
    found = harness.audit_score(0.71, 80, target=0.7)
    assert json.loads(done.stdout) == json.loads(found.model_dump_json())
    assert json.loads(done.stdout)["exit_code"] == 5


def test_a_given_sd_decides_an_assumed_one_is_called_so_and_neither_hides_the_widest():
    given = harness.audit_score(0.71, 800, target=0.68, sd=0.3)
    assert given.verdict == "above"
    assert "as given" in given.deciding.method
    assert given.widest.low < 0.68
    assumed = harness.audit_score(0.71, 800, target=0.67, metric="ndcg@10")
    assert assumed.deciding.sd == MEASURED["ndcg"].values
    assert "assumed" in assumed.deciding.method
    unknown = harness.audit_score(0.71, 800, target=0.68, metric="rbp(0.8)@10")
    assert unknown.deciding is unknown.widest
    assert unknown.verdict == "not resolvable"


@pytest.mark.parametrize("metric", ["hit_rate@10", "success@5", "precision@1"])
def test_a_share_of_queries_has_exact_bounds(metric: str):
    found = harness.audit_score(0.8, 100, target=0.7, metric=metric)
    assert "Clopper-Pearson" in found.deciding.method
    assert found.usual is None
    assert (found.widest.low, found.widest.high) == pytest.approx((0.7082, 0.8733), abs=1e-4)
    assert found.verdict == "above"


def test_a_reference_is_judged_by_the_difference():
    found = harness.audit_score(0.71, 80, reference_value=0.65, sd=0.2)
    assert found.verdict == "above"
    assert (found.deciding.low, found.deciding.high) == pytest.approx((0.0155, 0.1045), abs=1e-4)
    assert found.widest.low < -0.2
    assert harness.audit_score(0.71, 80, reference_value=0.65).verdict == "not resolvable"
    assert harness.audit_score(0.2, 80, reference_value=0.9).verdict == "below"
    few = harness.audit_score(0.9, 5, reference_value=0.1, sd=0.1)
    assert few.verdict == "not resolvable"  # five coins: 2 * 0.5 ** 5


def test_as_many_queries_as_are_needed_do_resolve_it():
    for more in ({}, {"sd": 0.3}, {"metric": "hit_rate@10"}):
        found = harness.audit_score(0.73, 80, target=0.7, **more)
        assert found.needed is not None
        again = harness.audit_score(0.73, found.needed, target=0.7, **more)
        assert (again.verdict, again.needed) == ("above", None)


def test_everything_that_cannot_be_is_refused_at_once_with_2():
    with pytest.raises(harness.HarnessError) as caught:
        harness.audit_score(71, 0, target=70)
    assert caught.value.exit_code == 2
    assert len(caught.value.problems) == 3
    assert "Divide percentages by 100: 0.71." in caught.value.problems[1]
    both = "give either a target or a reference value, got both"
    with pytest.raises(harness.HarnessError, match=both):
        harness.audit_score(0.7, 9, target=0.7, reference_value=0.7)
    with pytest.raises(harness.HarnessError, match=r"at most 0\.46"):
        harness.audit_score(0.7, 80, target=0.6, sd=0.5)
    with pytest.raises(harness.HarnessError, match="sd: not possible"):
        harness.audit_score(1.0, 80, target=0.6, sd=0.1)
    with pytest.raises(harness.HarnessError, match="unknown name"):
        harness.audit_score(0.7, 80, target=0.6, metric="nd@10")
