"""Three hundred random corruptions of valid inputs: a correct run or a clear error, and never half a result."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import scrimp
from scrimp.cli.app import main
from scrimp.core.errors import ScrimpError

CODES = {0, *(cls.exit_code for cls in ScrimpError.__subclasses__())}
ROWS = [{"text": f"film {n} over the fox, {'I loved it' if n % 2 else 'I hated it'}", "label": "np"[n % 2]}
        for n in range(16)]
WHOLE = {"ledger.jsonl", "model", "recipe.yaml", "report.html", "scores.json"}
STRANGE = [b"\0", b"\xff\xfe", b'"', b"{", b"}\n", b"\n\n", b"-", b"NaN", b"1e999", b"\xed\xa0\x80"]
RECIPE = """version: 1
model: {model}
data: {{train: train.jsonl}}
budget: {{time: 2m}}
steps:
  - tune: {{adapter: lora, rank: 2, learning_rate: 1e-3, schedule: wsd, objective: sft, steps: 1}}
evaluate: [task, retention]
seeds: [0]
"""


def corrupted(content: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut, repeated, dropped or put in."""
    data, at = bytearray(content), chance.randrange(len(content))
    span = chance.choice([1, 2, 8, 64, len(content) // 3 + 1])
    kind = chance.randrange(6)
    if kind == 0:
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at:at + span]
    elif kind == 3:
        data[at:at] = chance.randbytes(min(span, 64))
    elif kind == 4:
        data[at:at] = data[at:at + span]
    else:
        data[at:at + 1] = chance.choice(STRANGE)
    return bytes(data)


def spoil(source: Path, folder: Path, chance: random.Random) -> Path:
    """A copy of ``source`` with one of its files corrupted."""
    copy = folder / source.name
    if source.is_dir():
        shutil.copytree(source, copy)
        victim = chance.choice(sorted(path for path in copy.rglob("*") if path.is_file()))
    else:
        victim = copy
        shutil.copy(source, copy)
    victim.write_bytes(corrupted(victim.read_bytes(), chance))
    return copy


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, causal_folder: Path) -> Path:
    """Valid inputs of every kind."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "train.csv").write_text("text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in ROWS))
    (folder / "train.json").write_text(json.dumps(ROWS))
    (folder / "recipe.yaml").write_text(RECIPE.format(model=causal_folder))
    scrimp.tune(str(folder / "train.jsonl"), out=folder / "run", model=str(causal_folder), workspace=folder / "space",
                steps=1, rank=2)
    return folder


@pytest.fixture(autouse=True)
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRIMP_WORKSPACE", str(tmp_path / "space"))
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path / "cache"))


def commands(kind: str, good: Path, model: Path, folder: Path, chance: random.Random) -> Iterator[list[str]]:
    if kind == "data":
        source = good / chance.choice(["train.jsonl", "train.csv", "train.json"])
        yield ["inspect", str(spoil(source, folder, chance)), "--model", str(model)]
    elif kind == "recipe":
        shutil.copy(good / "train.jsonl", folder)
        yield ["run", str(spoil(good / "recipe.yaml", folder, chance)), "--out", str(folder / "out")]
    elif kind == "model":
        yield ["inspect", str(good / "train.jsonl"), "--model", str(spoil(model, folder, chance))]
    else:
        spoil(good / "run", folder, chance)
        yield ["predict", str(folder / "run"), str(good / "train.jsonl"), "--out", str(folder / "said.jsonl")]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "count"), [("data", 100), ("recipe", 70), ("model", 60), ("run", 70)])
def test_corrupted_inputs_end_in_a_result_or_a_clear_error(kind, count, good, causal_folder, tmp_path, capsys):
    codes = []
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        for argv in commands(kind, good, causal_folder, folder, random.Random(f"{kind} {number}")):
            code = main(argv)
            printed = capsys.readouterr()
            assert code in CODES, f"{argv}: {code}\n{printed.err}"
            assert "Traceback" not in printed.err + printed.out
            assert code == 0 or printed.err.strip(), f"{argv}: no word of what went wrong"
            codes.append(code)
        said, out = folder / "said.jsonl", folder / "out"
        if said.exists():
            assert len([json.loads(line) for line in said.read_text().splitlines()]) == len(ROWS)
        if out.exists():
            left = {path.name for path in out.iterdir() if not path.name.startswith("seed")}
            assert left in (set(), WHOLE), f"half a result: {left}"
        shutil.rmtree(folder)
    assert len(set(codes)) > 1, "no corruption had any effect"
