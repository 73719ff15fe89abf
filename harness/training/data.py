"""Training data: texts in the columns that sentence-transformers expects, with their origins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.collection.texts import normalise
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest, text_hashes
from harness.stage import unkeyed

Shape = Literal["pairs", "triplets", "labelled", "scored", "texts"]

# The columns of each shape, in sentence-transformers' order.
_COLUMNS: Mapping[Shape, tuple[str, ...]] = {
    "pairs": ("anchor", "positive"),
    "triplets": ("anchor", "positive", "negative"),
    "labelled": ("sentence1", "sentence2"),
    "scored": ("sentence1", "sentence2"),
    "texts": ("text",),
}


@dataclass(frozen=True)
class Origin:
    """Where training data come from, and what became of the rows that were read.

    Attributes:
        name: as the suite calls it: ``<collection>:<split>``, or the name of a training table.
        source: as the suite says it.
        licence: as the source or the suite states it, or "".
        synthetic: the texts were written by a model.
        read: rows that were read.
        kept: rows that are left.
        dropped: rows that are not, by reason.
    """

    name: str
    source: str = ""
    licence: str = ""
    synthetic: bool = False
    read: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Distinct rows of texts to train on, in the order in which they were read.

    `distinct` and `merge` make it.

    Attributes:
        shape: what a row is: a pair (anchor, positive), the same with one or more negatives, two
            sentences with a label 0 or 1, two sentences with a score, or a text alone.
        columns: parallel texts, by sentence-transformers' name of the column and in its order;
            several negatives are ``negative_1``, ``negative_2``, …
        labels: of "labelled" and "scored" rows, float64 [n]; None otherwise.
        origins: where the rows come from.
    """

    shape: Shape
    columns: Mapping[str, Sequence[str]] = field(repr=False)
    labels: npt.NDArray[np.float64] | None = field(default=None, repr=False)
    origins: tuple[Origin, ...] = field(default=(), metadata=unkeyed("for people"))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @cached_property
    def key(self) -> str:
        """Content key of the rows in their order; neither names nor origins are part of it."""
        texts = [[name, text_hashes(column)] for name, column in self.columns.items()]
        return digest("training data", self.shape, texts, self.labels)

    @property
    def synthetic(self) -> bool:
        """Whether a model wrote some of the texts."""
        return any(origin.synthetic for origin in self.origins)

    @property
    def licences(self) -> tuple[str, ...]:
        """The distinct licences of the texts, "" for one that is not stated."""
        return tuple(dict.fromkeys(origin.licence for origin in self.origins))

    @property
    def negatives(self) -> int:
        """How many negatives each row has."""
        return sum(name.startswith("negative") for name in self.columns)

    def texts(self) -> Iterable[str]:
        """Return all texts, column after column."""
        return chain.from_iterable(self.columns.values())

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Return the texts row by row."""
        return zip(*self.columns.values(), strict=True)

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> TrainingData:
        """Return these rows in this order. The origins still tell of all that was read."""
        columns = {name: [texts[row] for row in rows] for name, texts in self.columns.items()}
        labels = None if self.labels is None else self.labels[np.asarray(rows, dtype=np.intp)]
        return replace(self, columns=columns, labels=labels)

    def origin_of(self, row: int) -> Origin:
        """Return where a row comes from, of data that `merge` made and nobody took rows of."""
        for origin in self.origins:
            if row < origin.kept:
                return origin
            row -= origin.kept
        raise IndexError(row)

    def without(self, rows: Collection[int], *, because: str) -> TrainingData:
        """Return the other rows; the origins tell why these are left out."""
        lost = Counter(id(self.origin_of(row)) for row in rows)
        origins = [
            replace(origin, kept=origin.kept - n, dropped={**origin.dropped, because: n})
            if (n := lost[id(origin)])
            else origin
            for origin in self.origins
        ]
        left = [row for row in range(len(self)) if row not in rows]
        return replace(self.take(left), origins=tuple(origins))

    def with_negatives(self, negatives: Sequence[Sequence[str]]) -> TrainingData:
        """Return pairs as triplets.

        Args:
            negatives: of each pair, all as many.

        Raises:
            ValueError: the rows are no pairs, or there is no even number of negatives for each.
        """
        counts = {len(each) for each in negatives}
        if self.shape != "pairs" or len(negatives) != len(self) or len(counts) != 1 or 0 in counts:
            raise ValueError(f"{len(self)} {self.shape} cannot take negatives of {sorted(counts)}")
        columns = zip(*negatives, strict=True)
        names = column_names("triplets", counts.pop())[2:]
        more = {name: list(texts) for name, texts in zip(names, columns, strict=True)}
        return replace(self, shape="triplets", columns={**self.columns, **more})


def column_names(shape: Shape, negatives: int = 1) -> tuple[str, ...]:
    """Return the columns of a shape; `negatives` counts for triplets alone."""
    if shape != "triplets" or negatives == 1:
        return _COLUMNS[shape]
    return (*_COLUMNS["pairs"], *(f"negative_{number + 1}" for number in range(negatives)))


def distinct(
    shape: Shape,
    rows: Sequence[Sequence[str]],
    *,
    origin: Origin,
    labels: Sequence[float] | None = None,
) -> TrainingData:
    """Return rows as training data: trimmed, none of them empty, each once.

    Two rows are the same if their texts are equal once case, Unicode form and spaces are put aside;
    the first one stays. A pair whose two sides are the same teaches nothing and is dropped.

    Args:
        shape: of the rows.
        rows: texts in the order of the columns; for triplets two and one or more negatives.
        origin: `read` and `dropped` tell what the reader saw; what is dropped here is added.
        labels: parallel to the rows, where the shape has them.
    """
    dropped = Counter(origin.dropped)
    kept: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows):
        form = _form(row)
        if not all(form):
            dropped["empty"] += 1
        elif labels is None and len(form) > 1 and form[0] == form[1]:
            dropped["both sides the same"] += 1
        elif form in kept:
            dropped["duplicate"] += 1
        else:
            kept[form] = number
    names = column_names(shape, len(rows[0]) - 2 if len(rows) else 1)
    return TrainingData(
        shape=shape,
        columns={
            name: [rows[number][place].strip() for number in kept.values()]
            for place, name in enumerate(names)
        },
        labels=None if labels is None else np.array([labels[number] for number in kept.values()]),
        origins=(replace(origin, kept=len(kept), dropped=dict(dropped)),),
    )


def merge(parts: Sequence[TrainingData]) -> TrainingData:
    """Return the rows of all parts, one part after the other; a row of two parts is kept once.

    Raises:
        HarnessError: exit code 2, the parts differ in shape.
    """
    first = parts[0]
    if any(
        tuple(part.columns) != tuple(first.columns) or part.shape != first.shape for part in parts
    ):
        each = ", ".join(f"'{part.origins[0].name}' has {part.shape}" for part in parts)
        raise HarnessError(
            f"data of different shapes cannot be mixed: {each}. Name data of one shape.",
            exit_code=ExitCode.USAGE,
        )
    seen: set[tuple[str, ...]] = set()
    kept = []
    for part in parts:
        forms = [_form(row) for row in part.rows()]
        rows = [row for row, form in enumerate(forms) if form not in seen]
        seen.update(forms)
        if twice := len(part) - len(rows):
            *others, last = part.origins
            dropped = {**last.dropped, "also in other data": twice}
            last = replace(last, kept=last.kept - twice, dropped=dropped)
            kept.append(replace(part.take(rows), origins=(*others, last)))
        else:
            kept.append(part)
    labels = [part.labels for part in kept if part.labels is not None]
    return TrainingData(
        shape=first.shape,
        columns={
            name: [text for part in kept for text in part.columns[name]] for name in first.columns
        },
        labels=np.concatenate(labels) if labels else None,
        origins=tuple(origin for part in kept for origin in part.origins),
    )


def shared_rows(data: TrainingData, other: TrainingData) -> int:
    """Return how many rows of data are rows of other data, too, by their first two texts."""
    known = {_form(row[:2]) for row in other.rows()}
    return sum(_form(row[:2]) in known for row in data.rows())


def _form(row: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(normalise, row))
