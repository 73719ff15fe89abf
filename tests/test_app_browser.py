"""The app in a real browser: the main paths by mouse, both themes, and texts that mean harm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
from conftest import plan_of, write_beir, write_suite
from test_app import HOSTILE, PAGES, whole, write_store

from harness.errors import HarnessError
from harness.store import Store
from reports.app.serve import LOCAL, OPTIONS, command, require_free, url

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PATIENCE_MS = 30_000
QUIET = ("--no-sandbox", "--disable-gpu", "--use-gl=swiftshader", "--enable-unsafe-swiftshader")
WIDE, NARROW = {"width": 1400, "height": 1000}, {"width": 800, "height": 1000}
ROOT = Path(__file__).parents[1]


def parameters(address: str) -> dict[str, str]:
    """Return the parameters of an address."""
    found = parse_qs(urlsplit(address).query)
    return {name: values[0] for name, values in found.items()}


@contextmanager
def serving(results: Path, *, address: str = LOCAL) -> Iterator[int]:
    """Serve the app and give its port as soon as it answers."""
    with socket.socket() as free:
        free.bind((LOCAL, 0))
        port = free.getsockname()[1]
    told = command(results, address=address, port=port)
    server = subprocess.Popen(told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    try:
        while not listens("127.0.0.1", port):
            assert server.poll() is None, "the server stopped"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.05)
        yield port
    finally:
        server.kill()
        server.wait()


def listens(host: str, port: int) -> bool:
    """Tell whether something answers at an address of this machine."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def profile(chromium: str) -> Iterator[Any]:
    """Return a browser's profile; its pages share what was loaded once."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield started.new_context(reduced_motion="reduce")  # each frame is drawn by the CPU
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("browser") / "planted", queries=240, documents=400)


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with serving(folder) as at:
        yield at


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve texts that mean harm on every address of this machine."""
    folder = tmp_path_factory.mktemp("harm") / "planted"
    names = ["<script>document.body.id='executed'</script>", "**bold** :smile: $x$", "n" * 300]
    write_store(folder, queries=60, documents=120, texts=HOSTILE, names=names, ranks=10)
    with serving(folder, address="0.0.0.0") as at:  # noqa: S104 - asked for
        yield at


class Visit:
    """The page in the browser, with everything that went wrong on it since."""

    def __init__(self, profile: Any, port: int, *, scheme: str = "light") -> None:
        # One page for all visits: another would read and compile the app's scripts again.
        self.page = profile.pages[0] if profile.pages else profile.new_page()
        self.page.mouse.move(0, 0)
        self.page.set_viewport_size(WIDE)
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_default_timeout(PATIENCE_MS)
        self.address = url(LOCAL, port)
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
        """Wait until nothing runs, every figure is drawn, and nothing moves any more."""
        self.page.wait_for_function(SETTLED)

    def follow(self) -> None:
        """Wait until the page of a query is there."""
        self.page.wait_for_url(lambda to: "/query?" in to and "q" in parameters(to))
        self.page.locator(".h-query .id", has_text=self.asked()["q"]).wait_for()
        self.settle()

    def asked(self) -> dict[str, str]:
        """Return the parameters of the address."""
        return parameters(self.page.url)

    def asks(self, **held: str) -> None:
        """Wait until these are the parameters of the address."""
        self.page.wait_for_url(lambda to: parameters(to) == held)

    def linked(self, **held: str) -> str:
        """Return the link to the view, as soon as these are among its parameters."""
        self.page.get_by_role("button", name="Link to this view").click()
        return str(self.page.wait_for_function(LINKED, arg=held).json_value())

    def found(self, script: str) -> Any:
        """Return what a script finds on the page."""
        return self.page.evaluate(script)

    def left(self, script: str) -> list[Any]:
        """Return what a script still finds once figures had time for the theme and the width."""
        with suppress(playwright.TimeoutError):
            self.page.wait_for_function(f"() => ({script})().length === 0", timeout=5_000)
        return list(self.found(script))


# Streamlit says when it is done; two frames of the same height say that the page is.
SETTLED = """() => new Promise(done => {
  const drawn = () => document.querySelector('.stApp[data-test-script-state=notRunning]')
    && !document.querySelector('[data-testid=stSkeleton]')
    && [...document.querySelectorAll('.stPlotlyChart')].every(each =>
      each.querySelector('.main-svg'));
  const height = () => document.querySelector('[data-testid=stMain]').scrollHeight;
  const before = drawn() && height();
  setTimeout(() => done(Boolean(before) && drawn() && height() === before), 100);
})"""
# The popover shows what it held before until the page has run again.
LINKED = """held => {
  const link = document.querySelector('[data-testid=stPopoverBody] code')?.innerText ?? '';
  const found = new URLSearchParams(link.split('?')[1]);
  return Object.entries(held).every(([name, value]) => found.get(name) === value) && link;
}"""
IS_DARK = """getComputedStyle(document.querySelector('.stApp')).backgroundColor
  .match(/[0-9]+/g).reduce((sum, each) => sum + Number(each), 0) < 120"""
# Elements of the page that stick out of it, apart from what scrolls by itself.
OVERFLOWING = """() => {
  const main = document.querySelector('[data-testid=stMain]');
  const right = main.getBoundingClientRect().right;
  const out = [...main.querySelectorAll('[data-testid=stHtml] > *, .stPlotlyChart')]
    .filter(each => !each.closest('.h-table') && each.getBoundingClientRect().right > right + 1)
    .map(each => each.outerHTML.slice(0, 120));
  return main.scrollWidth > main.clientWidth ? ['the page', ...out] : out;
}"""
# Figures that a screen reader could not name.
WITHOUT_NAME = """() => [...document.querySelectorAll('.stPlotlyChart')]
  .filter(each => !each.querySelector('[aria-label]') && !each.closest('[aria-label]'))
  .map(each => each.className)"""
# Texts whose colour is near that of the page, as (contrast, text); WCAG asks for 4.5.
FAINT = """() => {
  const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const page = getComputedStyle(document.querySelector('.stApp')).backgroundColor;
  const seen = (...colours) => {
    context.globalAlpha = 1;
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = rgb => {
    const [r, g, b] = rgb.map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const marks = '[data-testid=stHtml] *, .stPlotlyChart .xtick text, .stPlotlyChart .ytick text, '
    + '.stPlotlyChart .legendtext';
  return [...document.querySelectorAll(marks)]
    .filter(each => [...each.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .filter(each => each.tagName !== 'STYLE' && each.getClientRects().length)
    .map(each => {
      const style = getComputedStyle(each);
      const ink = each.ownerSVGElement ? style.fill : style.color;
      const [low, high] = [light(seen(page, ink)), light(seen(page))].sort((a, b) => a - b);
      return [Math.round(10 * high / low) / 10, each.textContent.trim().slice(0, 40)];
    })
    .filter(([contrast]) => contrast < 4.5);
}"""

# What axe-core finds, as (rule, element).
FAULTS = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .filter(each => ['serious', 'critical'].includes(each.impact))
  .flatMap(each => each.nodes.map(node => [each.id, node.html.slice(0, 200)]))"""


@pytest.fixture
def visit(profile: Any, port: int) -> Iterator[Visit]:
    visiting = Visit(profile, port)
    yield visiting
    assert visiting.errors == []


def choose(page: Any, label: str, option: str) -> None:
    """Choose an option of a selectbox by mouse."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_choosing_candidates_changes_the_view_and_its_link_opens_it_again(visit: Visit):
    page = visit.open("compare")
    choose(page, "Baseline (A)", "model-1")
    page.get_by_text("model-3 against model-1, query by query").wait_for()
    choose(page, "Metric", "recall@100")
    page.get_by_text("Difference of every query in recall@100").wait_for()
    visit.asks(a="model-1", metric="recall@100")
    link = visit.linked(a="model-1", metric="recall@100")
    page.goto("about:blank")
    page.goto(link)
    page.get_by_text("model-3 against model-1, query by query").wait_for()
    page.get_by_text("Difference of every query in recall@100").wait_for()


def test_a_click_on_a_bar_leads_to_its_query(visit: Visit):
    page = visit.open("compare")
    bar = page.locator(".st-key-waterline .bars .point path").first
    bar.scroll_into_view_if_needed()
    visit.settle()
    box = bar.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.follow()
    page.locator(".h-card").nth(19).wait_for()  # both rankings, 10 documents each


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
    told = page.get_by_text("selected queries: ndcg@10")
    told.wait_for()
    count = int(told.inner_text().split()[0])
    assert 0 < count < 240
    page.get_by_role("textbox", name="Save these queries as a slice").fill("north/half")
    page.get_by_role("button", name="Save slice").click()
    page.get_by_text(f"Saved {count} queries.").wait_for()
    file = folder.with_name("planted.slices") / "planted-0" / "north_half.txt"
    queries = file.read_text().split()
    assert len(queries) == count
    visit.open("query?within=slice north_half")
    first = page.locator(".h-query .id").inner_text()
    page.get_by_role("button", name="Next").click()
    page.wait_for_url(lambda to: parameters(to).get("q", first) != first)
    assert {first, visit.asked()["q"]} <= set(queries)
    assert visit.asked()["within"] == "slice north_half"


def test_the_keyboard_goes_to_the_next_query_unless_it_types(visit: Visit):
    page = visit.open("query")
    identity = page.locator(".h-query .id")
    first = identity.inner_text()
    search = page.get_by_role("searchbox", name="Search")
    search.press("n")
    visit.settle()
    assert "q" not in visit.asked()
    search.fill("")
    page.locator("h1").click()
    visit.settle()
    page.keyboard.press("n")
    page.wait_for_url(lambda to: parameters(to).get("q", first) != first)
    page.locator(".h-query .id", has_text=visit.asked()["q"]).wait_for()
    page.keyboard.press("p")
    page.wait_for_url(lambda to: parameters(to).get("q") == first)


def test_the_first_page_opens_by_its_name_too(visit: Visit):
    page = visit.open("decide?b=model-1")
    page.get_by_role("heading", name="model-1 against model-0").wait_for()
    assert page.get_by_text("Page not found").count() == 0


def test_a_narrow_window_folds_the_sidebar(visit: Visit):
    visit.page.set_viewport_size({"width": 900, "height": 1000})
    page = visit.open("compare")
    page.get_by_role("button", name="Expand sidebar").wait_for()
    page.wait_for_function("""() =>
      !Object.keys(localStorage).some(key => key.startsWith('stSidebarCollapsed'))""")
    page.set_viewport_size(WIDE)
    visit.open("compare")
    page.get_by_role("combobox", name="Metric").click()


def test_what_changes_a_part_of_a_page_alone_is_in_its_link(visit: Visit):
    page = visit.open("gates")
    page.get_by_label("Judged queries").fill("400")
    page.get_by_label("Judged queries").press("Enter")
    page.get_by_text("400 queries detect a difference of").first.wait_for()
    visit.linked(planned="400")
    visit.open("gates?planned=700")
    page.get_by_text("700 queries detect a difference of").first.wait_for()


def test_an_exemplar_opens_within_its_cluster(visit: Visit):
    page = visit.open("failures?a=model-0&b=model-1")
    page.get_by_role("button", name="Open 1, typical").click()
    visit.follow()
    assert visit.asked()["within"].startswith("cluster c1 of model-")


def test_keys_grade_from_the_first_pair_on_before_anything_is_run(profile: Any, tmp_path: Path):
    folder, file = tmp_path / "new", tmp_path / "new.judging" / "notes.csv"
    folder.mkdir()
    file.parent.mkdir()
    about = {"suite": "new", "said": {}, "collections": {"notes": ""}, "runs": {}}
    (folder / "manifest.json").write_text(json.dumps(about))
    rows = [f"q{row},d{row},,question {row},text {row},Sample x." for row in range(4)]
    file.write_text("\n".join(["query_id,document_id,grade,query,document,why", *rows]) + "\n")

    def graded(text: str) -> None:
        """Wait until the next question is there, and its buttons."""
        page.locator(".h-query", has_text=text).wait_for()
        page.get_by_role("button", name="answers nothing").wait_for()

    with serving(tmp_path) as port:
        visit = Visit(profile, port)
        page = visit.open("judge")
        page.get_by_label("Your name").fill("ann")
        page.keyboard.press("Enter")  # the field had the focus, in which a key is a letter
        for key, text in (
            *(("2", "question 0"), ("s", "question 1"), ("3", "question 2"), ("u", "question 3")),
            ("0", "question 2"),
        ):
            graded(text)
            page.keyboard.press(key)
        graded("question 3")
        page.get_by_role("button", name="Change name").click()
        page.get_by_label("Your name").fill("ben")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Give second opinions").click()
        graded("question 0")
        page.keyboard.press("3")
        graded("question 1")
    assert [line.split(",")[2] for line in file.read_text("utf-8").splitlines()] == [
        *("grade", "2", "skip", "0", "")
    ]
    assert (visit.errors, visit.foreign) == ([], [])


def test_judgements_are_given_downloaded_and_read_back_by_the_harness(
    visit: Visit, folder: Path, tmp_path: Path
):
    page = visit.open("query?q=q003")
    right = page.locator(".h-card.unjudged").first
    named = right.locator(".id").inner_text()
    page.get_by_role("button", name="Mark relevant", exact=True).first.click()
    page.get_by_text("Your judgements: 1").wait_for()
    visit.settle()
    wrong = page.locator(".h-card.relevant", has_not_text="(you)").first
    doubted = wrong.locator(".id").inner_text()
    page.locator(f"[class*=st-key-judge-][class*=-{doubted}-0] button").first.click()
    page.get_by_text("Your judgements: 2").wait_for()
    visit.settle()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    taken = tmp_path / "mine.csv"
    download.value.save_as(taken)
    assert (
        taken.read_text() == (folder.with_name("planted.judgements") / "planted-0.csv").read_text()
    )
    read = read_back(folder, taken, tmp_path)
    assert (read["q003", named], read["q003", doubted]) == (1, 0)
    for left in (1, 0):
        page.get_by_role("button", name="Undo").first.click()
        page.get_by_text(f"Your judgements: {left + 1}").wait_for(state="detached")
        visit.settle()


def read_back(folder: Path, judgements: Path, place: Path) -> dict[tuple[str, str], int]:
    """Return the judgements of the collection as a suite reads it with a file of judgements."""
    queries, documents, judged = (
        pq.read_table(folder / f"{name}.parquet").to_pylist()
        for name in ("queries", "documents", "judgements")
    )
    source = write_beir(
        place / "again",
        documents={row["document_id"]: row["text"] for row in documents},
        queries={row["query_id"]: row["text"] for row in queries},
        qrels={"test": [(r["query_id"], r["document_id"], r["grade"]) for r in judged]},
    )
    suite = write_suite(
        place / "suite.toml",
        'baseline = "words"\n[candidates.words]\nkind = "bm25"\n[collections.again]\n'
        f'source = "beir:{source}"\njudgements = "{judgements}"\n',
    )
    collection = plan_of(suite, Store(place / "store")).collections["again"]
    found = collection.judgements
    rows = zip(found.queries, found.documents, found.grades, strict=True)
    return {
        (collection.query_ids[query], collection.document_ids[document]): int(grade)
        for query, document, grade in rows
    }


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_drawn_and_accessible_in_both_themes_and_loads_nothing_from_elsewhere(
    profile: Any, port: int, path: str
):
    axe = pytest.importorskip("axe_playwright_python", reason="axe is not installed")
    visiting = Visit(profile, port, scheme="dark")
    page = visiting.open("" if path == "decide" else path)
    if path != "judge":  # texts and grades alone
        page.locator(".stPlotlyChart .main-svg").first.wait_for()
    page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text("utf-8"))
    for scheme in ("dark", "light"):  # the page follows the system while it is open
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(WIDE)
        page.wait_for_function(f"() => ({IS_DARK}) === {str(scheme == 'dark').lower()}")
        visiting.settle()
        assert visiting.found(WITHOUT_NAME) == []
        assert visiting.left(FAINT) == []
        assert visiting.left(OVERFLOWING) == []
        assert visiting.found(FAULTS) == []
        page.set_viewport_size(NARROW)
        visiting.settle()
        assert visiting.left(OVERFLOWING) == []
    assert visiting.errors == []
    assert visiting.foreign == []


def test_texts_that_mean_harm_run_nothing_and_keep_the_layout(profile: Any, everywhere: int):
    visiting = Visit(profile, everywhere)

    def is_harmless(where: str) -> None:
        assert visiting.found("document.body.id") != "executed", where
        assert visiting.left(OVERFLOWING) == [], where

    for path in ("", "compare", "failures", "gates", "query?q=q000"):
        visiting.open(path)
        is_harmless(path)
    question = visiting.page.locator(".h-query")
    assert "<script>document.body.id" in question.inner_text()
    for number in range(1, len(HOSTILE)):
        visiting.open(f"query?q=q00{number}")
        question.locator(".id", has_text=f"q00{number}").wait_for()
        visiting.settle()
        is_harmless(f"q00{number}")
    assert visiting.errors == []
    assert visiting.foreign == []


def test_the_app_listens_on_this_machine_alone_unless_told_otherwise(port: int, everywhere: int):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has the whole of 127.0.0.0/8 as addresses of its own")
    assert listens("127.0.0.1", port)
    assert not listens("127.0.0.2", port)
    assert listens("127.0.0.2", everywhere)


@pytest.mark.parametrize("option", ["--browser", "--no-browser"])
def test_harness_app_opens_the_browser_unless_told_not_to(
    folder: Path, tmp_path: Path, option: str
):
    note = tmp_path / "opened.txt"
    browser = tmp_path / "browser.sh"
    browser.write_text(f'#!/bin/sh\necho "$1" > {note}.part && mv {note}.part {note}\n')
    browser.chmod(0o755)
    with socket.socket() as free:
        free.bind((LOCAL, 0))
        port = free.getsockname()[1]
    call = ["-c", "from harness.cli import main; main()", "app", str(folder), "--port", str(port)]
    app = subprocess.Popen(
        [sys.executable, *call, option],
        env={**os.environ, "BROWSER": str(browser)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert (
            app.stdout.readline() == f"{url(LOCAL, port)} shows {folder}; press Ctrl+C to stop.\n"
        )
        end = time.monotonic() + 60
        while not (note.exists() if option == "--browser" else listens(LOCAL, port)):
            assert app.poll() is None, "the app stopped"
            assert time.monotonic() < end, "the app does not answer"
            time.sleep(0.05)
        assert not note.exists() or note.read_text() == f"{url(LOCAL, port)}\n"
        assert note.exists() == (option == "--browser")
        with pytest.raises(HarnessError, match=f"localhost:{port}: cannot listen"):
            require_free(LOCAL, port)
        app.terminate()
        app.communicate(timeout=30)
        assert not listens(LOCAL, port), "the server outlives what started it"
    finally:
        if app.poll() is None:
            os.killpg(app.pid, signal.SIGKILL)
            app.communicate()


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
