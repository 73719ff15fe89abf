"""Values: what grades say of a difference, and of the model that gave some, as plain data."""

from __future__ import annotations

from harness.judging.bias import CandidateBias, GradeBias
from harness.statistics.verdicts import signed
from harness.value import Value


class ModelAlone(Value):
    """What a model's grades would say of a difference if they were true, with its 95% interval."""

    difference: float
    low: float
    high: float

    @property
    def side(self) -> int:
        """1 better, -1 worse, 0 open."""
        return int(self.low > 0) - int(self.high < 0)


class ModelGrades(Value):
    """A model that grades beside people, on one collection.

    Attributes:
        name: of the model, with its temperature where it has one.
        highest: grade that it gives.
        prompt: what it is asked, or "".
        grades, pairs: how many of the pairs have one.
        by_grade: its bias where people gave each grade; empty where they gave none.
        by_candidate: its bias in the metric of each candidate.
        kin: sentences about what it may favour.
    """

    name: str
    highest: int
    prompt: str
    grades: int
    pairs: int
    by_grade: list[GradeBias]
    by_candidate: list[CandidateBias]
    kin: list[str]

    def sentences(self, collection: str) -> list[str]:
        """Return its bias for people."""
        who = f"{self.name} on {collection}"
        if not self.by_grade:
            graded = f"{self.grades:,} of {self.pairs:,} pairs graded"
            return [f"{who}: {graded}; its bias shows as soon as people grade."]
        said = [
            f"{_share(each)} of those that people grade {each.grade} ({each.pairs:,} pairs)"
            for each in self.by_grade
        ]
        biases = [
            f"{each.candidate} {signed(each.bias)} [{signed(each.low)}, {signed(each.high)}]"
            for each in self.by_candidate
            if each.bias is not None and each.low is not None and each.high is not None
        ]
        found = [f"{who} calls relevant: {'; '.join(said)}."]
        if biases:
            found.append(
                f"{who}, the metric by its grades alone minus that by people's: "
                f"{'; '.join(biases)}."
            )
        return found


def _share(found: GradeBias) -> str:
    if found.low is None or found.high is None:
        return f"{found.relevant:.0%}"
    return f"{found.relevant:.0%} [{found.low:.0%}, {found.high:.0%}]"


class JudgedDifference(Value):
    """What the grades say of a candidate against the baseline on one collection.

    Attributes:
        difference, low, high: mean and 95% interval; None where too few queries are judged.
        settled: "better" or "worse", where looking after every doubling of the judgements still
            leaves at most 5% for a wrong sign of any candidate; else "open".
        judged: pairs whose grades count.
        n: queries.
        pairs: that can be judged.
        needed: judgements, in all, after which it is looked again and the sign shows with a power
            of 0.80, if the difference found is true; None where all pairs do not suffice, or where
            nothing is known yet.
        model_grades: of a model, over the pairs.
        weight: of the model's grades in the estimate, 0 to 1.
        model_alone: what the model's grades alone say; None where there are none.
        skipped: pairs that people skipped: they count with the model's grade, else as not relevant.
        bad_queries: that people found bad, and that are left out.
        known: judgements that the collection has.
    """

    candidate: str
    baseline: str
    collection: str
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    settled: str
    judged: int
    n: int
    pairs: int
    needed: int | None
    model_grades: int = 0
    weight: float = 0.0
    model_alone: ModelAlone | None = None
    skipped: int = 0
    bad_queries: int = 0
    known: int = 0

    @property
    def source(self) -> str:
        """How many queries and grades it rests on."""
        return source_of(
            self.n,
            self.judged,
            model_grades=self.model_grades,
            skipped=self.skipped,
            bad_queries=self.bad_queries,
        )

    @property
    def side(self) -> int:
        """What the interval says: 1 better, -1 worse, 0 open."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)

    @property
    def sentence(self) -> str:
        """The same for people."""
        who = f"'{self.candidate}' against '{self.baseline}' on {self.collection}"
        alone = self._model_alone()
        if self.difference is None or self.low is None or self.high is None:
            return f"{who}: too few queries judged to say anything ({self.source}).{alone}"
        found = f"{signed(self.difference)} {self.metric} [{signed(self.low)}, {signed(self.high)}]"
        if self.settled != "open":
            return f"{who}: {self.settled}, {found} ({self.source}).{alone}"
        if self.judged == self.pairs:
            what = "all pairs are judged: it takes more queries"
        elif self.needed is None:
            what = f"all {self.pairs:,} pairs may not settle it: it takes more queries"
        else:
            what = _in_all(self.needed, self.pairs)
        repeated = (
            "; this look's interval excludes 0, the stricter bound for repeated looks does not"
        )
        why = repeated if self.side else ""
        return f"{who}: still open, {found} ({self.source}){why}; {what}.{alone}"

    def _model_alone(self) -> str:
        """Return what the model's grades alone say, where that is another answer."""
        alone = self.model_alone
        if alone is None or (alone.side == self.side and self.difference is not None):
            return ""
        says = {1: "better", -1: "worse", 0: "open"}[alone.side]
        found = f"{says}, {signed(alone.difference)} [{signed(alone.low)}, {signed(alone.high)}]"
        if self.difference is None:
            return f" By the model's grades alone: {found}. They settle nothing."
        return f" The model's grades alone would have said {found}."


class JudgedOrder(Value):
    """How many judgements order all candidates of a collection, not only against the baseline.

    Attributes:
        candidates: how many.
        comparisons, settled: of two candidates each, and how many have a sign that is settled.
        pairs: that can be judged.
        needed: judgements, in all, that settle the others as of `JudgedDifference`; None where all
            pairs do not suffice, or nothing is left.
    """

    collection: str
    candidates: int
    comparisons: int
    settled: int
    pairs: int
    needed: int | None

    @property
    def sentence(self) -> str:
        """The same for people."""
        who = f"{self.collection}, the order of all {self.candidates} candidates"
        if self.settled == self.comparisons:
            return f"{who}: settled."
        found = f"{self.settled} of {self.comparisons} comparisons settled"
        if self.needed is None:
            return f"{who}: {found}; all {self.pairs:,} pairs may not settle all of them."
        return f"{who}: {found}; {_in_all(self.needed, self.pairs, 'all of them')}."


def _in_all(needed: int, pairs: int, what: str = "it") -> str:
    """Return how many judgements settle something, and how many there can be.

    >>> _in_all(480, 1117)
    'about 480 judgements in all would settle it (1,117 can be asked for)'
    """
    return f"about {needed:,} judgements in all would settle {what} ({pairs:,} can be asked for)"


def source_of(
    n: int, human: int, *, model_grades: int, skipped: int = 0, bad_queries: int = 0
) -> str:
    """Return what an estimate rests on, in a phrase.

    >>> source_of(300, 120, model_grades=2400)
    'n=300 queries, 120 human and 2,400 model grades'
    """
    grades = f"{human:,} human and {model_grades:,} model" if model_grades else f"{human:,} human"
    more = f", {skipped:,} skipped" if skipped else ""
    queries = f"bad {'query' if bad_queries == 1 else 'queries'}"
    bad = f", {bad_queries:,} {queries} left out" if bad_queries else ""
    return f"n={n:,} queries, {grades} grades{more}{bad}"
