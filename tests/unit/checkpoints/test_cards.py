import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import scrimp
from scrimp.checkpoints.cards import card

FACTS = {"name": "LoRA on a model", "base": "org/model", "licence": "apache-2.0", "data": "ab" * 32, "rows": 64,
         "recipe": {"adapter": "lora", "rank": 8}, "budget": {"time": 240.0},
         "scores": [SimpleNamespace(metric="accuracy", value=0.81, low=0.77, high=0.845, n=400)],
         "retention": SimpleNamespace(measure="general-text loss", before=3.5, after=3.6, low=0.05, high=0.15,
                                      skills_before=0.9, skills_after=0.8, skills_n=80), "warnings": [], "loads": None}


def test_a_card_states_what_it_must():
    said = card({**FACTS, "warnings": ["3 rows leaked"]})
    front = yaml.safe_load(said.split("---")[1])
    assert front == {"license": "apache-2.0", "base_model": "org/model", "tags": ["scrimp"]}
    for fact in ("ab" * 32, "64 rows", '"rank": 8', "240.0", "accuracy", "0.77 to 0.845", "80", "3 rows leaked"):
        assert fact in said
    assert "holds these rows" not in said and "holds these rows" in card({**FACTS, "remembers": True})


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_name_or_warning_changes_the_page(name, warning):
    said = card({**FACTS, "name": name, "warnings": [warning], "base": name, "licence": name or None,
                 "recipe": {"label": warning}})
    front = re.match(r"---\n(.*?)\n---\n", said, re.S)
    assert front and yaml.safe_load(front[1])["tags"] == ["scrimp"]
    body = said[front.end():]
    assert "<script" not in body.lower()
    assert [line for line in body.splitlines() if line.startswith("#")][1:] == [
        "## Scores", "## What was forgotten", "## How it was made", "## Warnings"]


@pytest.mark.parametrize("kind", ["causal", "encoder"])
def test_the_card_of_a_run_loads_it_as_it_says(kind, tmp_path, causal_folder, encoder_folder):
    rows = [{"text": f"film {n}, {'I loved it' if n % 2 else 'I hated it'}", "label": "ab"[n % 2]} for n in range(12)]
    model = causal_folder if kind == "causal" else encoder_folder
    scrimp.tune(rows, out=tmp_path / "run", model=str(model), workspace=tmp_path / "w", steps=2, rank=2,
                objective="sft" if kind == "causal" else "classify")
    code = re.search(r"```python\n(.*?)```", (tmp_path / "run/model/README.md").read_text(), re.S)[1]
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 10
    before, scope = Path.cwd(), {}
    os.chdir(tmp_path / "run" / "model")
    try:
        exec(compile(code, "README.md", "exec"), scope)
    finally:
        os.chdir(before)
    assert json.loads((tmp_path / "run/model/adapter_config.json").read_text())["r"] == 2
    assert ("model" in scope) if kind == "causal" else set(scope["told"]["labels"]) == {"a", "b"}
