"""Engine: what answers a single query where its latency is measured, as a server would."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from functools import cache
from typing import Literal

SearchEngine = Literal["faiss-gpu", "faiss-cpu", "torch"]


def best_engine() -> SearchEngine:
    """Return the best that is installed: FAISS on a GPU, FAISS on the CPU, or torch."""
    if importlib.util.find_spec("faiss") is None:
        return "torch"
    try:
        import faiss
    except (ImportError, RuntimeError):
        # faiss-gpu without its CUDA libraries raises RuntimeError.
        return "torch"
    return "faiss-gpu" if faiss.get_num_gpus() > 0 else "faiss-cpu"


@cache
def engine_package() -> str:
    """Return the package of the engine, without importing it: timings are keyed by it."""
    for name in ("faiss-gpu", "faiss-cpu"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    return "torch"
