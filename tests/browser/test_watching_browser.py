"""`scrimp ui` as a person has it: its own process, a real browser, runs that go on while one looks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.driving import CONTRAST, at_width, fetched
from filelock import FileLock
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from unit.reports import sample
from unit.watching.workspaces import begun, finished

_PATIENCE_S = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("watched") / "workspace"


@pytest.fixture(scope="module")
def names(root: Path) -> dict[str, str]:
    """Finished runs: two that were measured on the same rows, one that was not, and one of nothing but attacks."""
    return {"films": finished(root, sample.classification()), "many": finished(root, sample.many_classes()),
            "sums": finished(root, sample.generation(), test="other"),
            "hostile": finished(root, sample.hostile(), test="another")}


@pytest.fixture(scope="module")
def url(root: Path, names: dict[str, str]) -> Iterator[str]:
    """Where the page is; its process ends quietly when it is told to."""
    command = [sys.executable, "-m", "scrimp", "ui", "--workspace", str(root), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root,
                          env={**os.environ, "COLUMNS": "500", "PYTHONUNBUFFERED": "1"}) as process:
        assert process.stderr is not None
        try:
            said = next(line for line in process.stderr if "watching" in line)
            yield re.search(r"http://\S+", said)[0]
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert {path.name for path in root.iterdir() if not path.name.startswith((".", "fit-", "tune-"))} == {
        "workspace.json"}  # nothing of the page's own is left


def text(browser: webdriver.Chrome) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def wait(browser: webdriver.Chrome, for_: Callable[[], object]) -> None:
    WebDriverWait(browser, _PATIENCE_S).until(lambda _: for_())


def drawn(browser: webdriver.Chrome) -> int:
    """Lines, spots and bars in all charts."""
    return len(browser.find_elements(By.CSS_SELECTOR, ".nicegui-echart svg path"))


def test_runs_are_listed_and_nothing_comes_from_elsewhere(browser: webdriver.Chrome, url: str,
                                                          names: dict[str, str]) -> None:
    fetched(browser), browser.get_log("browser")
    browser.get(url)
    wait(browser, lambda: all(name in text(browser) for name in names.values()))
    assert "finished" in text(browser) and sample.classification().best.title in text(browser)
    asked = [address for address in fetched(browser) if not address.startswith(("data:", "blob:"))]
    assert [address for address in asked if not address.startswith((url, url.replace("http", "ws")))] == []
    assert browser.get_log("browser") == []


def test_a_run_is_followed_while_it_lasts(browser: webdriver.Chrome, url: str, root: Path) -> None:
    ledger = begun(root, "tune-live", data="live.csv")
    with FileLock(root / ".tune-live.lock"):
        browser.get(f"{url}/runs/tune-live")
        wait(browser, lambda: "running" in text(browser))
        assert "live.csv" in text(browser)
        ledger.write("trying", name="lora", title="LoRA on a small model")
        wait(browser, lambda: "LoRA on a small model" in text(browser) and "now" in text(browser))
        for step in range(1, 6):
            ledger.write("step", training="lora/whole", step=step, loss=1 / step)
        wait(browser, lambda: "Training loss" in text(browser) and drawn(browser))
        few = drawn(browser)
        for step in range(6, 12):
            ledger.write("step", training="lora/whole", step=step, loss=1 / step)
        wait(browser, lambda: drawn(browser) > few)
        ledger.write("rung", name="lora", wall_s=12.0)
        wait(browser, lambda: "12 s" in text(browser))
    wait(browser, lambda: "interrupted" in text(browser))
    sample.classification().model_copy(update={"asked": {}}).save(ledger.path.with_name("scores.json"))
    (ledger.path.parent / "step.json").write_text('{"kind": "tune", "inputs": {}}')
    ledger.path.parent.rename(root / "tune-live")
    wait(browser, lambda: "Open the report" in text(browser))
    assert sample.classification().best.title in text(browser)


def test_runs_that_are_chosen_are_compared(browser: webdriver.Chrome, url: str, names: dict[str, str]) -> None:
    at_width(browser, 1280)
    browser.get(url)
    wait(browser, lambda: names["many"] in text(browser))
    button = browser.find_element(By.XPATH, "//button[contains(., 'Compare')]")
    assert not button.is_enabled()
    for name in (names["films"], names["many"]):
        browser.find_element(By.XPATH, f"//tr[contains(., '{name}')]//div[@role='checkbox']").click()
    wait(browser, button.is_enabled)
    button.click()
    wait(browser, lambda: "Where the time went" in text(browser) and drawn(browser) > 20)
    assert names["films"] in text(browser) and names["many"] in text(browser)
    assert "Scores on rows of one test set" in text(browser) and "not measured by one metric" not in text(browser)
    browser.find_element(By.XPATH, "//button[contains(., 'Memory')]").click()
    wait(browser, lambda: "MiB" in browser.execute_script(
        "return [...document.querySelectorAll('.nicegui-echart text')].map(t => t.textContent).join(' ')"))
    assert browser.get_log("browser") == []


def test_scores_of_other_rows_are_not_set_beside_each_other(browser: webdriver.Chrome, url: str,
                                                            names: dict[str, str]) -> None:
    browser.get(f"{url}/compare?runs={names['films']},{names['sums']}")
    wait(browser, lambda: "Where the time went" in text(browser))
    assert "not measured by one metric on one test set" in text(browser)
    assert "Scores on rows of one test set" not in text(browser)


@pytest.mark.parametrize("path", ["/runs/{}", "/compare?runs={},{}"])
def test_attacks_are_read_and_not_run(browser: webdriver.Chrome, url: str, names: dict[str, str], path: str) -> None:
    browser.get(url + path.format(names["hostile"], names["films"]))
    wait(browser, lambda: "<script>" in text(browser) and drawn(browser))
    assert browser.title.endswith("scrimp")
    assert browser.execute_script("return document.querySelectorAll('img[src=x], svg[onload]').length") == 0
    assert browser.get_log("browser") == []


def test_a_report_opens_and_may_run_nothing(browser: webdriver.Chrome, url: str, names: dict[str, str]) -> None:
    browser.get(f"{url}/runs/{names['films']}")
    wait(browser, lambda: "Open the report" in text(browser))
    report = browser.find_element(By.LINK_TEXT, "Open the report").get_attribute("href")
    browser.get(report)
    assert "accuracy" in text(browser) and browser.find_elements(By.CSS_SELECTOR, "#scores")
    with urllib.request.urlopen(report) as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["fit-none", "..%2F..%2Fetc%2Fpasswd", "workspace.json"])
def test_what_is_no_run_has_no_page(browser: webdriver.Chrome, url: str, name: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/reports/{name}")
    browser.get(f"{url}/runs/fit-none")
    wait(browser, lambda: "no such run" in text(browser))


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_only_this_machine_is_answered(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(url, headers=headers))


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_spills_sideways_and_text_stands_out(browser: webdriver.Chrome, url: str, names: dict[str, str],
                                                     width: int) -> None:
    at_width(browser, width)
    for path in ("", f"/runs/{names['films']}", f"/compare?runs={names['films']},{names['many']}"):
        browser.get(url + path)
        wait(browser, lambda: names["films"] in text(browser) or "Ways" in text(browser))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        seen, faint = browser.execute_script(CONTRAST)
        assert seen > 10
        assert [one for one in faint if one[0] not in ("BUTTON", "I")] == []  # a button that waits, a sign
