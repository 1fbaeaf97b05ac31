"""Rows that join and leave, each under its own adapter, get what they get alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixing import RANKS, adapted, base, loaded_alone, save_adapters

from scrimp.checkpoints.exporting import logits_of
from scrimp.checkpoints.lowrank import read_low_rank
from scrimp.compute.mixed import MixedAdapters
from scrimp.core.errors import DataError, GuardError, ModelError
from scrimp.serving.continuous import RunningBatch, Wish, context_of
from scrimp.signals.decoding import Draws, generate

NAMES = [*RANKS, None]
PROMPTS = st.lists(st.integers(3, 60), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def folders(causal_folder, tmp_path_factory):
    return save_adapters(causal_folder, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def mixed(causal_folder, folders):
    loaded = base(causal_folder)
    return loaded, MixedAdapters(loaded.model, {n: read_low_rank(f, loaded.model) for n, f in folders.items()})


@pytest.fixture(scope="module")
def alone(causal_folder, folders):
    return {name: loaded_alone(causal_folder, folders.get(name)) for name in NAMES}


def finished(batch, rows):
    while any(row.finish is None for row in rows):
        batch.step()
    return [row.made for row in rows]


def test_mixed_ranks_in_one_batch_give_each_row_its_adapters_logits(mixed, alone):
    loaded, adapters = mixed
    prompts = [[5 + i, 9, 11, 30 + i] for i in range(len(NAMES))]
    with torch.inference_mode(), adapters.rows(NAMES):
        together = loaded.model(input_ids=torch.tensor(prompts)).logits
    for name, prompt, logits in zip(NAMES, prompts, together, strict=True):
        torch.testing.assert_close(logits, logits_of(alone[name].model, [prompt]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], logits_of(alone[None].model, [prompts[0]]), atol=1e-2), "nothing was adapted"


def test_outside_of_its_blocks_the_model_is_the_base(mixed, alone):
    loaded, adapters = mixed
    with adapters.rows(NAMES):
        pass
    assert torch.equal(logits_of(loaded.model, [[5, 6, 7]]), logits_of(alone[None].model, [[5, 6, 7]]))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(PROMPTS, st.sampled_from(NAMES), st.integers(1, 8), st.sampled_from([0.0, 0.8]),
                          st.sampled_from([1.0, 0.7]), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=8))
def test_every_row_gets_what_it_gets_alone_whenever_it_joins(mixed, alone, asked):
    loaded, adapters = mixed
    batch, rows = RunningBatch(loaded, adapters, rows=4, context=64), []
    for prompt, name, most, temperature, top_p, seed, waits in asked:
        for _ in range(waits):
            batch.step()
        while not batch.free:
            batch.step()
        rows += batch.admit([Wish(prompt, most, name, temperature, top_p, seed, frozenset({2}))])
    made = finished(batch, rows)
    for (prompt, name, most, temperature, top_p, seed, _), found in zip(asked, made, strict=True):
        draws = Draws(temperature, top_p, [seed]) if temperature else None
        assert found == generate(alone[name], [prompt], max_new_tokens=most, stop=[2], draws=draws)[0]
    assert batch.active == []
    assert batch.cache_bytes == 0


def test_rows_say_why_they_end(mixed):
    loaded, adapters = mixed
    batch = RunningBatch(loaded, adapters)
    free = batch.admit([Wish([5, 6, 7], 4)])[0]
    finished(batch, [free])
    assert (free.finish, len(free.made)) == ("length", 4)
    end = batch.admit([Wish([5, 6, 7], 4, ends=frozenset({free.made[1]}))])[0]
    finished(batch, [end])
    assert end.finish == "stop"
    assert end.made == free.made[: free.made.index(free.made[1])]


def test_a_row_that_is_dropped_leaves_the_others_alone(mixed, alone):
    loaded, adapters = mixed
    batch = RunningBatch(loaded, adapters)
    rows = batch.admit([Wish([5 + i, 6], 6, name) for i, name in enumerate(NAMES)])
    batch.step()
    batch.drop(rows[0])
    batch.drop(rows[0])
    made = finished(batch, rows[1:])
    assert made == [generate(alone[name], [[6 + i, 6]], max_new_tokens=6)[0] for i, name in enumerate(NAMES[1:])]


def test_a_row_of_no_numbers_fails_by_itself(mixed, alone, monkeypatch):
    loaded, adapters = mixed
    batch = RunningBatch(loaded, adapters)
    rows = batch.admit([Wish([5], 6), Wish([9, 9], 6)])
    whole = type(batch)._logits

    def broken(self):
        logits = whole(self).clone()
        logits[self.active.index(rows[0])] = float("nan")
        return logits

    monkeypatch.setattr(type(batch), "_logits", broken)
    batch.step()
    monkeypatch.undo()
    assert rows[0].finish == "failed"
    assert finished(batch, [rows[1]]) == [generate(alone[None], [[9, 9]], max_new_tokens=6)[0]]


def test_what_a_row_left_behind_harms_nobody(mixed):
    """A probability of zero times NaN is NaN: what is left is wiped."""
    loaded, adapters = mixed
    batch = RunningBatch(loaded, adapters)
    short, long = batch.admit([Wish([5], 9), Wish([9] * 20, 9)])
    with torch.inference_mode():
        for layer in batch._slots._layers:
            for part in layer.parts:
                part[batch.active.index(long), :, :20] = float("nan")
    batch.drop(long)
    later = batch.admit([Wish([7], 9), Wish([8] * 30, 9)])
    finished(batch, [short, *later])
    assert {row.finish for row in (short, *later)} == {"length"}


def test_rows_that_do_not_fit_are_refused(mixed):
    loaded, adapters = mixed
    batch = RunningBatch(loaded, adapters, rows=2, context=16)
    for wishes in ([Wish([], 1)], [Wish([5], 0)], [Wish([5] * 10, 7)], [Wish([5], 1)] * 3):
        with pytest.raises(DataError):
            batch.admit(wishes)
    with pytest.raises(ModelError, match="no adapter 'rank-three'"):
        batch.admit([Wish([5], 2, "rank-three")])
    assert batch.active == []


def test_a_context_is_no_longer_than_the_models(mixed):
    loaded, adapters = mixed
    assert context_of(loaded.model) == RunningBatch(loaded, adapters, context=10_000).context == 512


def test_a_model_that_gets_something_else_together_is_refused(causal_folder, monkeypatch):
    loaded = base(causal_folder)
    RunningBatch(loaded).check()
    whole = loaded.model.model.forward

    def forgets(*given, **options):
        if options["position_ids"] is not None and options["position_ids"].shape[1] == 1:
            options["position_ids"] = options["position_ids"] * 0
        return whole(*given, **options)

    monkeypatch.setattr(loaded.model.model, "forward", forgets)
    with pytest.raises(GuardError, match="together than alone"):
        RunningBatch(loaded).check()


def test_a_model_without_keys_and_values_is_refused(causal_folder):
    from scrimp.tuning.adapters import PromptTuning

    loaded = base(causal_folder)
    prompted = loaded.with_model(PromptTuning(vectors=2).attach(loaded.model).eval())
    with pytest.raises(ModelError, match="keys and values"):
        RunningBatch(prompted).check()


def test_idle_adapters_leave_when_others_need_their_place(causal_folder):
    loaded = base(causal_folder)
    shape = loaded.model.model.layers[0].mlp.up_proj.weight.shape
    from scrimp.checkpoints.lowrank import ThinPair

    def pair(rank):
        return {"model.layers.0.mlp.up_proj": ThinPair(torch.zeros(rank, shape[1]), torch.zeros(shape[0], rank))}

    mixed = MixedAdapters(loaded.model, {str(n): pair(100) for n in range(6)})
    for used in (["0", "1"], ["1", "2"], ["3", "4", "5"]):
        with mixed.rows(used):
            assert set(used) <= set(mixed.held)
    assert len(mixed.held) == 4, "one idle adapter of rank 100 has room beside those in use"


def test_what_is_no_plain_low_rank_update_is_not_mixed(causal_folder, tmp_path):
    from scrimp.checkpoints.exporting import save_adapter
    from scrimp.tuning.adapters import LoRA, PromptTuning

    for name, method in {"dora": LoRA(rank=2, decomposed=True), "prompt": PromptTuning(vectors=2)}.items():
        loaded = base(causal_folder)
        save_adapter(loaded.with_model(method.attach(loaded.model)), tmp_path / name)
        assert read_low_rank(tmp_path / name, base(causal_folder).model) is None


def test_an_adapter_of_no_numbers_or_of_another_model_is_refused(causal_folder, folders, tmp_path):
    import shutil

    import tiny
    from safetensors.numpy import load_file, save_file

    name = next(iter(RANKS))
    broken = shutil.copytree(folders[name], tmp_path / "broken")
    tensors = load_file(broken / "adapter_model.safetensors")
    first = next(iter(tensors))
    tensors[first] = np.full_like(tensors[first], np.nan)
    save_file(tensors, broken / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="NaN"):
        read_low_rank(broken, base(causal_folder).model)
    other = base(tiny.causal(tmp_path / "other", hidden=32))
    with pytest.raises(ModelError, match="does not fit"):
        read_low_rank(folders[name], other.model)


def test_adapters_are_made_to_differ(alone):
    assert adapted(alone) == len(RANKS)
