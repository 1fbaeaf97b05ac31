"""A package of thirty lines, outside the tree, adds a selector and an adapter; nothing of scrimp is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = '''"""Two methods of a third party."""
import numpy as np
from torch import nn

from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection, Selector
from scrimp.tuning.adapters import Adapter


class Longest(Selector):
    """Keep the longest rows."""

    def select(self, pool, keep, *, signals, target=None, seed=0):
        lengths = np.array([len(str(row)) for row in pool.rows], dtype=np.float64)
        return Selection(np.argsort(-lengths, kind="stable")[:keep], lengths, "the longest")

    def cost(self):
        return Cost(forward=0, backward=0)


class Norms(Adapter):
    """Train the gains of the normalisations alone."""

    def move(self, model: nn.Module) -> nn.Module:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("norm" in name)
        return model

preset("wordiest", Longest)
preset("norms", Norms)
'''


@pytest.fixture
def shell(tmp_path: Path, causal_folder: Path):
    """Runs Python with the package installed beside scrimp, in a folder with data and a recipe."""
    site = tmp_path / "site"
    (site / "oddly-1.0.dist-info").mkdir(parents=True)
    (site / "oddly.py").write_text(PACKAGE)
    (site / "oddly-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: oddly\nVersion: 1.0\n")
    (site / "oddly-1.0.dist-info" / "entry_points.txt").write_text("[scrimp.methods]\noddly = oddly\n")
    rows = [{"prompt": f"Say {n}.", "completion": "ha" * n} for n in range(1, 41)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        f"model: {causal_folder}\ndata: {{train: pool.jsonl}}\nsteps:\n"
        "  - select: {method: wordiest, keep: 30}\n  - tune: {adapter: norms, steps: 2, batch_size: 4}\n")
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": paths, "SCRIMP_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    def run(*command: str) -> str:
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True,
                              timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_package_is_thirty_lines() -> None:
    assert sum(bool(line.strip()) for line in PACKAGE.splitlines()) <= 30


def test_its_methods_are_listed_and_have_pages(shell) -> None:
    assert "wordiest" in shell("-m", "scrimp", "methods", "selection")
    page = shell("-m", "scrimp", "methods", "adapter", "norms")
    assert "Train the gains" in page and "- tune: {adapter: norms}" in page


def test_they_run_from_yaml(shell, tmp_path: Path) -> None:
    shell("-m", "scrimp", "run", "recipe.yaml", "--out", "run")
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    (chosen,) = [rung for rung in scores["rungs"] if rung["kind"] == "adapted"]
    assert chosen["chosen"]["adapter"] == "norms" and 0 < chosen["trainable"] < 1000


def test_they_run_from_python(shell, tmp_path: Path) -> None:
    shell("-c", "import scrimp; scrimp.select('pool.jsonl', out='chosen.jsonl', method='wordiest', keep=3)")
    chosen = [json.loads(line) for line in (tmp_path / "chosen.jsonl").read_text().splitlines()]
    assert [len(row["completion"]) for row in chosen] == [80, 78, 76]


def test_a_name_that_is_taken_is_left_out_whichever_family_is_asked_first(shell, tmp_path: Path) -> None:
    (tmp_path / "site" / "oddly.py").write_text(PACKAGE.replace('preset("norms"', 'preset("lora"'))
    told = shell("-c", "from scrimp.core.registry import lookup, presets\n"
                       "print(*(p.name for p in presets('selection')), lookup('adapter', 'lora').method.__name__)")
    assert "wordiest" in told and told.strip().endswith("LoRA")
