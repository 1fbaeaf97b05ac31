"""One browser for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import driving
from selenium import webdriver


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = driving.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
