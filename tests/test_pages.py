"""The pages in a real browser: nothing is fetched, all works by keyboard, axe finds nothing serious."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from browser import started
from expunge.corpus.catalog import Catalog
from expunge.examination.compare import compare
from expunge.intake.preview import Preview, RelatedSamples, Sighting
from expunge.intake.preview_page import write_page
from expunge.project.files import read_json, write_json
from expunge.project.paths import Paths
from expunge.repair.index_page import render_index
from expunge.repair.overview import Notice, Overview, ReleaseLine, RequestState
from expunge.report.comparison import render_comparison
from expunge.settings import load_params
from expunge.steps.report import report
from fake_release import make_project, params_of

pytestmark = pytest.mark.slow

WIDTHS = (1280, 390)
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of page as a file, but for the comparison, which needs two models."""
    root = tmp_path_factory.mktemp("pages")
    found = {}
    for kind, passed, gold in (("passed", True, True), ("failed", False, False)):
        paths = make_project(root / kind, passed=passed, gold=gold)
        metrics = read_json(paths.release("r001").metrics)
        metrics["gate"]["checks"][0] |= {"measured": 0.1, "reference": 0.2, "beyond": 0.05}
        write_json(paths.release("r001").metrics, metrics)
        for name in ("base", "r001"):
            report(paths, params_of(root / kind), name)
            found[f"report of {name}, {kind}"] = paths.release(name).page
    notices = [
        Notice("failure", "r001", "It failed its gate: req-0001 are not served.", "expunge repair"),
        Notice("warning", "req-0002", "It is <due> in 3 days; `expunge release` serves it.", "expunge release"),
    ]
    states = [RequestState("req-0001", "approved", "2026-12-01", -3, None, None)]
    states.append(RequestState("req-0002", "released", "2026-12-01", None, "r001", None))
    lines = [ReleaseLine("base", [], None, "not gated"), ReleaseLine("r001", ["req-0001"], "retrain_text", "failed")]
    index = root / "failed" / "reports" / "index.html"
    overview = Overview(notices, lines, states, ["req-0001"], "2026-12-04")
    index.write_text(render_index(overview, Paths(root / "failed")), encoding="utf-8")
    paths = Paths(root / "failed")
    catalog = Catalog(paths.catalog)
    names = [name for name in catalog.ids if "SECRET" not in name]
    alike = (Sighting(names[1], "a class", names[0], 0.97, f"near-duplicate of {names[0]} (embedding 0.97)"),)
    shown = Preview(
        "req-0002",
        1,
        {"a class": 1},
        {"train": 1},
        RelatedSamples("nearest samples", None, ()),
        RelatedSamples("copies", 1, alike),
        RelatedSamples("a caption holds a whole caption of a selected sample", 1, alike),
        RelatedSamples("same concept as a selected sample", 0, ()),
    )
    return found | {"index": index, "preview": write_page(paths, catalog, shown, names[:1])}


@pytest.fixture
def page(request: pytest.FixtureRequest, kind: str) -> Path:
    return request.getfixturevalue("comparison") if kind == "comparison" else request.getfixturevalue("pages")[kind]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, released: Path) -> Path:
    paths = Paths(released)
    compared = compare(paths, load_params(paths.params), ("base", "r001"), ["a flag"])
    page = tmp_path_factory.mktemp("comparison") / "compare.html"
    page.write_text(render_comparison(paths, compared), encoding="utf-8")
    return page


KINDS = ("report of base, passed", "report of r001, passed", "report of r001, failed", "index", "preview", "comparison")


def opened(browser: Browser, page: Path, width: int = 1280, **options: str) -> tuple[Page, list[str]]:
    """A page in a browser without a network, with what went wrong and what it asked for beside itself."""
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
    tab, wrong = context.new_page(), []
    tab.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on(
        "request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(("data:", page.as_uri())) else None
    )
    tab.goto(page.as_uri())
    tab.evaluate("() => window.charts?.then(() => 0)")  # charts are live from then on
    return tab, wrong


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_loads_in_silence_fits_its_window_and_can_be_used_by_everyone(browser, page, width) -> None:
    tab, wrong = opened(browser, page, width)
    assert wrong == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for part in tab.locator("details").all():
        part.evaluate("element => element.open = true")
    found = Axe().run(tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in SERIOUS] == []
    tab.context.close()


@pytest.mark.parametrize("kind", ["report of r001, failed", "preview", "comparison"])
def test_a_page_is_as_readable_in_the_dark(browser, page) -> None:
    tab, _ = opened(browser, page, color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 28)"
    found = Axe().run(tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in SERIOUS] == []
    kinds = ["original", "unlearned", "retrained", "term-1", "term-2", "term-3", "term-4"]
    colour = "kind => { const mark = document.createElement('i'); mark.className = kind; document.body.append(mark);"
    colour += " return getComputedStyle(mark).getPropertyValue('--c').trim() }"
    assert len({tab.evaluate(colour, one) for one in kinds}) == len(kinds)
    tab.context.close()


def test_verdict_next_step_and_worry_are_on_the_first_screen(browser, pages) -> None:
    for width in WIDTHS:
        tab, _ = opened(browser, pages["report of r001, failed"], width)
        for words in ("This release must not be used", "What to do next", "expunge repair --yes"):
            box = tab.get_by_text(words).first.bounding_box()
            assert box["y"] + box["height"] < 900, words
        tab.context.close()
    tab, _ = opened(browser, pages["report of r001, failed"])
    box = tab.get_by_text("Worry first about this").bounding_box()
    assert box["y"] < 900
    tab.context.close()


def test_scroll_areas_and_tables_behind_charts_are_reached_by_keyboard(browser, pages) -> None:
    tab, _ = opened(browser, pages["report of r001, passed"], 390)
    reached = set()
    for _ in range(60):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
        if tab.evaluate("document.activeElement.tagName") == "SUMMARY":
            tab.keyboard.press("Enter")
    assert {"DIV.scroll", "SUMMARY."} <= reached
    assert tab.locator("details[open]").count() >= 4
    tab.context.close()


def test_on_paper_no_heading_is_cut_from_what_it_heads_and_areas_do_not_scroll(browser, pages) -> None:
    tab, _ = opened(browser, pages["report of r001, passed"])
    tab.emulate_media(media="print")
    style = "([query, name]) => getComputedStyle(document.querySelector(query))[name]"
    assert tab.evaluate(style, ["section > h2", "breakAfter"]) == "avoid"
    assert tab.evaluate(style, ["section > p", "breakAfter"]) == "avoid"
    assert tab.evaluate(style, [".scroll", "overflowX"]) == "visible"
    assert len(tab.pdf(format="A4")) > 10_000
    tab.context.close()


def test_the_comparison_works_by_mouse_and_by_keyboard(browser, comparison) -> None:
    tab, wrong = opened(browser, comparison)
    assert tab.locator("#results ol").count() == 2
    first = tab.locator("#results").inner_html()
    names = [one.get_attribute("value") for one in tab.locator("#queries option").all()]
    tab.fill("#query", names[2])
    assert tab.locator("#results").inner_html() != first
    assert names[2] in tab.inner_text("#query-said")
    tab.fill("#query", "no such words")
    assert "no results" in tab.inner_text("#query-said")

    said = tab.inner_text("#attack-said")
    tab.focus("#threshold")
    for _ in range(40):
        tab.keyboard.press("PageUp")
    assert tab.inner_text("#attack-said") != said
    assert "0.0 % of the pairs never seen" in tab.inner_text("#attack-said")
    wide, line = (
        tab.locator(f"figure:has-text('Scores') {one}").first.bounding_box() for one in (".panel", ".role-mark line")
    )
    assert line["x"] > wide["x"] + 0.9 * wide["width"]
    dots = (
        tab.locator("figure:has-text('Scores') .panel").nth(2).locator(".mark-symbol.role-mark").first.locator("path")
    )
    assert [round(dot.bounding_box()["x"]) for dot in dots.all()] == [round(dots.first.bounding_box()["x"])] * 2

    table = tab.locator("table.sortable").first
    button = table.locator("th button").nth(1)
    button.focus()
    tab.keyboard.press("Enter")
    counts = [int(cell.inner_text()) for cell in table.locator("tbody td:nth-child(2)").all()]
    assert counts == sorted(counts)
    button.click()
    counts = [int(cell.inner_text()) for cell in table.locator("tbody td:nth-child(2)").all()]
    assert counts == sorted(counts, reverse=True)

    tab.fill("#filter", "e")
    assert tab.locator("#filtered tbody tr").count() > 0
    assert "samples" in tab.inner_text("#filter-said")
    assert wrong == []
    tab.context.close()


@pytest.mark.parametrize("kind", ["report of r001, passed", "comparison"])
def test_without_scripts_every_chart_is_there_with_its_table(browser, page) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto(page.as_uri())
    panels, drawn = tab.locator(".panel"), tab.locator(".panel > svg[role=img][aria-label]")
    assert drawn.count() == panels.count() > 3
    assert all(box["width"] > 200 and box["height"] > 100 for box in (one.bounding_box() for one in drawn.all()))
    assert tab.locator("figure:has(.panel) summary").count() == tab.locator("figure:has(.panel)").count()
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_reader_who_points_at_a_mark_is_told_its_figures(browser, pages, width) -> None:
    tab, wrong = opened(browser, pages["report of r001, passed"], width)
    for title, told in (
        ("What became of the neighbours", r"^0\.\d\d → 0\.\d\d$"),
        ("Forgetting against retention", "forgetting .*, retention"),
        ("Can an attacker tell", "caught at .* false alarms"),
        ("How the loss fell", "at step"),
    ):
        marks = tab.locator("figure", has_text=title).locator(".mark-symbol.role-mark path")
        mark = marks.nth(marks.count() // 2)
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        tab.mouse.move(box["x"] + box["width"] / 2 + 0.5, box["y"] + box["height"] / 2)
        shown = tab.locator("#vg-tooltip-element.visible")
        shown.wait_for()
        assert re.search(told, shown.inner_text()), title
        assert shown.bounding_box()["x"] + shown.bounding_box()["width"] <= width
    assert wrong == []
    tab.context.close()


def test_the_preview_says_that_near_duplicates_stay_unless_somebody_says_yes(browser, pages) -> None:
    tab, _ = opened(browser, pages["preview"], 390)
    assert tab.get_by_text("Each of them stays unless you say yes").bounding_box()["y"] < 900
    assert tab.locator("code", has_text="--include SAMPLE").count() == 1
    assert tab.locator("table.pairs img").count() == 4
    assert all(tab.locator("img").evaluate_all("images => images.map(one => one.naturalWidth > 0)"))
    tab.context.close()


def test_on_a_phone_the_yardstick_is_in_sight_without_scrolling(browser, pages) -> None:
    tab, _ = opened(browser, pages["report of r001, passed"], 390)
    for head in tab.locator("table.compare thead th").all():
        box = head.bounding_box()
        assert box["x"] + box["width"] <= 390
    tab.context.close()


def test_the_index_shows_commands_in_a_sentence_as_code_and_nothing_else_as_markup(browser, pages) -> None:
    tab, _ = opened(browser, pages["index"])
    notice = tab.locator(".notices li").first
    assert notice.locator("code").all_inner_texts() == ["expunge release", "expunge release"]
    assert "It is <due> in 3 days; expunge release serves it." in notice.inner_text()
    tab.context.close()
