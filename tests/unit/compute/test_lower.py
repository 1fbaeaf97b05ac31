"""States below the lowest layer that moves: the same as computed anew, to the bit whenever they are asked for."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_decoder import FAMILIES, apart, body_of, computed, model, path_of, rows, usual
from torch import nn

from scrimp.compute import lower
from scrimp.compute.decoder import Packed, packed
from scrimp.compute.forest import Forest
from scrimp.compute.lower import Lower, lowest_moving

CPU = torch.device("cpu")


def tokens() -> list[np.ndarray]:
    ids, mask = rows()
    return [row[keep.bool()].numpy() for row, keep in zip(ids, mask, strict=True)]


@contextmanager
def keeping(adapted: nn.Module, folder: Path, portions: list[list[np.ndarray]] | None = None,
            warned: list[str] | None = None) -> Iterator[Packed]:
    """A decoder on the fast path that keeps its lower states; all rows are one portion if nothing is said."""
    with packed(body_of(adapted)):
        path = path_of(body_of(adapted))
        told = warned if warned is not None else []
        path.lower = Lower(path, portions or [tokens()], folder, told.append)
        yield path


def asked(path: Packed, some: list[np.ndarray]) -> torch.Tensor | None:
    """What is kept of these rows, one after another."""
    forest = Forest.of(some)
    assert path.lower is not None
    found = path.lower.states(some, forest, CPU)
    return None if found is None else found[np.concatenate(forest.places)]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each layer of a Llama was passed."""
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    found, forward = Counter[int](), LlamaDecoderLayer.forward

    def counted(self: Any, *args: Any, **named: Any) -> Any:
        found[self.self_attn.layer_idx] += 1
        return forward(self, *args, **named)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", counted)
    return found


def test_the_lowest_layer_that_moves_is_found() -> None:
    assert [lowest_moving(body_of(model("llama", top_layers=top))) for top in (1, 2, 3)] == [2, 1, 0]
    assert lowest_moving(body_of(model("llama", "full"))) == 0
    assert lowest_moving(body_of(model("llama").requires_grad_(False))) == 2
    assert lowest_moving(nn.Linear(2, 2)) == 0


@pytest.mark.parametrize("fault", ["embeddings move", "norm moves", "dropout", "noise", "hook", "changed", "layer"])
def test_nothing_is_kept_above_what_may_change(fault: str) -> None:
    body = body_of(model("llama", top_layers=1))
    assert lowest_moving(body) == 2
    if fault == "embeddings move":
        body.embed_tokens.weight.requires_grad_(True)
    elif fault == "norm moves":
        body.layers[0].input_layernorm.weight.requires_grad_(True)
    elif fault == "dropout":
        body.layers[0].mlp.act_fn = nn.Sequential(body.layers[0].mlp.act_fn, nn.Dropout(0.1))
    elif fault == "noise":
        body.embed_tokens.register_forward_hook(lambda module, given, found: found + torch.rand(()))
    elif fault == "hook":
        body.layers[0].mlp.down_proj.register_forward_pre_hook(lambda *_: None)
    elif fault == "changed":
        body.layers[0].mlp.forward = body.layers[0].mlp.forward
    else:
        body.layers[2].forward = body.layers[2].forward
    assert lowest_moving(body) == 0


def test_a_graft_s_hooks_count_as_moving() -> None:
    assert lowest_moving(body_of(model("llama", "bottleneck"))) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_are_those_without(family: str, tmp_path: Path) -> None:
    adapted = model(family, top_layers=1)
    states, gradients = computed(adapted, usual(adapted))
    with packed(body_of(adapted)):
        plain, plain_gradients = computed(adapted, path_of(body_of(adapted)).states)
    with keeping(adapted, tmp_path) as path:
        for _ in range(2):
            ours, our_gradients = computed(adapted, path.states)
            assert torch.equal(ours, plain) and torch.equal(our_gradients, plain_gradients)
    assert apart(ours, states) < 1e-5 and apart(our_gradients, gradients) < 5e-5


def test_half_precision_is_kept_as_it_is(tmp_path: Path) -> None:
    adapted = model("llama", top_layers=1)
    body_of(adapted).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16), keeping(adapted, tmp_path) as path, torch.no_grad():
        found, anew = asked(path, tokens()), path.entering(Forest.of(tokens()), CPU)
        assert found is not None and found.dtype == torch.bfloat16
        assert torch.equal(found, anew[np.concatenate(Forest.of(tokens()).places)])


def test_each_row_passes_the_lower_layers_once(tmp_path: Path, passes: Counter[int]) -> None:
    adapted = model("llama", top_layers=1)
    every = len(Forest.of(tokens()).ids)
    with keeping(adapted, tmp_path) as path:
        computed(adapted, path.states)
        assert path.computed() == (every, every) and passes == {0: 1, 1: 1, 2: 1}
        computed(adapted, path.states)
        assert path.computed() == (every, 0) and passes == {0: 1, 1: 1, 2: 2}
        adapted.eval()  # other rows, or no training: as ever
        computed(adapted, path.states)
        assert path.computed() == (every, every) and passes == {0: 2, 1: 2, 2: 3}
        assert asked(path, [tokens()[0][:7]]) is None
    assert path.lower is not None and not path.lower.is_kept


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), (10, 3, 9, 1), (8,), (6, 5, 4)])
def test_whenever_a_row_is_asked_for_its_states_are_the_same_to_the_bit(tmp_path: Path, order: tuple[int, ...],
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    adapted, every, passed = model("llama", top_layers=1), tokens(), []
    portions = [every[:3], every[2:7], every[7:]]  # the third stands in two, and the tenth is the first again
    with keeping(adapted, tmp_path, portions) as path:
        alone = [asked(path, [row]) for row in every]
    with keeping(adapted, tmp_path, portions) as path:
        enter = path.entering
        monkeypatch.setattr(path, "entering", lambda forest, device: passed.append(forest) or enter(forest, device))
        asked(path, [every[row] for row in order])
        for row in order:
            found, wanted = asked(path, [every[row]]), alone[row]
            assert found is not None and wanted is not None and torch.equal(found, wanted)
    whole = [Forest.of(portion).ids.tolist() for portion in portions]
    assert passed and all(forest.ids.tolist() in whole for forest in passed) and len(passed) <= len(portions)
    assert apart(torch.cat([one for one in alone if one is not None]), entering(adapted)) < 1e-5


def entering(adapted: nn.Module) -> torch.Tensor:
    """The states of all rows above the lower layers, each row computed alone."""
    with packed(body_of(adapted)):
        path = path_of(body_of(adapted))
        return torch.cat([path.entering(Forest.of([row]), CPU) for row in tokens()])


def test_what_is_left_is_foreseen(tmp_path: Path) -> None:
    every = tokens()
    with keeping(model("llama", top_layers=1), tmp_path, [every[:6], every[6:]]) as path:
        kept = path.lower
        assert kept is not None and kept.rest_s() == 0
        asked(path, every[:1])
        assert kept.rest_s() > 0
        asked(path, every[6:7])
        assert kept.rest_s() == 0 and kept.seconds > 0


def refused(adapted: nn.Module, folder: Path) -> list[str]:
    """The warnings of a decoder whose lower states cannot be kept, and which goes on as if there were no question."""
    with packed(body_of(adapted)):
        plain, _ = computed(adapted, path_of(body_of(adapted)).states)
    warned: list[str] = []
    with keeping(adapted, folder, warned=warned) as path:
        for _ in range(2):
            assert torch.equal(computed(adapted, path.states)[0], plain)
        assert path.lower is not None and not path.lower.is_kept
    return warned


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_runs_full_costs_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    always_full = SimpleNamespace(TemporaryFile=lambda dir: Path("/dev/full").open("wb"))  # noqa: SIM115
    monkeypatch.setattr(lower, "tempfile", always_full)
    (warning,) = refused(model("llama", top_layers=1), tmp_path)
    assert "No space left" in warning


def test_a_folder_that_cannot_be_written_costs_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (warning,) = refused(model("llama", top_layers=1), tmp_path / "file")
    assert "not kept, but computed in each epoch: File exists" in warning


def test_no_more_than_a_tenth_of_the_free_disk_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 4 * 48 * len(np.concatenate([tokens()[i] for i in range(11) if i != 9]))  # the tenth row is the first
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10 * needed))
    with keeping(model("llama", top_layers=1), tmp_path) as path:
        assert path.lower is not None and path.lower.is_kept
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10 * needed - 1))
    (warning,) = refused(model("llama", top_layers=1), tmp_path)
    assert "MiB of disk are free" in warning
