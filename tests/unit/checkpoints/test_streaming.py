"""Weights read and written tensor by tensor: whole, in any type and number of files, and never more than a few held."""

from __future__ import annotations

import json
import pickle
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from scrimp.checkpoints.streaming import FolderWeights, distinct, write_weights
from scrimp.core.errors import ModelError
from scrimp.core.workspace import atomic_folder

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]
SHAPES = st.lists(st.tuples(st.lists(st.integers(0, 5), max_size=3), st.sampled_from(TYPES)), min_size=1, max_size=8)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from([1, 100, 10**9]))
def test_what_is_written_is_read_again_here_and_by_safetensors(tmp_path_factory, shapes: list, shard: int) -> None:
    folder = tmp_path_factory.mktemp("weights")
    state = {f"a.{i}/ü": (torch.rand(shape) * 9).to(dtype) for i, (shape, dtype) in enumerate(shapes)}
    write_weights(folder, state.items(), shard_bytes=shard)
    read = FolderWeights(folder)
    theirs = {name: t for path in folder.glob("*.safetensors") for name, t in load_file(path).items()}
    assert set(read) == set(theirs) == set(state)
    for name, tensor in state.items():
        assert read[name].dtype == theirs[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor) and torch.equal(theirs[name], tensor)


def test_one_file_where_it_fits_else_several_with_an_index(tmp_path: Path) -> None:
    state = {f"w{i}": torch.full((10,), float(i)) for i in range(5)}
    for folder in (tmp_path / "one", tmp_path / "many"):
        folder.mkdir()
    write_weights(tmp_path / "one", state.items())
    assert files(tmp_path / "one") == ["model.safetensors"]
    write_weights(tmp_path / "many", state.items(), shard_bytes=80)
    assert files(tmp_path / "many") == [*(f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)),
                                        "model.safetensors.index.json"]
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 200
    assert list(FolderWeights(tmp_path / "many")) == list(state)


def test_many_names_take_another_file(tmp_path: Path) -> None:
    state = {"n" * 200 + str(i): torch.zeros(1) for i in range(400)}
    write_weights(tmp_path, state.items())
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert set(FolderWeights(tmp_path)) == set(state)


def test_transformers_loads_what_was_written(causal_folder: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(causal_folder)
    shutil.copy(causal_folder / "config.json", tmp_path)
    write_weights(tmp_path, FolderWeights(causal_folder).items(), shard_bytes=40_000)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_no_more_than_a_few_tensors_are_held_at_once(tmp_path: Path) -> None:
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0

    def made() -> Iterator[tuple[str, torch.Tensor]]:
        nonlocal most
        for i in range(30):
            tensor = torch.zeros(100)
            alive.add(tensor)
            most = max(most, len(alive))
            yield f"w{i}", tensor
            del tensor

    write_weights(tmp_path, made(), shard_bytes=1000)
    assert most <= 2
    read = FolderWeights(tmp_path)
    first = read["w0"]
    assert first is not read["w0"]  # nothing is kept


def test_a_tied_name_is_left_out_where_its_twin_is_there(causal_copy: Path) -> None:
    state = load_file(causal_copy / "model.safetensors")
    assert "lm_head.weight" not in state
    plain = set(FolderWeights(causal_copy))
    save_file({**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()},
              causal_copy / "model.safetensors", metadata={"format": "pt"})
    assert set(FolderWeights(causal_copy)) == plain
    config = json.loads((causal_copy / "config.json").read_text())
    (causal_copy / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    assert set(FolderWeights(causal_copy)) == plain | {"lm_head.weight"}


def test_distinct_names_are_those_that_saving_writes(causal_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(causal_folder)
    assert "lm_head.weight" in model.state_dict()
    assert set(distinct(model)) == set(FolderWeights(causal_folder))


def test_pickled_weights_are_refused(causal_copy: Path) -> None:
    (causal_copy / "model.safetensors").unlink()
    (causal_copy / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match="pickled"):
        FolderWeights(causal_copy)


def test_a_cut_file_is_refused(causal_copy: Path) -> None:
    weights = causal_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ModelError, match="damaged"):
        FolderWeights(causal_copy)


def test_a_file_whose_writing_stopped_is_no_model(tmp_path: Path) -> None:
    def stops() -> Iterator[tuple[str, torch.Tensor]]:
        yield "a", torch.zeros(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "out") as folder:
        write_weights(folder, stops())
    assert files(tmp_path) == []


@pytest.mark.parametrize(("named", "told"), [
    ([("a", torch.zeros(1)), ("a", torch.zeros(1))], "twice"), ([], "no tensor"),
    ([("a", torch.zeros(1, dtype=torch.complex64))], "complex64"), ([("a" * 70_000, torch.zeros(1))], "endless"),
])
def test_what_cannot_be_written_is_told(tmp_path: Path, named: list, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        write_weights(tmp_path, named)


def test_a_name_is_known_without_reading_its_tensor(causal_copy: Path) -> None:
    read = FolderWeights(causal_copy)
    (causal_copy / "model.safetensors").unlink()
    assert "model.norm.weight" in read and "nothing" not in read
    assert len(read) == len(list(read))
    with pytest.raises(ModelError, match="damaged"):
        read["model.norm.weight"]
    with pytest.raises(KeyError):
        read["nothing"]
