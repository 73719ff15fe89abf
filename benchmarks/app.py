"""App: from start to the first page, and from a click to what it shows, in a real browser.

The store is planted: 10,000 queries, 20 candidates, 100 ranks of each. Limits of the project: the
first page within 3 seconds, a click answered within 0.5.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planted_store import write_store

from reports.app.serve import LOCAL, command

_BROWSER = ("--no-sandbox", "--disable-gpu", "--use-gl=swiftshader", "--enable-unsafe-swiftshader")
_MAIN = "[data-testid=stMain]"
_PATIENCE_MS = 60_000


def main() -> None:
    """Measure and print a row for each."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--queries", type=int, default=10_000)
    asked.add_argument("--candidates", type=int, default=20)
    asked.add_argument("--repeats", type=int, default=5)
    said = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "planted"
        write_store(
            results, queries=said.queries, documents=2 * said.queries, candidates=said.candidates
        )
        print(f"{said.queries:,} queries x {said.candidates} candidates x 100 ranks")
        print("| from | to | seconds, median (range) |\n| --- | --- | --- |")
        for start, end, seconds in measure(results, repeats=said.repeats):
            low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
            print(f"| {start} | {end} | {middle:.2f} ({low:.2f} to {high:.2f}) |")


def measure(results: Path, *, repeats: int) -> Iterator[tuple[str, str, list[float]]]:
    """Yield what was done, what was waited for, and the seconds it took each time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(_BROWSER)
        )
        starts = []
        for _ in range(repeats):
            begun = time.perf_counter()
            with serving(results) as address:
                page = chromium.new_page(viewport={"width": 1400, "height": 1000})
                page.goto(address)
                page.wait_for_selector(f"{_MAIN} h1", timeout=_PATIENCE_MS)
                starts.append(time.perf_counter() - begun)
                page.close()
        yield "starting the server", "title of the first page", starts
        with serving(results) as address:
            page = chromium.new_page(viewport={"width": 1400, "height": 1000})
            page.goto(address)
            page.wait_for_selector(f"{_MAIN} h1", timeout=_PATIENCE_MS)
            page.get_by_role("link", name="Query").click()
            page.wait_for_selector(".h-card", timeout=_PATIENCE_MS)
            yield from clicks(page, repeats)
        chromium.close()


def clicks(page: Any, repeats: int) -> Iterator[tuple[str, str, list[float]]]:
    """Yield how long single clicks take; each was done once before."""

    def again(do: Callable[[], None], seen: Callable[[], None]) -> list[float]:
        seconds = []
        for _ in range(repeats + 1):
            begun = time.perf_counter()
            do()
            seen()
            seconds.append(time.perf_counter() - begun)
            page.wait_for_timeout(1_500)
        return seconds[1:]  # the first fills the caches

    def next_query() -> None:
        state["query"] = page.locator(".h-query .id").inner_text()
        page.get_by_role("button", name="Next").click()

    def other_query() -> None:
        page.wait_for_function(
            "before => document.querySelector('.h-query .id')?.innerText !== before",
            arg=state["query"],
        )

    state: dict[str, str] = {}
    yield "Next", "the next query", again(next_query, other_query)
    for name, last in (
        ("Decide", "gap"),
        ("Compare", "pairs"),
        ("Failures", "flow"),
        ("Gates and data", "bounds"),
    ):

        def to_page(name: str = name) -> None:
            page.get_by_role("link", name="Query").click()
            page.wait_for_selector(".h-card", timeout=_PATIENCE_MS)
            page.wait_for_timeout(1_500)
            state["begun"] = str(time.perf_counter())
            page.get_by_role("link", name=name).click()

        titles, figures = [], []
        for _ in range(repeats + 1):
            to_page()
            begun = float(state["begun"])
            page.locator(f"{_MAIN} h1").wait_for(timeout=_PATIENCE_MS)
            page.wait_for_selector(".h-card", state="detached", timeout=_PATIENCE_MS)
            titles.append(time.perf_counter() - begun)
            page.wait_for_selector(f".st-key-{last} .main-svg", timeout=_PATIENCE_MS)
            figures.append(time.perf_counter() - begun)
        yield f"the page {name}", "its text", titles[1:]
        yield f"the page {name}", "its last figure", figures[1:]


@contextmanager
def serving(results: Path) -> Iterator[str]:
    """Serve the app on a free port and give its address as soon as it answers."""
    with socket.socket() as free:
        free.bind((LOCAL, 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(  # noqa: S603 - our own command
        command(results, address=LOCAL, port=port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while server.poll() is None:
            try:
                socket.create_connection((LOCAL, port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"http://{LOCAL}:{port}"
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
