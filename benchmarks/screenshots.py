"""Screenshots: every page of the app in both themes at two widths, for somebody to look at.

Example: python benchmarks/screenshots.py results/quickstart /tmp/pictures
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from app import BROWSER, serving

_PAGES = ("decide", "compare", "failures", "query", "judge", "gates")
_WIDTHS = (1400, 900)
_PATIENCE_MS = 120_000
_SETTLED = """() => document.querySelector('.stApp[data-test-script-state=notRunning]')
  && !document.querySelector('[data-testid=stSkeleton]')
  && [...document.querySelectorAll('.stPlotlyChart')].every(e => e.querySelector('.main-svg'))"""
# Streamlit scrolls a part of the page; as high as its content, nothing of it is left out.
_HEIGHT = "() => document.querySelector('[data-testid=stMain]').scrollHeight"


def main() -> None:
    """Write a PNG for each page, theme and width: decide-light-1400.png and so on."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("results", type=Path, help="a results folder")
    asked.add_argument("pictures", type=Path, help="the folder to write")
    asked.add_argument("--pages", nargs="+", default=_PAGES, metavar="PAGE")
    asked.add_argument("--widths", nargs="+", type=int, default=_WIDTHS, metavar="PIXELS")
    asked.add_argument("--first-screen", action="store_true", help="only the first 1,000 pixels")
    said = asked.parse_args()
    said.pictures.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver, serving(said.results) as (address, _):
        chromium = driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=list(BROWSER),
            ignore_default_args=["--hide-scrollbars"],
        )
        for scheme in ("light", "dark"):
            page = chromium.new_page(color_scheme=scheme)
            for width in said.widths:
                for name in said.pages:
                    page.set_viewport_size({"width": width, "height": 1000})
                    page.goto(f"{address}/{name}")
                    path = said.pictures / f"{name}-{scheme}-{width}.png"
                    shoot(page, path, is_whole=not said.first_screen)
                    print(path, flush=True)
            page.close()
        chromium.close()


def shoot(page: Any, path: Path, *, is_whole: bool) -> None:
    """Wait until a page is drawn, and write its picture."""
    page.wait_for_selector("[data-testid=stMain] h1", timeout=_PATIENCE_MS)
    page.wait_for_function(_SETTLED, timeout=_PATIENCE_MS)
    if is_whole:
        for _ in range(2):  # figures are drawn again in the new height
            width = page.viewport_size["width"]
            page.set_viewport_size({"width": width, "height": int(page.evaluate(_HEIGHT))})
            page.wait_for_timeout(500)
            page.wait_for_function(_SETTLED, timeout=_PATIENCE_MS)
    page.wait_for_timeout(1_000)
    page.screenshot(path=path)


if __name__ == "__main__":
    main()
