"""Compared: runs of any systems against judgements, by the statistics of a suite, without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.collection import Collection, Judgements
from harness.collection.frames import read_grades
from harness.collection.load import build
from harness.errors import ExitCode, HarnessError, no_such
from harness.results.comparison import Comparison, Edge, Sizes
from harness.results.comparison import compare as compare_cards
from harness.results.gathering import card_scores
from harness.results.values import Score
from harness.runs.formats import GivenRun, ScoreKind
from harness.runs.metrics import Metric, Scorecard, parse_metric, score
from harness.runs.trec import ImportedRun, read_whole_run
from harness.suite.spec import DecisionSpec, Suite

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from harness.api.steps import Place

_COLLECTION = "judgements"  # in whose place these are, in tables and for the seed of the tests
_JUDGED_DEPTH = 10  # of `judged_at_10`
_SEED: int = Suite.model_fields["seed"].default
_SIZES = DecisionSpec()


def compare(
    runs: Mapping[str, Place | Any],
    judgements: Place | Any,
    *,
    metrics: Sequence[str] = ("ndcg@10",),
    baseline: str | None = None,
    scores: ScoreKind | None = None,
    gain: float = _SIZES.gain,
    margin: float = _SIZES.margin,
    seed: int = _SEED,
) -> Compared:
    """Compare runs query by query: every two of them, or each with a baseline.

    Queries without a relevant document are left out, and one that a run does not answer scores 0.
    The numbers are those of a suite with these runs and seed and a collection named "judgements".

    Args:
        runs: by name, at least two: {query: {document: score}}, a DataFrame with columns such as
            query_id, document_id and score, a ranx `Run`, or the path of a TREC run, of ranx's
            JSON, or of a Parquet or CSV file.
        judgements: {query: {document: grade}}, a DataFrame, a ranx `Qrels`, or a path.
        metrics: such as "ndcg@10"; those of ranks.
        baseline: the run that all others are compared with; None compares every two.
        scores: what the scores are where ranks contradict them: "similarity", "distance" (smaller
            is better) or "ranks".
        gain: smallest difference that matters.
        margin: loss that does not matter.
        seed: of the permutation tests.

    Raises:
        HarnessError: a run or the judgements cannot be read or do not belong together, or a metric
            or the baseline does not exist.
    """
    parsed = tuple(dict.fromkeys(map(_of_ranks, metrics)))
    _check_names(runs, parsed, baseline)
    raw = read_grades(_plain(judgements), "judgements")
    judged = build(raw, name=_COLLECTION, split="all")
    asked = len(raw.split(judged.split).queries.ids)
    depth = max(_JUDGED_DEPTH, *(metric.cutoff for metric in parsed))
    warnings = []
    if asked > len(judged.query_ids):
        left_out = f"{asked - len(judged.query_ids):,} of {asked:,} judged queries"
        warnings.append(f"{left_out} have no relevant document and are left out.")
    cards: dict[str, Scorecard] = {}
    for name, given in runs.items():
        found = read_whole_run(
            _source(name, given),
            query_ids=judged.query_ids,
            judged=judged.document_ids,
            depth=depth,
            scores=scores,
        )
        warnings += _doubts(name, found.imported, judged)
        grades = _among(judged, found.document_ids)
        cards[name] = score(found.imported.run, grades, parsed, n_queries=len(judged.query_ids))
    comparisons = compare_cards(
        cards,
        _edges(list(runs), baseline),
        parsed,
        collection=_COLLECTION,
        seed=seed,
        sizes=Sizes(gain=gain, margin=margin),
    )
    return Compared(cards, judged.query_ids, comparisons, tuple(warnings), margin)


@dataclass(frozen=True, repr=False)
class Compared:
    """What `compare` found, as DataFrames, figures and values that a notebook shows.

    Attributes:
        cards: per-query values of each run, in the order in which they were given.
        query_ids: that are judged, in the order of these values.
        pairs: a comparison for each metric and pair; `reference` is the run that was given first,
            or the baseline.
        warnings: about the runs, each a sentence.
        margin: loss that does not matter.
    """

    cards: Mapping[str, Scorecard]
    query_ids: tuple[str, ...]
    pairs: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    margin: float

    @property
    def metrics(self) -> list[str]:
        """Their names."""
        return list(next(iter(self.cards.values())).values)

    @property
    def means(self) -> list[Score]:
        """The mean of each run in each metric, with its interval."""
        return [
            each
            for name, card in self.cards.items()
            for each in card_scores(card, name, _COLLECTION)
        ]

    @property
    def scores(self) -> pd.DataFrame:
        """A row per run and metric: mean, 95% interval (low, high), n."""
        import pandas as pd

        rows = [each.model_dump(exclude={"collection", "by_seed"}) for each in self.means]
        return pd.DataFrame(rows)

    @property
    def comparisons(self) -> pd.DataFrame:
        """A row per metric and pair: difference, intervals, p, wins, MDE, verdict.

        `low` and `high` are of the pair alone, `family_low` and `family_high` hold for all pairs of
        the metric together, and so does `p_adjusted`.
        """
        import pandas as pd

        return pd.DataFrame([asdict(each) for each in self.pairs]).drop(columns="collection")

    @property
    def per_query(self) -> pd.DataFrame:
        """A row per run, query and metric: its value."""
        import pandas as pd

        parts = [
            pd.DataFrame(
                {"candidate": name, "query_id": self.query_ids, "metric": metric, "value": values}
            )
            for name, card in self.cards.items()
            for metric, values in card.values.items()  # noqa: PD011 - no DataFrame
        ]
        return pd.concat(parts, ignore_index=True)

    @property
    def markdown(self) -> str:
        """The tables of scores and pairs as Markdown."""
        from reports import leaderboard

        return leaderboard.written(leaderboard.of_runs(self.means, self.pairs), "markdown")

    @property
    def latex(self) -> str:
        """The same as LaTeX, with booktabs and amssymb."""
        from reports import leaderboard

        return leaderboard.written(leaderboard.of_runs(self.means, self.pairs), "latex")

    def figure(self, metric: str | None = None) -> Figure:
        """Return the difference of every pair with its interval, as a plotly figure.

        Args:
            metric: None takes the first.

        Raises:
            HarnessError: there is no such metric.
        """
        from reports import figures

        wanted = self.metrics[0] if metric is None else str(parse_metric(metric))
        if wanted not in self.metrics:
            problem = no_such("metric", wanted, self.metrics)
            raise HarnessError(problem, exit_code=ExitCode.USAGE)
        found = [each for each in self.pairs if each.metric == wanted]
        return figures.pairs(found, margin=self.margin)

    def __repr__(self) -> str:
        from reports import wording

        return "\n".join(wording.pair(c) for c in self.pairs if c.metric == self.metrics[0])

    def __str__(self) -> str:
        from reports import notebook, terminal

        return notebook.text(terminal.compared(self.means, self.pairs, self.warnings))

    def _repr_html_(self) -> str:
        from reports import notebook

        return notebook.compared(self.means, self.pairs, self.warnings)


def _of_ranks(text: str) -> Metric:
    metric = parse_metric(text)
    if metric.in_tokens:
        raise HarnessError(
            f"metric '{text}': needs the texts of the documents, and runs have none. Run a suite.",
            exit_code=ExitCode.USAGE,
        )
    return metric


def _check_names(runs: Mapping[str, Any], metrics: Sequence[Metric], baseline: str | None) -> None:
    if len(runs) < 2 or not metrics:
        got = f"{len(runs)} of runs and {len(metrics)} of metrics"
        raise HarnessError(
            f"compare: needs at least two runs and one metric, got {got}. Give more.",
            exit_code=ExitCode.USAGE,
        )
    if baseline is not None and baseline not in runs:
        raise HarnessError(no_such("run", baseline, list(runs)), exit_code=ExitCode.USAGE)


def _edges(names: Sequence[str], baseline: str | None) -> list[Edge]:
    """Return what is compared: each with the baseline, or with those that were given before it."""
    if baseline is not None:
        return [(name, baseline, "baseline") for name in names if name != baseline]
    return [(later, first, "pair") for first, later in combinations(names, 2)]


def _plain(given: Any) -> Any:
    """Return what ranx holds as the mapping that it stands for."""
    is_ranx = type(given).__module__.partition(".")[0] == "ranx"
    return given.to_dict() if is_ranx else given


def _source(name: str, given: Any) -> Path | GivenRun:
    if isinstance(given, str | Path):
        return Path(given)
    return GivenRun(f"runs[{name!r}]", _plain(given))


def _among(judged: Collection, document_ids: Sequence[str]) -> Judgements:
    """Return the judgements with the rows that their documents have among others."""
    rows = {key: row for row, key in enumerate(document_ids)}
    places = np.array([rows[key] for key in judged.document_ids], dtype=np.int32)
    given = judged.judgements
    return Judgements(given.queries, places[given.documents], given.grades)


def _doubts(name: str, found: ImportedRun, judged: Collection) -> list[str]:
    """Return what is odd about a run, a sentence each."""
    said = []
    if found.missing_queries:
        first = ", ".join(found.missing_queries[:3])
        said.append(
            f"run '{name}' misses {len(found.missing_queries):,} of {len(judged.query_ids):,} "
            f"judged queries ({first}, …), which score 0."
        )
    if found.contradicted:
        said.append(
            f"run '{name}' has {found.contradicted:,} queries whose rank column contradicts the "
            "scores, which decide."
        )
    return said
