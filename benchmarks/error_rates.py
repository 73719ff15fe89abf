"""Error rates, coverage and power of the statistics, before and after what is done about them.

Simulated, with fixed seeds: prints the tables of `error_rates.md`.
"Before" is the textbook method: Student's t, unadjusted bounds, Satterthwaite, (G* - 1).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from populations import POPULATIONS, family
from scipy import stats

from harness.statistics import paired
from harness.statistics.families import max_t
from harness.statistics.inferiority import Bounds, difference_bounds
from harness.statistics.seeds import SeedSpread

PAIRS, FAMILIES, SPREADS = 4000, 300, 4000


def percent(before: object, after: object) -> str:
    """Return two rates in percent."""
    return f"{100 * np.mean(before):.1f} → {100 * np.mean(after):.1f}"


def pairs() -> None:
    """Print how often intervals and p of a pair err, and the power of shifted differences."""
    print("| n | " + " | ".join(POPULATIONS) + " |\n| ---: |" + " --- |" * len(POPULATIONS))
    for n in (30, 50, 100, 300, 1000):
        cells = []
        for draw in POPULATIONS.values():
            differences = draw(np.random.default_rng([1, n]), (n, PAIRS))
            tests = paired(differences, seed=n, permutations=399)
            plain = stats.ttest_1samp(differences, 0).pvalue <= 0.05
            cells.append(percent(plain, (tests.low > 0) | (tests.high < 0)))
            cells[-1] += f" / {100 * np.mean(tests.p <= 0.05):.1f}"
            gained = differences + 2.8 * differences.std() / np.sqrt(n)
            before = stats.ttest_1samp(gained, 0, alternative="greater").pvalue <= 0.025
            found = paired(gained, seed=n, permutations=1)
            cells[-1] += f"; {percent(before, found.low > 0)}"
        print(f"| {n} | " + " | ".join(cells) + " |", flush=True)


def families() -> None:
    """Print how often a family makes any false claim."""
    names = ("exchangeable", "skewed", "very skewed")
    print("\n| n | candidates | " + " | ".join(names) + " |\n| ---: | ---: |" + " --- |" * 3)
    for n in (30, 100, 300, 1000):
        for candidates in (1, 5, 20):
            cells = []
            for name in names:
                before, after = [], []
                for seed in range(FAMILIES if n < 1000 else FAMILIES // 2):
                    drawn = family(name, np.random.default_rng([n, seed]), (n, candidates))
                    tests = max_t(drawn, seed=seed, permutations=399)
                    spread = drawn.std(axis=0, ddof=1) / np.sqrt(n)
                    before.append(
                        bool((np.abs(drawn.mean(axis=0)) > tests.critical * spread).any())
                    )
                    after.append(bool(tests.p_adjusted.min() <= 0.05))
                cells.append(percent(before, after))
            print(f"| {n} | {candidates} | " + " | ".join(cells) + " |", flush=True)


def equivalence() -> None:
    """Print how often any of a family is called equivalent though all lose the margin."""
    print("\n| candidates | any false equivalent, n = 1,500 |\n| ---: | --- |")
    for candidates in (1, 5, 10):
        before, after = [], []
        rng = np.random.default_rng(25)
        for seed in range(FAMILIES):
            changed = rng.random((1500, candidates)) < 0.1
            drawn = np.where(changed, rng.choice([-0.5, 0.3], (1500, candidates)), 0)
            critical = max_t(drawn, seed=seed, permutations=399).one_sided
            before.append(_equivalent(difference_bounds(drawn)).any())
            after.append(_equivalent(difference_bounds(drawn, critical=critical)).any())
        print(f"| {candidates} | {percent(before, after)} |", flush=True)


def _equivalent(found: Bounds) -> np.ndarray:
    return (found.low > -0.01) & (found.high < 0.01)


def detectable() -> None:
    """Print the power at the detectable effect that a family of ten prints."""
    print("\n| n | power at the effect of a single test → of the family of 10 |\n| ---: | --- |")
    rng = np.random.default_rng(26)
    for n in (30, 100, 300):
        hits: tuple[list[bool], list[bool]] = ([], [])
        for seed in range(FAMILIES):
            noise = rng.normal(0, 0.3, size=(n, 10))
            family_mde = max_t(noise, seed=seed, permutations=399).mde
            single_mde = paired(noise, seed=seed, permutations=1).mde
            for effect, found in zip((single_mde, family_mde), hits, strict=True):
                shifted = noise + effect * (np.arange(10) == 0)
                tests = max_t(shifted, seed=seed, permutations=399)
                found.append(bool(tests.p_adjusted[0] <= 0.05))
        print(f"| {n} | {percent(*hits)} |", flush=True)


def seeds() -> None:
    """Print the coverage over queries and seeds."""
    ratios = (0.3, 1, 3)
    print(
        "\n| seeds | "
        + " | ".join(f"sd {ratio} SE" for ratio in ratios)
        + " |\n| ---: |"
        + 3 * " --- |"
    )
    for count in (2, 3, 5):
        cells = []
        for ratio in ratios:
            rng = np.random.default_rng(23)
            before, after = [], []
            for _ in range(SPREADS):
                means = 0.01 * (rng.normal() + ratio * rng.normal(size=count))
                spread = SeedSpread(float(means.mean()), means, 0.01, 199)
                share = np.array([0.01, spread.se_seeds]) ** 2 / spread.se**2
                dof = 1 / (share**2 / [199, count - 1]).sum()
                before.append(abs(spread.difference) <= stats.t.ppf(0.975, dof) * spread.se)
                after.append(abs(spread.difference) <= spread.half_width(0.95))
            cells.append(percent(before, after))
        print(f"| {count} | " + " | ".join(cells) + " |", flush=True)


def clusters() -> None:
    """Print the coverage of intervals over clusters of unequal sizes."""
    kinds = {
        "Zipf, 30, the largest 60 of 240": np.maximum(1, np.round(60 / np.arange(1, 31))).astype(
            int
        ),
        "Zipf, 100, the largest 60 of 320": np.maximum(1, np.round(60 / np.arange(1, 101))).astype(
            int
        ),
        "geometric, 60": 1 + np.random.default_rng(0).geometric(0.3, size=60),
        "equal, 10": np.full(10, 5),
    }
    within = (0.0, 0.1, 0.3, 0.6)
    print(
        "\n| clusters | "
        + " | ".join(f"ICC {icc:g}" for icc in within)
        + " |\n| --- |"
        + 4 * " --- |"
    )
    for kind, sizes in kinds.items():
        cells = []
        member = np.repeat(np.arange(len(sizes)), sizes)
        for icc in within:
            rng = np.random.default_rng(24)
            shape = (len(member), PAIRS)
            drawn = np.sqrt(icc) * rng.normal(size=(len(sizes), PAIRS))[member]
            drawn += np.sqrt(1 - icc) * rng.normal(size=shape)
            tests = paired(drawn, seed=1, permutations=1, clusters=member)
            dof = max(1, (sizes**2).sum() ** 2 / (sizes.astype(float) ** 4).sum() - 1)
            before = np.abs(tests.difference) <= stats.t.ppf(0.975, dof) * tests.se
            cells.append(percent(before, (tests.low <= 0) & (tests.high >= 0)))
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    pairs()
    families()
    equivalence()
    detectable()
    seeds()
    clusters()
