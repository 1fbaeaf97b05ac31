"""The report in a real browser: nothing is fetched, nothing is run, nothing spills, everything has a name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from unit.reports import compared, sample, selected

from scrimp.evidence import page as evidence_page
from scrimp.evidence.results import Standing
from scrimp.evidence.verdicts import Finding
from scrimp.reports import comparison, page, selection

PAGES = (*sample.ALL, *selected.ALL, *compared.ALL)

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
          "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")
_NAMED = {"image", "figure", "table", "region", "navigation"}
_CONTRAST = """
function channel(v) { v /= 255; return v <= .03928 ? v / 12.92 : Math.pow((v + .055) / 1.055, 2.4); }
function light(c) { return .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]); }
function colour(text) {
  const parts = text.match(/[\\d.]+/g).map(Number), unit = text.startsWith('color(') ? 255 : 1;
  return [...parts.slice(0, 3).map(part => part * unit), parts[3] ?? 1];
}
function ground(element) {
  for (let at = element; at; at = at.parentElement) {
    const found = colour(getComputedStyle(at).backgroundColor);
    if (found[3] > 0) return found;
  }
  return [255, 255, 255];
}
const bad = [], seen = new Set();
document.querySelectorAll('details').forEach(d => d.open = true);
for (const element of document.querySelectorAll('body *')) {
  if (![...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  if (!element.getClientRects().length || element.closest('.off, .skip, title, desc')) continue;
  const style = getComputedStyle(element), svg = element.closest('svg');
  const front = colour(svg ? style.fill : style.color), back = ground(svg ? svg.parentElement : element);
  const [low, high] = [light(front), light(back)].sort((a, b) => a - b);
  const ratio = (high + .05) / (low + .05);
  seen.add(element);
  if (ratio < 4.5) bad.push([element.tagName, element.textContent.slice(0, 30), ratio]);
}
return [seen.size, bad];
"""


def _program(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.fail(f"{' or '.join(names)} is not on the PATH; the report must be tested in a real browser. "
                "On Debian: apt-get install chromium chromium-driver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium with a fresh profile, logging its console and its network."""
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(_program("chromedriver")))
    yield driver
    driver.quit()


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


def at_width(browser: webdriver.Chrome, width: int, *, dark: bool = False) -> None:
    """Emulate a screen, and the colours that a person prefers."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})


def fetched(browser: webdriver.Chrome) -> list[str]:
    """Every address that was asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


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
    seen, faint = browser.execute_script(_CONTRAST)
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
