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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from planted_store import write_store

from reports.app.serve import LOCAL, command

BROWSER = ("--no-sandbox", "--disable-gpu", "--use-gl=swiftshader", "--enable-unsafe-swiftshader")
_MAIN = "[data-testid=stMain]"
_PATIENCE_MS = 60_000


class Taken(NamedTuple):
    """What one action took, in seconds: by the clock, of the server's CPU, of the page's thread."""

    wall: float
    server: float
    page: float


def main() -> None:
    """Measure and print a row for each."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--queries", type=int, default=10_000)
    asked.add_argument("--candidates", type=int, default=20)
    asked.add_argument("--repeats", type=int, default=5)
    asked.add_argument("--results", type=Path, help="a store to keep, and to use if it exists")
    said = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = said.results or Path(folder) / "planted"
        if not results.exists():
            write_store(
                results,
                queries=said.queries,
                documents=2 * said.queries,
                candidates=said.candidates,
            )
        print(f"{said.queries:,} queries x {said.candidates} candidates x 100 ranks; medians")
        print("| from | to | seconds (range) | CPU of the server | the page's thread |")
        print("| --- | --- | ---: | ---: | ---: |")
        for start, end, taken in measure(results, repeats=said.repeats):
            wall, server, page = (
                [getattr(each, field) for each in taken] for field in Taken._fields
            )
            print(
                f"| {start} | {end} | {statistics.median(wall):.2f} ({min(wall):.2f} to "
                f"{max(wall):.2f}) | {statistics.median(server):.2f} | "
                f"{statistics.median(page):.2f} |",
                flush=True,
            )


def measure(results: Path, *, repeats: int) -> Iterator[tuple[str, str, list[Taken]]]:
    """Yield what was done, what was waited for, and what it took each time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(BROWSER)
        )
        starts = []
        for _ in range(repeats):
            begun = time.perf_counter()
            with serving(results) as (address, server):
                page = chromium.new_page(viewport={"width": 1400, "height": 1000})
                watch = Watch(page, server, begun=begun)
                page.goto(address)
                page.wait_for_selector(f"{_MAIN} h1", timeout=_PATIENCE_MS)
                starts.append(watch.taken())
                page.close()
        yield "starting the server", "text of the first page", starts
        with serving(results) as (address, server):
            page = chromium.new_page(viewport={"width": 1400, "height": 1000})
            page.goto(address)
            page.wait_for_selector(f"{_MAIN} h1", timeout=_PATIENCE_MS)
            page.get_by_role("link", name="Query").click()
            page.wait_for_selector(".h-card", timeout=_PATIENCE_MS)
            yield from clicks(page, server, repeats)
        chromium.close()


class Watch:
    """A clock, the server's CPU and the time that the page's main thread was busy, from now on."""

    def __init__(self, page: Any, server: psutil.Process, *, begun: float | None = None) -> None:
        self._server = server
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("Performance.enable")
        self._begun = begun or time.perf_counter()
        self._before = 0.0 if begun else self._cpu(), self._busy()

    def taken(self) -> Taken:
        """Return what was taken so far."""
        cpu, busy = self._before
        return Taken(time.perf_counter() - self._begun, self._cpu() - cpu, self._busy() - busy)

    def _cpu(self) -> float:
        times = self._server.cpu_times()
        return float(times.user + times.system)

    def _busy(self) -> float:
        metrics = self._devtools.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


def clicks(
    page: Any, server: psutil.Process, repeats: int
) -> Iterator[tuple[str, str, list[Taken]]]:
    """Yield what single clicks take; each was done once before, which fills the caches."""

    def settle() -> None:
        page.wait_for_selector(".stApp[data-test-script-state=notRunning]", timeout=_PATIENCE_MS)
        page.wait_for_timeout(1_500)

    following = []
    for _ in range(repeats + 1):
        settle()
        before = page.locator(".h-query .id").inner_text()
        watch = Watch(page, server)
        page.get_by_role("button", name="Next").click()
        page.wait_for_function(
            "before => document.querySelector('.h-query .id')?.innerText !== before", arg=before
        )
        following.append(watch.taken())
    yield "Next", "the next query", following[1:]
    for name, last in (
        ("Decide", "gap"),
        ("Compare", "agreement"),
        ("Failures", "flow"),
        ("Gates and data", "bounds"),
    ):
        texts, figures = [], []
        for _ in range(repeats + 1):
            page.get_by_role("link", name="Query").click()
            page.wait_for_selector(".h-card", timeout=_PATIENCE_MS)
            settle()
            watch = Watch(page, server)
            page.get_by_role("link", name=name).click()
            page.locator(f"{_MAIN} h1").wait_for(timeout=_PATIENCE_MS)
            page.wait_for_selector(".h-card", state="detached", timeout=_PATIENCE_MS)
            texts.append(watch.taken())
            page.wait_for_selector(f".st-key-{last} .main-svg", timeout=_PATIENCE_MS)
            figures.append(watch.taken())
        yield f"the page {name}", "its text", texts[1:]
        yield f"the page {name}", "its last figure", figures[1:]


@contextmanager
def serving(results: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Serve the app on a free port; give its address as soon as it answers, and its process."""
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
        yield f"http://{LOCAL}:{port}", psutil.Process(server.pid)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
