"""A known flaw fails; an advisory service that is out of reach only where it must not be."""

from __future__ import annotations

from pathlib import Path

import audit
import pytest

REACHABLE, UNKNOWN = ("--where-reachable",), {"name": "a", "skip_reason": "not found"}


def told(name: str, *flaws: str) -> dict:
    return {"name": name, "version": "1.0", "vulns": [{"id": one, "fix_versions": ["1.1"]} for one in flaws]}


@pytest.mark.parametrize(("found", "arguments", "code", "said"), [
    ([told("a"), told("b")], (), 0, "2 of"), ([told("a"), told("b", "X-1")], REACHABLE, 1, "b 1.0: X-1"),
    ([UNKNOWN], (), 1, "out of reach"), ([], REACHABLE, 0, "out of reach"),
    ([UNKNOWN, told("b", "X-1")], REACHABLE, 1, "mended in 1.1"),
])
def test_what_the_audit_says(found: list[dict], arguments: tuple[str, ...], code: int, said: str,
                             monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(audit, "asked", lambda: found)
    assert audit.main(*arguments) == code
    assert said in capsys.readouterr().out


def test_the_tool_is_asked_of_every_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in that answers in pip-audit's form, and fails as it does where it finds a flaw."""
    tool = tmp_path / "pip-audit"
    tool.write_text("""#!/usr/bin/env python3
import json, sys
given = dict(zip(sys.argv, sys.argv[1:]))
pins = [line.split("==") for line in open(given["--requirement"]) if "==" in line]
found = [{"name": name, "version": version.strip(), "vulns": []} for name, version in pins]
json.dump({"dependencies": found, "fixes": []}, open(given["--output"], "w"))
sys.exit(1)
""")
    tool.chmod(0o755)
    monkeypatch.setattr(audit, "tool", lambda: tool)
    assert len(audit.asked()) == len(audit.pinned()) > 100
    monkeypatch.setattr(audit, "tool", lambda: Path("/bin/false"))
    assert audit.asked() == []
