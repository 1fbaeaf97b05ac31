"""The runner of the pages' examples: a command that fails is seen, and nothing is passed over in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pages
import pytest


def page(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def run(folder: Path, text: str) -> int:
    return pages.run(page(folder, text), dict(os.environ))


def test_files_are_written_and_lines_are_run_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, '```json title="rows.jsonl"\n{"a": 1}\n```\n\n```sh\n# a word\ngrep a rows.jsonl\n'
                         'echo one \\\n  two > both\n```\n```python\nassert open("both").read() == "one two\\n"\n```\n'
               ) == 3
    assert capsys.readouterr().out.count("-> 0") == 3


@pytest.mark.parametrize("text", ["```sh\ntrue\nfalse\n```\n", "```sh\nfalse | cat\n```\n",
                                  "```python\nraise SystemExit(3)\n```\n"])
def test_what_fails_is_seen(tmp_path: Path, text: str) -> None:
    with pytest.raises(pages.Failed):
        run(tmp_path, text)


def test_what_is_left_out_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "<!-- not run: it costs a day -->\n```sh\nfalse\n```\n\n```yaml\na: 1\n```\n") == 0
    assert "left out, it costs a day: false" in capsys.readouterr().out


SERVER = """```python title="server.py"
import sys
from http.server import HTTPServer, SimpleHTTPRequestHandler

HTTPServer(("127.0.0.1", int(sys.argv[2])), SimpleHTTPRequestHandler).serve_forever()
```

<!-- until: http://127.0.0.1:8000/ -->
```sh
python server.py --port 8000
```

```python
import urllib.request

assert urllib.request.urlopen("http://127.0.0.1:8000/").status == 200
```
"""


def test_a_server_runs_until_the_page_ends(tmp_path: Path) -> None:
    assert run(tmp_path, SERVER) == 2


def test_a_server_that_ends_is_seen(tmp_path: Path) -> None:
    with pytest.raises(pages.Failed, match="did not answer"):
        run(tmp_path, "<!-- until: http://127.0.0.1:8000/ -->\n```sh\necho no\n```\n")


def test_every_page_of_the_site_that_shows_commands_is_run() -> None:
    found = [path for path in (pages.ROOT / "docs").rglob("*.md") if "methods" not in path.parts]
    shown = {path for path in found if any(block.language in ("sh", "python")
                                           for block in pages.blocks(path.read_text(encoding="utf-8")))}
    #: serving.md has tests of its own in tests/unit/serving/test_serving_page.py; the others show no walk to follow
    others = {"serving.md", "low-data.md", "architecture.md", "benchmarks.md", "selection-curves.md", "selecting.md"}
    assert {path.name for path in shown - set(pages.PAGES)} <= others
    assert {path for path in shown if path.parent.name == "howto"} <= set(pages.PAGES)
