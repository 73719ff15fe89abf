"""Gates: rules that a candidate must meet before it is merged, with three answers.

`targets` what is asked of which queries · `baseline` stored per-query scores · `planning` what so
many queries can detect, before anything runs · `rules` pass, fail or inconclusive, and several
slices at once · `graded` by grades of a part of the pairs · `exact` costs and lists · `evaluate`
all gates of a finished plan · `report` what was found · `replay` the gates' own error rates · `ci`
JUnit, GitHub and GitLab · `score` whether a published mean shows what is claimed.
"""

from pathlib import Path


def baseline_path(suite: str, given: Path | None) -> Path:
    """Return where a suite's baseline lies."""
    return given or Path("baselines") / f"{suite}.parquet"
