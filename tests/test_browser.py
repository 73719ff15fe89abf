"""The page in a real browser: it draws its figures, loads nothing and runs no one else's script."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from small_results import COSTS, MEANS, TREE, candidate, cost, results

from harness.results.values import Costs
from reports import html

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=5000",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # the browser, too, asks nobody
)
FIGURES = 4
NASTY = (
    "<script>document.body.id='executed'</script>",
    '"><img src=x onerror="document.body.id=\'executed\'">',
    "</script><svg onload=document.body.id='executed'>",
    "{{ 7 * 7 }}<b>bold</b>",
)


class Visit(NamedTuple):
    """What a browser made of a page: its tree, its console, and the addresses that it asked for."""

    dom: str
    console: list[str]
    requests: list[str]


def start(
    chromium: str, folder: Path, page: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [chromium, *QUIET, profile, *options, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)


def visit(chromium: str, folder: Path, text: str) -> Visit:
    page, log = folder / "report.html", folder / "net.json"
    page.write_text(text, "utf-8")
    done = start(chromium, folder, page, "--dump-dom", f"--log-net-log={log}")
    events = json.loads(log.read_text("utf-8"))["events"]
    asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
    # What Chromium asks for on its own account has no origin.
    requests = [params["url"] for params in asked if params["initiator"] != "not an origin"]
    return Visit(done.stdout, re.findall(r"CONSOLE.*", done.stderr), requests)


def test_the_checks_see_a_page_that_does_what_it_must_not(chromium: str, tmp_path: Path) -> None:
    seen = visit(
        chromium,
        tmp_path,
        "<body><script>document.body.id='executed'</script><img src='http://example.com/a.png'>"
        "<script>throw new Error('told')</script></body>",
    )
    assert '<body id="executed">' in seen.dom
    assert seen.requests == ["http://example.com/a.png"]
    assert len(seen.console) == 1
    assert "told" in seen.console[0]


@pytest.mark.parametrize("interactive", [False, True])
def test_the_page_draws_its_figures_and_loads_nothing(
    chromium: str, tmp_path: Path, *, interactive: bool
) -> None:
    page = html.render(results(TREE, MEANS), COSTS, {}, interactive=interactive)
    seen = visit(chromium, tmp_path, page)
    drawn = seen.dom.split('role="img"')[1:]
    assert len(drawn) == FIGURES
    assert all("<svg" in figure and "<path" in figure for figure in drawn)
    assert all('class="point' in figure for figure in drawn) == interactive
    assert seen.console == []
    assert seen.requests == []


@pytest.mark.parametrize("interactive", [False, True])
def test_a_name_that_is_a_script_is_only_shown(
    chromium: str, tmp_path: Path, *, interactive: bool
) -> None:
    made = [candidate(NASTY[0], dimension=384)]
    made += [
        candidate(name, kind="truncate", parents=NASTY[:1], dimension=2**place)
        for place, name in enumerate(NASTY[1:], start=3)
    ]
    found = results(
        made,
        {name: 0.4 + place / 10 for place, name in enumerate(NASTY)},
    )
    found = found.model_copy(update={"question": NASTY[1], "warnings": list(NASTY)})
    costs = Costs(costs=[cost(name, milliseconds=1.0, size=2.0) for name in NASTY])
    environment = {NASTY[0]: {NASTY[1]: NASTY[2]}}
    page = html.render(found, costs, environment, interactive=interactive)
    seen = visit(chromium, tmp_path, page)
    assert "<body>" in seen.dom
    assert 'id="executed"' not in seen.dom
    assert seen.console == []
    assert seen.requests == []
    assert "&lt;script&gt;document.body.id='executed'" in seen.dom


def test_the_page_is_light_by_day_and_dark_by_night(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(html.render(results(TREE, MEANS), COSTS, {}), "utf-8")
    pictures = []
    for name, scheme in (("light", 1), ("dark", 0)):
        picture = tmp_path / f"{name}.png"
        options = (f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}")
        start(chromium, tmp_path, page, "--window-size=1280,1600", *options)
        pictures.append(picture.read_bytes())
    assert all(len(picture) > 50_000 for picture in pictures)  # a blank page has about 10,000
    assert pictures[0] != pictures[1]
