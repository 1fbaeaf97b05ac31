"""The documentation's page on serving is run as it is written."""

import json
import re
import shlex
from pathlib import Path

import httpx
import pytest
import serving_folders as folders
from httpserver import running

from scrimp.cli.app import app
from scrimp.serving.hosting import gather
from scrimp.serving.http.app import PATHS
from scrimp.verbs import Serve

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]


@pytest.fixture(scope="module")
def url(tmp_path_factory, causal_folder):
    folder = folders.make(tmp_path_factory.mktemp("runs"), causal_folder)
    with running(gather(folder, base=str(causal_folder), dtype="float32", rows=4, context=128)) as (address, _):
        yield address


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("scrimp")])
def test_the_commands_are_such(line):
    asked = app()(shlex.split(line)[1:])
    assert Serve.parse(asked.options).folder == Path("runs")


def test_the_python_runs(url, capsys):
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
    assert "http://127.0.0.1:8000" in code
    found: dict = {}
    exec(code.replace("http://127.0.0.1:8000", url), found)
    assert "sums" in capsys.readouterr().out
    assert len(found["vectors"].data) == 2


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("curl")])
def test_what_curl_asks_is_answered(url, line):
    words = shlex.split(line)[1:]
    address = words[0].replace("http://127.0.0.1:8000", url)
    found = httpx.post(address, json=json.loads(words[-1]), timeout=300) if "-d" in words else httpx.get(address)
    assert found.status_code == 200


def test_every_path_is_told():
    assert [path for path in PATHS if f"`{path}`" not in PAGE] == []
