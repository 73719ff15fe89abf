"""Time two functions in turn and print the ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def report(
    name: str, ours: Callable[[], object], peer: Callable[[], object], *, rounds: int = 5
) -> None:
    """Run both once to warm up, then in turn; print the median of peer / ours and its range."""
    ours(), peer()
    ratios, seconds = [], []
    for _ in range(rounds):
        mine, other = _seconds(ours), _seconds(peer)
        ratios.append(other / mine)
        seconds.append(mine)
    print(
        f"{name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"ours {statistics.median(seconds):.3f} s, {rounds} rounds"
    )


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
