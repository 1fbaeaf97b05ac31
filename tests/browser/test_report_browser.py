"""The report in a real browser: nothing is fetched, nothing is run, nothing spills, everything has a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser.driving import CONTRAST, at_width, fetched
from selenium import webdriver
from unit.reports import compared, sample, selected

from scrimp.evidence import page as evidence_page
from scrimp.evidence.results import Standing
from scrimp.evidence.verdicts import Finding
from scrimp.reports import comparison, page, selection

PAGES = (*sample.ALL, *selected.ALL, *compared.ALL)

_NAMED = {"image", "figure", "table", "region", "navigation"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The address of each sample's page."""
    folder = tmp_path_factory.mktemp("reports")
    for name, make in sample.ALL.items():
        page.write(make(), folder / f"{name}.html")
    for name, choose in selected.ALL.items():
        selection.write(choose(), folder / f"{name}.html")
    for name, compare in compared.ALL.items():
        comparison.write(compare(), folder / f"{name}.html")
    comparison.write(compared.hostile(sample.ATTACKS), folder / "comparison-hostile.html")
    evidence_page.write(hostile_claims(), folder / "evidence-hostile.html")
    return {name: (folder / f"{name}.html").as_uri() for name in (*PAGES, "comparison-hostile", "evidence-hostile")}


def hostile_claims() -> list[Standing]:
    """Claims whose every text is an attack."""
    return [Standing(name=attack, family=attack, papers=(1,), says=attack, verdict="fails", why=attack, findings=(
        Finding(inequality=attack, gaps=(-1.0,) * 5, effect=-1, low=-2, high=-0.5, against=1, detectable=0.1,
                verdict="fails"),)) for attack in sample.ATTACKS]


@pytest.mark.parametrize("name", PAGES)
def test_opens_without_errors_and_fetches_nothing(browser: webdriver.Chrome, files: dict[str, str], name: str) -> None:
    fetched(browser), browser.get_log("browser")  # what came before
    browser.get(files[name])
    assert [url for url in fetched(browser) if not url.startswith("data:")] == [files[name]]
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_spills_sideways(browser: webdriver.Chrome, files: dict[str, str], name: str, width: int) -> None:
    at_width(browser, width)
    browser.get(files[name])
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return innerWidth") == width


def test_on_paper_it_is_black_on_white_and_fits(browser: webdriver.Chrome, files: dict[str, str]) -> None:
    at_width(browser, 680)  # A4 within its margins
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    browser.get(files["classification"])
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    spilled = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen"})
    assert ground == "rgb(255, 255, 255)"
    assert spilled <= 680


@pytest.mark.parametrize(("name", "title"), [
    ("hostile", "Use <script>"), ("selection-hostile", "10 of 200 rows kept"),
    ("comparison-hostile", "a0 · scrimp comparison"), ("evidence-hostile", "scrimp · the evidence")])
def test_attacks_are_read_and_not_run(browser: webdriver.Chrome, files: dict[str, str], name: str, title: str) -> None:
    browser.get(files[name])
    assert browser.title.startswith(title)
    assert browser.execute_script("return document.querySelectorAll('script, img, iframe, object, form').length") == 0
    assert browser.execute_script("return [...document.querySelectorAll('*')].flatMap(e => [...e.attributes])"
                                  ".filter(a => a.name.startsWith('on')).length") == 0
    text = browser.execute_script("return document.body.textContent")
    for attack in sample.ATTACKS:
        assert attack in text


def test_the_policy_would_stop_a_script_that_got_in(browser: webdriver.Chrome, tmp_path: Path) -> None:
    html = page.render(sample.bare()).replace("</body>", "<script>document.title = 'run'</script></body>")
    (tmp_path / "pierced.html").write_text(html)
    browser.get((tmp_path / "pierced.html").as_uri())
    assert browser.title != "run"
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.parametrize("name", PAGES)
def test_everything_that_needs_a_name_has_one(browser: webdriver.Chrome, files: dict[str, str], name: str) -> None:
    at_width(browser, 1280)
    browser.get(files[name])
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    nodes: list[dict[str, Any]] = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    nameless = [node["role"]["value"] for node in nodes if not node["ignored"] and node["role"]["value"] in _NAMED
                and not node.get("name", {}).get("value")]
    assert nameless == []
    assert {"main", "banner", "contentinfo", "navigation", "table", "region", "heading"} <= set(roles)
    assert name == "bare" or {"image", "figure"} <= set(roles)


def test_figures_are_named_after_their_charts(browser: webdriver.Chrome, files: dict[str, str]) -> None:
    browser.get(files["classification"])
    nodes: list[dict[str, Any]] = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    names = [node["name"]["value"] for node in nodes if not node["ignored"] and node["role"]["value"] == "image"]
    assert names == ["Scores with their 95% intervals", "What was forgotten, with 95% intervals",
                     "Spent of what was allowed", "Where the time went, first to last", "Training rows of each label",
                     "Tokens that the model was taught to write", "Training loss of LoRA on SmolLM2-135M",
                     "Validation of LoRA on SmolLM2-135M"]


def test_dark_is_dark_and_light_is_light(browser: webdriver.Chrome, files: dict[str, str]) -> None:
    shades = []
    for dark in (False, True):
        at_width(browser, 1280, dark=dark)
        browser.get(files["classification"])
        found = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        shades.append(sum(int(part) for part in found[4:-1].split(",")))
    assert shades[0] > 3 * 235
    assert shades[1] < 3 * 40


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["classification", "many-classes", "hostile", "selection", "selection-hostile"])
def test_text_stands_out(browser: webdriver.Chrome, files: dict[str, str], name: str, dark: bool) -> None:
    at_width(browser, 1280, dark=dark)
    browser.get(files[name])
    seen, faint = browser.execute_script(CONTRAST)
    assert seen > 100
    assert faint == []


def test_marks_in_the_chart_stand_at_their_values(browser: webdriver.Chrome, files: dict[str, str]) -> None:
    at_width(browser, 1280)
    browser.get(files["classification"])
    left, right, at = browser.execute_script("""
      const chart = document.querySelector('[aria-labelledby=scores-title]').getBoundingClientRect();
      const mark = document.querySelector('.chart .mark.chosen').getBoundingClientRect();
      return [chart.left, chart.right, (mark.left + mark.right) / 2];""")
    assert (at - left) / (right - left) == pytest.approx((0.73 - 0.5) / (0.8 - 0.5), abs=0.01)


def test_tables_scroll_by_themselves_on_a_phone(browser: webdriver.Chrome, files: dict[str, str]) -> None:
    at_width(browser, 360)
    browser.get(files["classification"])
    assert browser.execute_script("""
      const box = document.querySelector('#scores').parentElement.querySelector(':scope > .scroll');
      box.focus(); box.scrollLeft = 200;
      return [document.activeElement === box, box.scrollLeft, box.querySelector('tbody th').getBoundingClientRect().left
              === box.getBoundingClientRect().left];""") == [True, 200, True]


def test_marks_on_the_map_are_the_rows_and_tell_them(browser: webdriver.Chrome, files: dict[str, str]) -> None:
    at_width(browser, 1280)
    browser.get(files["selection"])
    kept, dropped, inside, told = browser.execute_script("""
      const map = document.querySelector('[aria-labelledby=map-title]'), frame = map.getBoundingClientRect();
      const marks = [...map.querySelectorAll('.spot')], boxes = marks.map(mark => mark.getBoundingClientRect());
      return [map.querySelectorAll('.spot.kept').length, map.querySelectorAll('.spot.dropped').length,
              boxes.every(box => box.left >= frame.left && box.right <= frame.right && box.top >= frame.top &&
                          box.bottom <= frame.bottom),
              marks.every(mark => /^(kept|dropped): rows:\\d+: .+/.test(mark.querySelector('title').textContent))];""")
    assert (kept, dropped) == (24, 216)
    assert inside and told


def test_columns_of_a_histogram_stand_on_its_foot(browser: webdriver.Chrome, files: dict[str, str]) -> None:
    at_width(browser, 1280)
    browser.get(files["selection"])
    feet, tops = browser.execute_script("""
      const chart = document.querySelector('[aria-labelledby=lengths-title]'), at = chart.getBoundingClientRect();
      const boxes = [...chart.querySelectorAll('.bar')].map(bar => bar.getBoundingClientRect());
      return [boxes.map(box => Math.round(box.bottom - at.top)), Math.min(...boxes.map(box => box.top - at.top))];""")
    assert set(feet) == {190}
    assert tops >= -0.5
