"""Truncate: the first dimensions of the parent's vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.plan.candidates import DenseBuilder
from harness.plan.dense import DenseModel
from harness.suite.kinds.truncate import Truncate


class TruncateBuilder(DenseBuilder[Truncate]):
    """The first dimensions of the parent's vectors."""

    def dense(self) -> DenseModel:
        """Return the parent's model at fewer dimensions."""
        return replace(self.planner.dense(self.spec.parent), width=self.spec.truncate)

    def problems(self) -> Iterator[str]:
        """Yield a width that the vectors do not have, and warn of one that was not trained."""
        dense, width = self.planner.dense(self.name), self.spec.truncate
        if dense.dimension is not None and width > dense.dimension:
            yield (
                f"truncate = {width}: '{dense.owner}' has {dense.dimension} dimensions. "
                f"Give at most {dense.dimension}."
            )
        elif width not in (*dense.trained_widths, dense.dimension):
            known = ", ".join(map(str, dense.trained_widths))
            declared = f"the Matryoshka widths {known}" if known else "no Matryoshka widths"
            self.planner.warnings.append(
                f"'{self.name}': '{dense.owner}' declares {declared}. If it was trained for "
                f"{width} dimensions, list them under matryoshka = [...]."
            )
        if dense.similarity == "dot":
            self.planner.warnings.append(
                f"'{self.name}': a truncation is normalised, while '{dense.owner}' is "
                "compared by dot product; the length of its vectors is lost."
            )
