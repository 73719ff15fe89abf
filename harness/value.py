"""Value: a stored value, from which every report is rendered."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A stored value: frozen, with every field known."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
