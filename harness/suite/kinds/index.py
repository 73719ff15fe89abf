"""Index: the parent's vectors, searched approximately."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from harness.suite.kinds.kind import Compression, KeyProblem, RestOfSuite, compressions
from harness.suite.kinds.quantize import Quantize
from harness.suite.table import Spec

IndexType = Literal["hnsw", "ivf", "ivfpq", "rabitq"]

_NAMES: Mapping[IndexType, str] = {
    "hnsw": "HNSW",
    "ivf": "IVF",
    "ivfpq": "IVFPQ",
    "rabitq": "RaBitQ",
}
_KEYS: Mapping[IndexType, tuple[str, ...]] = {
    "hnsw": ("m", "ef_construction", "ef_search"),
    "ivf": ("lists", "probes"),
    "ivfpq": ("lists", "probes", "pq"),
    "rabitq": ("lists", "probes"),
}
# Bits a dimension that an index holds, about: what is coarser is smaller.
_BITS: Mapping[IndexType, int] = {"hnsw": 32, "ivf": 32, "ivfpq": 4, "rabitq": 1}


class IndexSpec(Spec):
    """The table of an approximate index, with FAISS's names and its usual values.

    Attributes:
        type: "hnsw", a graph of neighbours (Malkov & Yashunin 2018); "ivf", inverted lists around
            centroids; "ivfpq", such lists of product-quantised residuals (Jégou et al. 2011);
            "rabitq", such lists of one bit a dimension after a random rotation (Gao & Long 2024).
        m: neighbours of a node.
        ef_construction: candidates kept while a node is inserted.
        ef_search: candidates kept during a search; FAISS never keeps fewer than the ranks wanted,
            100 or more in a run.
        lists: centroids; None takes 4 times the root of the documents, fewer where a list would
            have less than 39 documents, which FAISS wants to train a centroid.
        probes: lists that a query visits; None takes a sixteenth, and 4 at least.
        pq: bytes of a document; None takes the largest divisor of the width up to 64 and a quarter
            of the width.
    """

    type: IndexType
    m: int = Field(default=32, ge=2, le=256)
    ef_construction: int = Field(default=200, ge=1)
    ef_search: int = Field(default=128, ge=1)
    lists: int | None = Field(default=None, ge=1)
    probes: int | None = Field(default=None, ge=1)
    pq: int | None = Field(default=None, ge=1)

    @property
    def foreign(self) -> list[str]:
        """The keys that say nothing about an index of this type."""
        return sorted(self.model_fields_set - {"type", *_KEYS[self.type]})

    @property
    def name(self) -> str:
        """The type as it is written."""
        return f"{_NAMES[self.type]} index"

    @property
    def settings(self) -> str:
        """What is set, such as "m 32, ef_search 64"."""
        values = {key: getattr(self, key) for key in _KEYS[self.type]}
        return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


class Index(Compression):
    """``index = { type = "hnsw" }``: the parent's vectors, found through an approximate index.

    Of several compressions in a chain it comes last: what the index holds is the parent's vectors,
    truncated or quantised as they are. It saves time, and bytes where it holds codes of its own.

    Attributes:
        index: its type and parameters.
        rescore: finds this multiple of the run's depth through the index and reorders it by the
            parent's vectors before quantisation, which are kept beside it.
    """

    word: ClassVar[str] = "index"
    action: ClassVar[str] = "index"
    is_last: ClassVar[bool] = True

    index: IndexSpec
    rescore: int | None = Field(default=None, ge=1, le=100)

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        again = f", top {self.rescore} times the depth rescored" if self.rescore else ""
        settings = f" ({self.index.settings})" if self.index.settings else ""
        return f"{self.index.name}{settings}{again}"

    @property
    def size(self) -> float:
        """Bits a dimension, about."""
        return _BITS[self.index.type]

    @property
    def series(self) -> str:
        """Each index is tested by itself: of two, neither is milder."""
        return self.summary

    @property
    def left(self) -> str:
        """What is left."""
        return f"{self.index.name}{', rescored' if self.rescore else ''}"

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        index, holds_codes = self.index, self.index.type in {"ivfpq", "rabitq"}
        for key in index.foreign:
            known = ", ".join(f"'{each}'" for each in _KEYS[index.type])
            yield (("index", key), f"'{key}' is no parameter of '{index.type}'. Known: {known}.")
        if index.lists is not None and (index.probes or 0) > index.lists:
            yield (
                ("index", "probes"),
                f"{index.probes} probes of {index.lists} lists. Give at most {index.lists}.",
            )
        chain = compressions(suite.typed, self.parent)
        quantised = next((spec for spec in chain if isinstance(spec, Quantize)), None)
        if quantised is not None and holds_codes:
            text = f"'{self.parent}' is quantised already, and '{index.type}' has codes of its own."
            yield ("from",), f"{text} Index '{quantised.parent}', or take 'hnsw' or 'ivf'."
        elif quantised is None and self.rescore is not None and not holds_codes:
            yield (
                ("rescore",),
                f"'{index.type}' holds the vectors and orders by them already. Remove it.",
            )
