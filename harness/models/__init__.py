"""One small adapter for each kind of model."""

from typing import Literal

Side = Literal["query", "document"]  # of a collection, which prompts and limits differ by
