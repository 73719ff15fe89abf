"""Progress for people: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.segment import Segment
from rich.text import Text

from harness.errors import counted, inert

_SECONDS_BETWEEN_LINES = 10.0
_WIDTH_OF_FILES = 120  # of output that goes to no terminal, in columns


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return where a verb prints: 120 columns wide where the width is unknown.

    What a user has written is never read as markup or as the name of an emoji, and never obeyed by
    the terminal.
    """
    console = _Inert(stderr=stderr, quiet=quiet, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_FILES
    return console


class _Inert(Console):
    """A console whose texts hold nothing that a terminal obeys; its own styles are added later."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, with the control characters of texts spelled out."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=inert(segment.text))


def watch(console: Console) -> Bars | Lines:
    """Return bars where the console is a terminal, or a notebook with widgets; else lines."""
    has_widgets = console.is_jupyter and find_spec("ipywidgets") is not None
    return Bars(console) if console.is_terminal or has_widgets else Lines(console)


class Bars:
    """One live bar per task, with rate and remaining time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_live = False

    @contextmanager
    def task(self, label: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Open a task and show its bar until it ends; one within another has no bar of its own."""
        if self._is_live:
            yield lambda _: None
            return
        self._is_live = True
        try:
            with self._bar(unit) as progress:
                number = progress.add_task(label, total=total)
                yield lambda done: progress.advance(number, done)
        finally:
            self._is_live = False

    def _bar(self, unit: str) -> RichProgress:
        return RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeRemainingColumn(),
            console=self._console,
        )


class Lines:
    """A line at the start and the end of a task, and every ten seconds in between.

    A task of one unit that takes less than a second has no end of its own.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def task(self, label: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Open a task and print how far it is."""
        started = last = time.perf_counter()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            now = time.perf_counter()
            if now - last >= _SECONDS_BETWEEN_LINES:
                last = now
                rate = done / (now - started)
                left = duration((total - done) / rate)
                self._print(f"{label}: {done:,} of {total:,} {unit}, {pace(rate)}, {left} left")

        self._print(f"{label}: {_counted(total, unit)}")
        yield advance
        seconds = time.perf_counter() - started
        if total > 1 or seconds >= 1:
            self._print(f"{label}: done in {duration(seconds)}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


class _Rate(ProgressColumn):
    """Units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Show the rate once it is known."""
        return Text(f"{self._unit}: {pace(task.speed)}" if task.speed else "")


def _counted(total: int, unit: str) -> str:
    """Return a number of units; `unit` is their plural.

    >>> _counted(1, "queries"), _counted(1, "texts"), _counted(2000, "texts")
    ('1 query', '1 text', '2,000 texts')
    """
    return counted(total, f"{unit[:-3]}y" if unit.endswith("ies") else unit[:-1])


def pace(rate: float) -> str:
    """Return a rate as people say it; a slow one as the time of each.

    >>> pace(1234.5), pace(4.2), pace(0.4), pace(0.055)
    ('1,234 per second', '4.2 per second', '2.5 s each', '18 s each')
    """
    if rate >= 10:
        return f"{rate:,.0f} per second"
    if rate >= 1:
        return f"{rate:.1f} per second"
    each = 1 / rate
    return f"{each:.1f} s each" if each < 10 else f"{duration(each)} each"


def duration(seconds: float) -> str:
    """Return a length of time as people say it.

    >>> duration(4.2), duration(75), duration(5400)
    ('4 s', '1 min 15 s', '1 h 30 min')
    """
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def took(planned: str, *, seconds: float) -> str:
    """Return how long a command took beside what was planned."""
    said = f"Took {duration(seconds)} ({duration(time.process_time())} of CPU)"
    return f"{said}. Planned: {planned[:1].lower()}{planned[1:]}." if planned else f"{said}."
