"""Spec: what every table of the suite file is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Dtype = Literal["auto", "float32", "float16", "bfloat16"]
EngineChoice = Literal["auto", "torch", "openvino", "onnx"]
Similarity = Literal["cosine", "dot"]
Widths = list[Annotated[int, Field(ge=1)]]


class Spec(BaseModel):
    """A table of the suite file: frozen, strictly typed, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True
    )
