"""The app in a real browser: the main paths by mouse, both themes, and texts that mean harm."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from test_app import HOSTILE, PAGES, whole, write_store

from reports.app.serve import LOCAL, OPTIONS, command

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PATIENCE_MS = 30_000
QUIET = ("--no-sandbox", "--disable-gpu", "--use-gl=swiftshader", "--enable-unsafe-swiftshader")
WIDTH, HEIGHT = 1400, 1000
ROOT = Path(__file__).parents[1]


@contextmanager
def serving(results: Path) -> Iterator[str]:
    """Serve the app and give its address as soon as it answers."""
    with socket.socket() as free:
        free.bind((LOCAL, 0))
        port = free.getsockname()[1]
    told = command(results, address=LOCAL, port=port)
    server = subprocess.Popen(told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            assert server.poll() is None, "the server stopped"
            try:
                socket.create_connection((LOCAL, port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://{LOCAL}:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("browser") / "planted", queries=80, documents=200)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder) as at:
        yield at


class Visit:
    """A page in the browser, with everything that went wrong on it."""

    def __init__(self, browser: Any, address: str, *, scheme: str = "light") -> None:
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme
        )
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.address = address
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(f"dialog {dialog.message}"))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:", "ws:")):
            self.foreign.append(request.url)

    def open(self, path: str) -> Any:
        """Go to a page and wait until it has run."""
        self.page.goto(f"{self.address}/{path}")
        self.page.wait_for_selector("[data-testid=stMain] h1")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until nothing runs and every figure is drawn."""
        self.page.wait_for_function(
            "() => !document.querySelector('[data-testid=stStatusWidget]')"
            " && [...document.querySelectorAll('.stPlotlyChart')]"
            ".every(each => each.querySelector('.main-svg'))"
        )
        self.page.wait_for_timeout(300)

    def asked(self) -> dict[str, str]:
        """Return the parameters of the address."""
        parameters = parse_qs(urlsplit(self.page.url).query)
        return {name: values[0] for name, values in parameters.items()}


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visiting = Visit(browser, address)
    yield visiting
    visiting.page.context.close()


def choose(page: Any, label: str, option: str) -> None:
    """Choose an option of a selectbox by mouse."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_choosing_candidates_changes_the_view_and_its_link_opens_it_again(
    visit: Visit, browser: Any
):
    page = visit.open("compare")
    choose(page, "A, the reference", "model-1")
    page.get_by_text("model-3 against model-1, query by query").wait_for()
    choose(page, "Metric", "recall@100")
    visit.settle()
    assert visit.asked() == {"a": "model-1", "metric": "recall@100"}
    page.get_by_role("button", name="Link to this view").click()
    link = page.locator("[data-testid=stPopoverBody] code").inner_text()
    again = Visit(browser, visit.address)
    again.page.goto(link)
    again.page.get_by_text("model-3 against model-1, query by query").wait_for()
    assert again.page.get_by_text("Difference of every query in recall@100").is_visible()
    again.page.context.close()
    assert visit.errors == []


def test_a_click_on_a_bar_leads_to_its_query(visit: Visit):
    page = visit.open("compare")
    bars = page.locator(".st-key-waterline .bars .point path")
    bars.first.scroll_into_view_if_needed()
    visit.settle()
    box = bars.first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector(".h-query")
    visit.settle()
    assert "/query" in page.url
    assert page.locator(".h-query .id").inner_text() == visit.asked()["q"]
    assert page.locator(".h-card").count() >= 20
    assert visit.errors == []


def test_a_lasso_tells_what_is_inside_and_is_saved_as_a_slice_that_can_be_gone_through(
    visit: Visit, folder: Path
):
    page = visit.open("failures?a=model-0&b=model-1")
    area = page.locator(".st-key-map-loss .nsewdrag")
    area.scroll_into_view_if_needed()
    visit.settle()
    box = area.bounding_box()
    corners = ((0.02, 0.02), (0.98, 0.02), (0.98, 0.6), (0.02, 0.6), (0.02, 0.02))
    for number, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    page.get_by_text("selected queries: ndcg@10").wait_for()
    told = page.get_by_text("selected queries: ndcg@10").inner_text()
    count = int(told.split()[0])
    assert 0 < count < 80
    page.get_by_role("textbox", name="Save these queries as a slice").fill("north/half")
    page.get_by_role("button", name="Save slice").click()
    page.get_by_text(f"Saved {count} queries.").wait_for()
    file = folder.with_name("planted.slices") / "planted-0" / "north_half.txt"
    queries = file.read_text().split()
    assert len(queries) == count
    visit.open("query?within=slice north_half")
    assert page.locator(".h-query .id").inner_text() == queries[0]
    page.get_by_role("button", name="Next").click()
    page.locator(".h-query .id", has_text=queries[1]).wait_for()
    assert visit.asked() == {"within": "slice north_half", "q": queries[1]}
    assert visit.errors == []


def test_an_exemplar_opens_within_its_cluster(visit: Visit):
    page = visit.open("failures?a=model-0&b=model-1")
    page.get_by_role("button", name="Open 1, typical").click()
    page.wait_for_selector(".h-query")
    visit.settle()
    assert visit.asked()["within"].startswith("cluster c1 of model-")
    assert page.locator(".h-query .id").inner_text() == visit.asked()["q"]


def test_a_document_marked_relevant_is_stored_and_its_file_can_be_downloaded(
    visit: Visit, folder: Path
):
    page = visit.open("query?q=q003")
    page.get_by_role("button", name="Relevant", exact=True).first.click()
    page.get_by_text("Your judgements: 1").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    stored = folder.with_name("planted.judgements") / "planted-0.csv"
    assert Path(download.value.path()).read_text() == stored.read_text()
    assert stored.read_text().startswith("query_id,document_id,grade\nq003,")
    page.get_by_role("button", name="Take back").first.click()
    page.get_by_text("Your judgements: 1").wait_for(state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_drawn_in_both_themes_and_loads_nothing_from_elsewhere(
    browser: Any, address: str, path: str, scheme: str
):
    visiting = Visit(browser, address, scheme=scheme)
    page = visiting.open("" if path == "decide" else path)
    dark = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert (sum(map(int, dark.strip("rgb()").split(", "))) < 200) == (scheme == "dark")
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate(WITHOUT_NAME) == []
    assert page.evaluate(FAINT) == []
    assert visiting.errors == []
    assert visiting.foreign == []
    visiting.page.context.close()


# Elements of the page that stick out of it, apart from what scrolls by itself.
OVERFLOWING = """() => {
  const main = document.querySelector('[data-testid=stMain]').getBoundingClientRect();
  return [...document.querySelectorAll('[data-testid=stMain] [data-testid=stHtml] > *')]
    .filter(each => !each.closest('.h-table') && each.getBoundingClientRect().right > main.right)
    .map(each => each.outerHTML.slice(0, 120));
}"""
# Figures that a screen reader could not name.
WITHOUT_NAME = """() => [...document.querySelectorAll('.stPlotlyChart')]
  .filter(each => !each.querySelector('[aria-label]') && !each.closest('[aria-label]'))
  .map(each => each.className)"""
# Texts of figures whose colour is near that of the page.
FAINT = """() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number);
    return 0.299 * r + 0.587 * g + 0.114 * b;
  };
  const page = light(getComputedStyle(document.querySelector('.stApp')).backgroundColor);
  const ticks = '.stPlotlyChart .xtick text, .stPlotlyChart .ytick text';
  return [...document.querySelectorAll(ticks)]
    .filter(each => Math.abs(light(getComputedStyle(each).fill) - page) < 90)
    .map(each => each.textContent);
}"""


def test_texts_that_mean_harm_run_nothing_and_keep_the_layout(browser: Any, tmp_path: Path):
    hostile = tmp_path / "planted"
    names = ["<script>document.body.id='executed'</script>", "**bold** :smile: $x$", "n" * 300]
    write_store(hostile, queries=60, documents=120, texts=HOSTILE, names=names)
    with serving(hostile) as at:
        visiting = Visit(browser, at)
        for path in ("", "compare", "failures", "gates", *(f"query?q=q00{n}" for n in range(8))):
            page = visiting.open(path)
            assert page.evaluate("document.body.id") != "executed"
            assert page.evaluate(OVERFLOWING) == [], path
            sideways = page.evaluate(
                "(() => { const main = document.querySelector('[data-testid=stMain]');"
                " return main.scrollWidth - main.clientWidth })()"
            )
            assert sideways <= 0, path
        assert visiting.errors == []
        assert visiting.foreign == []
        page = visiting.open("query?q=q000")
        assert "<script>document.body.id" in page.locator(".h-query").inner_text()
        visiting.page.context.close()


def test_the_app_listens_on_this_machine_alone(address: str):
    port = urlsplit(address).port
    others = {
        found[4][0]
        for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
        if not found[4][0].startswith("127.")
    }
    if not others:
        pytest.skip("this machine has no other address than its own")
    for other in others:
        with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
            socket.create_connection((other, port), timeout=2)


def test_streamlit_itself_runs_the_app_with_the_same_options():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))
    flat = {}
    for section, keys in config.items():
        for key, value in keys.items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            for below, said in parts:
                name = f"{section}.{key}.{below}" if below else f"{section}.{key}"
                flat[name] = str(said).lower() if isinstance(said, bool) else str(said)
    assert flat == {**OPTIONS, "server.address": LOCAL}
    assert shutil.which("streamlit", path=str(Path(sys.executable).parent)) is not None
