"""Recipes: mistakes are told with their place, a recipe stands for calls of verbs, and what is written can be read."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scrimp.core.errors import OptionError, ScrimpError
from scrimp.recipes import writing
from scrimp.recipes.calls import calls
from scrimp.recipes.fields import Selecting, count_of
from scrimp.recipes.schema import Recipe, json_schema, load
from scrimp.verbs import Fit, Mix, Select, Tune

VALID = """\
version: 1
model: smollm2-135m              # a comment
data: {train: train.jsonl, test: test.jsonl, columns: {text: review, label: stars}}
budget: {time: 10m, memory: 8GiB}
steps:
  - tune: {adapter: lora, rank: 16, optimizer: adamw, schedule: wsd, objective: sft, epochs: 3}
evaluate: [task, retention]
seeds: [0, 1, 2]
"""


@pytest.fixture
def recipe(tmp_path: Path):
    """Writes a recipe and loads it."""
    path = tmp_path / "recipe.yaml"

    def write_and_load(text: str) -> Recipe:
        path.write_text(text, encoding="utf-8")
        return load(path)
    return write_and_load


def test_a_valid_recipe(recipe) -> None:
    read = recipe(VALID)
    assert read.verb == "tune"
    assert read.options["rank"] == 16
    assert read.budget.time == 600
    assert read.budget.memory == 8 << 30
    assert read.seeds == (0, 1, 2)


@pytest.mark.parametrize(("text", "train", "time"), [
    ("data: a.csv", "a.csv", None), ("data: a.csv\nbudget: 90", "a.csv", 90),
    ("data: {train: hub:x}\nbudget: 1h", "hub:x", 3600),
])
def test_short_forms(recipe, text: str, train: str, time: float | None) -> None:
    read = recipe(text)
    assert read.data.train == train
    assert (read.budget.time if read.budget else None) == time
    assert (read.verb, read.options) == ("fit", {})


@pytest.mark.parametrize(("old", "new", "where", "what"), [
    ("model:", "modle:", "2:1", "unknown key 'modle'; did you mean 'model'"),
    ("test: test", "tst: test", "3:28", "unknown key 'data.tst'; did you mean 'test'"),
    ("train: train", "trian: train", "3:8", "did you mean 'train'"),
    ("time: 10m", "time: ten", "4:16", "'budget.time': 'ten' is no duration"),
    ("memory", "memroy", "4:21", "did you mean 'memory'"),
    ("tune:", "tnue:", "6:5", "unknown key 'steps[0].tnue'; did you mean 'tune'"),
    ("adapter: lora", "adapter: lroa", "6:21", "did you mean 'lora'"),
    ("rank: 16", "rnak: 16", "6:27", "unknown option 'rnak'"),
    ("rank: 16", "rank: many", "6:27", "'rank'"),
    ("[task, retention]", "[task]", "7:11", "both are always measured"),
    ("[0, 1, 2]", "[0, x, 2]", "8:12", "'seeds[1]'"),
    ("[0, 1, 2]", "[1, 1]", "8:8", "given twice"),
    ("[0, 1, 2]", "[]", "8:8", "at least 1"),
    ("version: 1", "version: 2", "1:10", "this scrimp reads version 1"),
    ("version: 1", "version: one", "1:10", "this scrimp reads version 1"),
    ("version: 1", "version: true", "1:10", "this scrimp reads version 1"),
    ("  - tune", "  - fit: {}\n    tune", "6:5", "a step names one of mix, select, fit, tune"),
    ("  - tune: {", "  - fit: {}\n  - tune: {", "6:3", "at most one select and one mix, before it"),
    ("  - tune: {", "  - select: {keep: 5%}\n  - mix:\n  - fit:\n  - tune: {", "6:3", "at most 3"),
    ("  - tune", "  - select: {keep: 200%}\n  - tune", "6:20", "neither a share nor a number of rows"),
    ("  - tune", "  - select: {kepe: 5%}\n  - tune", "6:13", "keep' is required"),
    ("  - tune", "  - select: {method: k-centre, keep: 5%}\n  - tune", "6:22", "did you mean 'k-center'"),
    ("  - tune", "  - select: {keep: 5%, distnace: x}\n  - tune", "6:24", "did you mean 'distance'"),
    ("  - tune", "  - select: {keep: 5%, distance: near}\n  - tune", "6:24", "distance"),
    ("  - tune: {", "  - mix: {}\n  - mix: {}\n  - tune: {", "6:3", "at most one select and one mix"),
    ("  - tune", "  - mix: {method: temprature}\n  - tune", "6:19", "did you mean 'temperature'"),
    ("  - tune", "  - mix: {size: 0}\n  - tune", "6:17", "neither a share nor a number of rows"),
    ("  - tune", "  - mix: {method: temperature, temprature: 2}\n  - tune", "6:32", "did you mean 'temperature'"),
    ("train: train.jsonl", "train: {web: w.jsonl, law: l.jsonl}", "1:1", "no mix step is the first"),
    (VALID, "[1]", "1:1", "a recipe is a mapping"),
    (VALID, "", "1:1", "a recipe is a mapping"),
    (VALID, "model: x", "1:1", "'data' is required"),
])
def test_mistakes_name_line_and_column(recipe, old: str, new: str, where: str, what: str) -> None:
    assert old in VALID
    with pytest.raises(OptionError) as caught:
        recipe(VALID.replace(old, new, 1))
    assert f"recipe.yaml:{where}" in str(caught.value)
    assert what in str(caught.value)


def test_all_mistakes_are_told_at_once_in_their_order(recipe) -> None:
    with pytest.raises(OptionError) as caught:
        recipe("modle: x\ndata: {train: a, tset: b}\nseeds: [x]\n")
    lines = str(caught.value).splitlines()
    assert "3 mistakes" in lines[0]
    assert [line.split("recipe.yaml:")[1].split(":")[0] for line in lines[1:]] == ["1", "2", "3"]


def test_calls_take_paths_from_the_recipes_folder(recipe, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    made = calls(recipe(VALID.replace("smollm2-135m", "base")), tmp_path, tmp_path / "out")
    assert [call.verb for call in made] == ["tune"] * 3
    assert [call.options["out"] for call in made] == [str(tmp_path / "out" / f"seed-{i}") for i in range(3)]
    request = Tune.parse(made[2].options)
    assert (request.data, request.test) == (str(tmp_path / "train.jsonl"), str(tmp_path / "test.jsonl"))
    assert (request.model, request.seed) == (str(tmp_path / "base"), 2)
    assert request.method["schedule"] == "wsd"
    assert request.columns == {"text": "review", "label": "stars"}


def test_a_select_step_stands_before_each_learning_from_what_it_keeps(recipe, tmp_path: Path) -> None:
    step = "  - select: {keep: 5%, target: dev.jsonl, distance: euclidean}\n"
    text = VALID.replace("steps:\n", f"encoder: minilm\nsteps:\n{step}")
    made = calls(recipe(text), tmp_path, tmp_path / "out")
    assert [call.verb for call in made] == ["select", "tune"] * 3
    chosen = str(tmp_path / "out" / "seed-1.selected.jsonl")
    select, tune = Select.parse(made[2].options), Tune.parse(made[3].options)
    assert (select.data, select.target) == (str(tmp_path / "train.jsonl"), str(tmp_path / "dev.jsonl"))
    assert (select.method, select.keep, select.seed, str(select.out)) == ("k-center", 0.05, 1, chosen)
    assert select.options == {"distance": "euclidean"}
    assert select.columns == {"text": "review", "label": "stars"}
    assert (tune.data, tune.columns, tune.test) == (chosen, select.columns, str(tmp_path / "test.jsonl"))


def test_what_a_mix_step_leaves_is_read_by_the_next_one(recipe, tmp_path: Path) -> None:
    steps = "  - mix: {method: temperature, temperature: 2, size: 50%}\n  - select: {keep: 5%}\n"
    text = VALID.replace("steps:\n", f"encoder: minilm\nsteps:\n{steps}").replace(
        "train: train.jsonl", "train: {web: w.jsonl, law: hub:acts}")
    made = calls(recipe(text), tmp_path, tmp_path / "out")
    assert [call.verb for call in made] == ["mix", "select", "tune"] * 3
    mix, select, tune = (verb.parse(call.options) for verb, call in zip((Mix, Select, Tune), made[3:6], strict=True))
    assert mix.data == {"web": str(tmp_path / "w.jsonl"), "law": "hub:acts"}
    assert (mix.method, mix.size, mix.seed, mix.options) == ("temperature", 0.5, 1, {"temperature": 2})
    assert mix.columns == select.columns == tune.columns == {"text": "review", "label": "stars"}
    assert str(mix.out) == select.data == str(tmp_path / "out" / "seed-1.mixed.jsonl")
    assert str(select.out) == tune.data == str(tmp_path / "out" / "seed-1.selected.jsonl")


@pytest.mark.parametrize(("keep", "read", "of_40"), [
    ("5%", 0.05, 2), (0.5, 0.5, 20), ("0.5", 0.5, 20), (7, 7, 7), ("7", 7, 7), ("1", 1, 1),
    (1.0, 1.0, 40), ("0.1%", 0.001, 1)])
def test_how_much_to_keep(keep: object, read: float, of_40: int) -> None:
    asked = Selecting.parse({"keep": keep})
    assert (asked.keep, type(asked.keep)) == (read, type(read))
    assert count_of(asked.keep, 40) == of_40


@pytest.mark.parametrize("keep", [0, -1, "0%", "101%", 1.5, "many", True, None, "", "nan", [], "1e999"])
def test_what_is_no_amount_is_refused(keep: object) -> None:
    with pytest.raises(OptionError, match="keep"):
        Selecting.parse({"keep": keep})
    with pytest.raises(OptionError, match="41 rows cannot be kept of 40"):
        count_of(41, 40)


def test_what_a_recipe_leaves_out_is_the_verbs_default(recipe, tmp_path: Path) -> None:
    (call,) = calls(recipe("data: hub:sst"), tmp_path, tmp_path / "out")
    assert Fit.parse(call.options) == Fit.parse({"data": "hub:sst", "out": str(tmp_path / "out")})


def test_a_written_recipe_asks_for_the_same(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "no").mkdir()
    asked = Fit.parse({
        "data": str(tmp_path / "train.csv"), "test": "hub:x", "out": str(run), "seed": 7, "model": str(tmp_path / "no"),
        "columns": {"text": "on", "label": "1e-4"}, "instruction": "Say: yes\nor no", "budget": "5m"})
    writing.write(asked, {"fit": {"rungs": ["frozen-features"]}}, run / "recipe.yaml")
    (call,) = calls(load(run / "recipe.yaml"), run, run)
    again = Fit.parse(call.options)
    assert again.rungs == ("frozen-features",)
    assert Path(again.data).resolve() == Path(asked.data)
    assert Path(again.model).resolve() == Path(asked.model)
    same = {"rungs": None, "data": asked.data, "model": asked.model}
    assert again.model_copy(update=same) == asked
    assert str(tmp_path) not in (run / "recipe.yaml").read_text()


def test_rows_in_memory_are_written_beside_the_recipe(tmp_path: Path) -> None:
    rows = [{"text": "a 🎉", "label": "x"}, {"text": "b", "label": "y"}]
    asked = Tune.parse({"data": rows, "out": str(tmp_path), "rank": 4})
    writing.write(asked, {"tune": {"rank": 4}}, tmp_path / "recipe.yaml")
    (call,) = calls(load(tmp_path / "recipe.yaml"), tmp_path, tmp_path)
    assert [json.loads(line) for line in Path(call.options["data"]).read_text(encoding="utf-8").splitlines()] == rows
    assert call.options["method"] == {"rank": 4}


def test_the_json_schema_accepts_what_is_accepted() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$defs"]["Step"]["properties"]["tune"]["properties"]["rank"]["description"]
    assert schema["$defs"]["Selecting"]["properties"]["distance"]["enum"] == ["cosine", "euclidean"]
    assert "k-center" in schema["$defs"]["Selecting"]["properties"]["method"]["enum"]
    assert "temperature" in schema["$defs"]["Mixing"]["properties"]["method"]["enum"]
    assert {"favoured", "size", "domain"} < set(schema["$defs"]["Mixing"]["properties"])
    assert {"type": "string"} in schema["properties"]["data"]["anyOf"]
    references = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
    assert references <= set(schema["$defs"])
    assert {"type": "string"} in schema["$defs"]["Budget"]["properties"]["time"]["anyOf"]
    assert schema["required"] == ["data"]


NOISE = ["&a", "*a", "!!int", "{", "}", "[", "]", ":", "- ", "\t", "\n", "\x00", "\ud800", "🎉", "%YAML 9.9", "---",
         "? ", "|", "'", '"', "<<: ", "null", "1e999", "9" * 40, "\u2028", "#", ",", "true", "\\", "@"]


def corrupted(seed: int) -> bytes:
    """The valid recipe with a few random cuts, repetitions and insertions, and perhaps a flipped byte."""
    dice, text = random.Random(seed), VALID
    for _ in range(dice.randint(1, 4)):
        at, length = dice.randrange(len(text) + 1), dice.randint(0, 8)
        put = dice.choice(["", text[at:at + length] * 2, dice.choice(NOISE), dice.choice(NOISE) + text[at:at + length]])
        text = text[:at] + put + text[at + length:]
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    if dice.random() < 0.3:
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def attempt(path: Path) -> str:
    """Read a recipe and everything it asks for; "" or the error's message."""
    try:
        for call in calls(load(path), path.parent, path.parent / "out"):
            {"fit": Fit, "tune": Tune, "select": Select, "mix": Mix}[call.verb].parse(call.options)
        return ""
    except ScrimpError as error:
        return str(error)


@pytest.mark.parametrize("block", range(4))
def test_corrupted_recipes_are_read_or_refused(tmp_path: Path, block: int) -> None:
    path, told = tmp_path / "recipe.yaml", []
    for seed in range(block * 100, block * 100 + 100):
        path.write_bytes(corrupted(seed))
        told.append(attempt(path))
    assert all("recipe.yaml" in message for message in told if message)
    assert 2 < told.count("") < 98


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(key=st.sampled_from([*Recipe.model_fields, "other"]), value=JSONISH)
@example(key="track", value="")
def test_any_value_anywhere_is_read_or_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"data": "a.csv", key: value}), encoding="utf-8")
    assert "recipe.yaml" in (attempt(path) or "recipe.yaml")
