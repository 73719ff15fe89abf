"""Races: two ways to the same result are timed in turn, and the ratio is told with its range."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

SHARED = Path(__file__).parents[2] / "shared"


class SkippedError(Exception):
    """A benchmark cannot run on this machine; the message says why."""


class DifferentError(Exception):
    """Two ways that should give the same do not; the message says what differs."""


class Took(NamedTuple):
    """What a function returned, and the seconds that it took by the clock and of CPUs."""

    found: Any
    seconds: float
    cpu: float


class Limit(NamedTuple):
    """A quantity beside the ratio, and what it may be at most, or should be at least."""

    value: float
    bound: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is kept."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        workload: what both do, and its size.
        peer: who else does it.
        seconds: ours, by the clock, a round.
        ratios: peer / ours, by the clock, a round; above 1 we are faster.
        cpu_ratios: the same of CPU seconds; empty where they say nothing.
        target: that the median ratio should reach; None where none is set.
        limits: other quantities that are aimed at.
    """

    workload: str
    peer: str
    seconds: list[float]
    ratios: list[float] = field(default_factory=list)
    cpu_ratios: list[float] = field(default_factory=list)
    target: float | None = None
    limits: tuple[Limit, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The median."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether all that is aimed at is reached; None where nothing is."""
        if self.target is None and not self.limits:
            return None
        reached = self.target is None or (self.ratio or 0.0) >= self.target
        return reached and all(limit.met for limit in self.limits)


def race(
    workload: str,
    peer_name: str,
    *,
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    same: Callable[[Any, Any], bool],
    target: float | None = None,
    rounds: int = 5,
    times: float = 1.0,
) -> Row:
    """Run both once to warm up and compare, then in turn.

    Args:
        workload: what both do, and its size.
        peer_name: who else does it.
        ours: a function of no argument; one that measures itself returns a `Took`.
        peer: the same of the peer.
        same: whether the results of both are equal.
        target: of the ratio.
        rounds: how often each is timed.
        times: how much more than the peer's function the whole workload is.

    Raises:
        DifferentError: the results differ.
    """
    if not same(timed(ours).found, timed(peer).found):
        raise DifferentError(f"{workload}: ours and {peer_name} differ")
    taken = [(timed(ours), timed(peer)) for _ in range(rounds)]
    return Row(
        workload,
        peer_name,
        seconds=[mine.seconds for mine, _ in taken],
        ratios=[times * other.seconds / mine.seconds for mine, other in taken],
        cpu_ratios=[times * other.cpu / mine.cpu for mine, other in taken if mine.cpu > 0],
        target=target,
    )


def timed(function: Callable[[], Any]) -> Took:
    """Call a function and time it, unless it has measured itself."""
    started, cpu = time.perf_counter(), time.process_time()
    found = function()
    if isinstance(found, Took):
        return found
    return Took(found, time.perf_counter() - started, time.process_time() - cpu)


def in_child(
    function: Callable[..., Any], *arguments: object, environment: Mapping[str, str]
) -> Took:
    """Call a function of a module of this folder in a process of its own.

    Args:
        function: takes texts and returns a `Took` of what JSON can hold: the child measures.
        arguments: given as texts.
        environment: variables of the child.
    """
    module, name = function.__module__, function.__name__
    code = f"import json, sys, {module} as it; print(json.dumps(it.{name}(*sys.argv[1:])))"
    done = subprocess.run(  # noqa: S603 our own code
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parent,
        env=dict(environment),
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    return Took(*json.loads(done.stdout.splitlines()[-1]))


def shared(*parts: str) -> Path:
    """Return a file or folder of ../shared.

    Raises:
        SkippedError: it is not there.
    """
    path = SHARED.joinpath(*parts)
    if not path.exists():
        raise SkippedError(f"../shared/{'/'.join(parts)} is not on this machine")
    return path
