"""A real browser for tests: what it is started with, what it may be asked, what it fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
          "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")
#: how many texts were seen, and those that stand out too little from their ground
CONTRAST = """
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


def start(profile: Path) -> webdriver.Chrome:
    """Headless Chromium with a fresh profile, logging its console and its network."""
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(_program("chromedriver")))


def _program(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.fail(f"{' or '.join(names)} is not on the PATH; the report must be tested in a real browser. "
                "On Debian: apt-get install chromium chromium-driver")


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
