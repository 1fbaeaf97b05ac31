"""Sparse blocks: what is chosen, and what they do."""

import copy

import pytest
import torch
from torch.nn import functional as F

from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError, ModelError, OptionError
from scrimp.core.ledger import Ledger
from scrimp.core.registry import build
from scrimp.tuning.adapters import trainable


def attached(model, **options):
    return build("adapter", "random-mask", options).attach(model)


def graft_of(model):
    return model.graft


@pytest.mark.parametrize("block", [1, 7, 16])
def test_it_gives_what_the_changed_weights_give(causal, block):
    """Seven does not divide the layers' sizes: what is beyond the last whole block stays."""
    model = attached(causal, block=block, density=0.2).eval()
    graft = graft_of(model)
    torch.nn.init.normal_(graft.values, std=0.1)
    dense = copy.deepcopy(model)
    with torch.no_grad():
        for place, name in enumerate(graft.layers):
            weight = dense.get_parameter(f"{name}.weight")
            weight.add_(graft.delta(place, weight))
    dense.graft.remove(dense)
    ids = torch.arange(12).reshape(2, 6)
    with graft.disabled():
        assert not torch.allclose(model(ids).logits, dense(ids).logits, atol=1e-2)
    torch.testing.assert_close(model(ids).logits, dense(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 16])
def test_its_gradient_is_that_of_the_weights_it_changes(causal, block):
    model = attached(causal, block=block, density=0.1).eval()
    graft, ids = graft_of(model), torch.arange(12).reshape(2, 6)
    for name in graft.layers:
        model.get_parameter(f"{name}.weight").requires_grad_(True)
    model(ids, labels=ids).loss.backward()
    for place, name in enumerate(graft.layers):
        values, rows, columns = graft._at(place)
        whole = model.get_parameter(f"{name}.weight").grad
        first, last = graft._bounds[place]
        for k, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
            part = whole[row * block:(row + 1) * block, column * block:(column + 1) * block]
            torch.testing.assert_close(graft.values.grad[first:last][k], part, atol=1e-6, rtol=1e-4)
        assert len(values) == last - first


def test_the_largest_gradients_of_the_first_steps_are_chosen(causal, data, fit):
    """The oracle takes the mean absolute gradient of each block over two steps by itself."""
    oracle = copy.deepcopy(causal)
    model = build("adapter", "smt", {"block": 16, "density": 0.1, "looks": 2}).attach(causal)
    fit(model, data, batch_size=len(data), steps=1)  # each step sees all rows
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(e.ids) for e in data], batch_first=True)
    trained = torch.nn.utils.rnn.pad_sequence([torch.tensor(e.trained) for e in data], batch_first=True)
    oracle(input_ids=ids, attention_mask=(ids != 0).long(), labels=torch.where(trained, ids, -100)).loss.backward()
    scores = []
    for name in model.graft.layers:
        gradient = oracle.get_parameter(f"{name}.weight").grad
        rows, columns = (size // 16 for size in gradient.shape)
        scores.append(gradient.abs().reshape(rows, 16, columns, 16).mean(dim=(1, 3)).flatten())
    wanted = torch.cat(scores).topk(len(model.graft.chosen)).indices.sort().values
    assert torch.equal(model.graft.chosen, wanted)
    assert not any(p.requires_grad for name, p in model.named_parameters() if "graft" not in name)


def test_looks_are_billed_and_logged(causal, data, fit, tmp_path):
    ledger, meter = Ledger(tmp_path / "ledger.jsonl"), Meter()
    model = build("adapter", "smt", {"block": 16, "looks": 3}).attach(causal)
    fit(model, data, batch_size=len(data), steps=2, ledger=ledger, meter=meter)
    assert meter.bill().tokens_backward == 5 * sum(len(e.ids) for e in data)
    assert [(e["part"], e["looks"]) for e in ledger.read("train chosen")] == [("graft", 3)]


def test_looks_that_a_token_budget_does_not_pay_for(causal, data, fit):
    model = build("adapter", "smt", {"block": 16, "looks": 50}).attach(causal)
    with pytest.raises(BudgetError, match="cannot be chosen"):
        fit(model, data, meter=Meter(Budget(tokens=500)))


def test_what_has_learned_keeps_its_blocks(causal, data, fit, tmp_path):
    model = build("adapter", "smt", {"block": 16, "looks": 1}).attach(causal)
    fit(model, data)
    before = model.graft.chosen.clone()
    fit(model, data[:4], folder=tmp_path / "second", seed=5)
    assert torch.equal(model.graft.chosen, before)


def test_magnitude_takes_the_largest_weights(causal):
    with torch.no_grad():
        causal.model.layers[1].mlp.up_proj.weight[16:32, 32:48] = 9.0
    model = attached(causal, choose="magnitude", block=16, density=1e-6)
    graft = graft_of(model)
    place = graft.layers.index("model.layers.1.mlp.up_proj")
    assert [t.tolist() for t in graft._at(place)[1:]] == [[1], [2]]


@pytest.mark.parametrize(("density", "count"), [(0.0, 1), (0.5, 112), (1.0, 224)])
def test_density_is_the_share_that_moves(causal, density, count):
    model = attached(causal, block=16, density=density, targets=["gate_proj", "up_proj", "down_proj", "q_proj"])
    assert len(graft_of(model).chosen) == count
    assert sum(p.numel() for p in trainable(model).values()) == 256 * count


def test_blocks_that_fit_nowhere(causal):
    with pytest.raises(ModelError, match="no layer holds a block"):
        attached(causal, block=512)


def test_a_second_adapter_is_refused(causal):
    with pytest.raises(ModelError, match="carries an adapter already"):
        attached(attached(causal))


def test_bad_options():
    with pytest.raises(OptionError):
        build("adapter", "smt", {"density": 2})


@pytest.mark.parametrize("chosen", [[0, 0], [0, 10**9], [-2, 3]])
def test_blocks_of_another_model(causal, chosen):
    model = attached(causal, block=16, density=2 * 256 / 57344)
    before = graft_of(model).chosen.clone()
    with pytest.raises(ModelError, match="not those of this model"):
        graft_of(model).adopt(torch.tensor(chosen))
    assert torch.equal(graft_of(model).chosen, before)


def test_small_updates_of_large_bfloat16_weights_count(causal):
    """The change is computed apart from the weight: added to it first, rounding would swallow it."""
    model = attached(causal.to(torch.bfloat16), block=16, density=1.0).eval()
    layer = model.model.layers[0].self_attn.q_proj
    with torch.no_grad():
        layer.weight.fill_(1.0)
        graft_of(model).values.fill_(1e-3)
        states = torch.eye(64, dtype=torch.bfloat16)
        change = layer(states) - F.linear(states, layer.weight)
        assert torch.allclose(layer(states * 0), torch.zeros(()).bfloat16())
        added = graft_of(model).change(0, states, torch.zeros(64, 64, dtype=torch.bfloat16))
    assert float(change.abs().max()) == 0.0  # where it is shown beside a weight of one it is rounded away
    assert torch.allclose(added.float(), torch.full((64, 64), 1e-3), rtol=1e-2)
