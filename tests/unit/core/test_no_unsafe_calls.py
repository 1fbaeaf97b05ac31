"""The source has no call that runs what a file holds, and the page on security names tests that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import scrimp

ROOT = Path(__file__).parents[3]
_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
_FLAGS = {"trust_remote_code": False, "allow_pickle": False, "shell": False}
_PROVEN = re.compile(r"\[(test_\w+)\]\((tests/[\w/]+\.py)\)")


def unsafe(source: str) -> Iterator[str]:
    """What a source does that could run what others wrote."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            yield from (f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in _MODULES)
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
        if called in _CALLS or (called == "torch.load" and given.get("weights_only") != "True"):
            yield f"line {node.lineno}: calls {called}"
        yield from (f"line {node.lineno}: {flag}={given[flag]}" for flag, safe in _FLAGS.items()
                    if given.get(flag, str(safe)) != str(safe))


def test_the_source_unpickles_nothing_and_trusts_no_remote_code() -> None:
    files = [path for path in Path(scrimp.__file__).parent.rglob("*.py") if "tried" not in path.parts]
    assert len(files) > 200
    assert [f"{path.name}, {found}" for path in files for found in unsafe(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(("source", "caught"), [
    ("import pickle", True), ("from joblib import load", True), ("import json", False),
    ("torch.load(path)", True), ("torch.load(path, weights_only=False)", True),
    ("torch.load(path, weights_only=True)", False), ("model.eval()", False), ("eval(text)", True),
    ("AutoModel.from_pretrained(path, trust_remote_code=True)", True),
    ("AutoModel.from_pretrained(path, trust_remote_code=asked)", True),
    ("AutoModel.from_pretrained(path, trust_remote_code=False)", False),
    ("np.load(path, allow_pickle=True)", True), ("np.load(path)", False),
    ("yaml.load(text, Loader=yaml.Loader)", True), ("subprocess.run(text, shell=True)", True),
    ("subprocess.run([program])", False)])
def test_a_planted_call_is_caught(source: str, caught: bool) -> None:
    assert bool(list(unsafe(source))) is caught


def test_every_proof_that_the_page_names_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    proofs = _PROVEN.findall(text)
    assert len(proofs) > 25
    assert [proof for proof in proofs if not is_there(*proof)] == []
    promised = text.split("## What is promised")[1].split("\n## ")[0].split("\n**")[1:]
    assert [part.splitlines()[0] for part in promised if not _PROVEN.search(part)] == []


@pytest.mark.parametrize(("name", "there"), [("test_links_are_refused", True), ("test_links_are", False),
                                             ("test_of_nothing", False)])
def test_a_proof_that_is_gone_is_seen(name: str, there: bool) -> None:
    assert is_there(name, "tests/unit/core/test_assets.py") is there


def is_there(name: str, file: str) -> bool:
    path = ROOT / file
    return path.exists() and f"def {name}(" in path.read_text(encoding="utf-8")
