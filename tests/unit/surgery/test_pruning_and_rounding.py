"""The mathematics of pruning and rounding, against plain loops and brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import build
from scrimp.examples.templates import Encoded
from scrimp.signals.activations import InputStatistics, activations
from scrimp.surgery.compression.layerwise import layerwise, linear_layers
from scrimp.surgery.compression.pruning import _best, exchanged
from scrimp.surgery.compression.rounding import _loss_of, allocate, reconstructed, rounded


def seen(inputs):
    inputs = torch.as_tensor(inputs, dtype=torch.float32)
    zeros = torch.zeros(inputs.shape[1], dtype=torch.float64)
    found = InputStatistics(0, zeros, zeros.clone(), torch.zeros(2 * inputs.shape[1:], dtype=torch.float64))
    found.add(inputs)
    return found


def layer(seed, outputs=6, width=16, tokens=200):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tokens, width)) * rng.uniform(0.1, 3, width) + rng.normal(size=width)
    return torch.from_numpy(rng.normal(size=(outputs, width))), seen(inputs)


def rows(count=6):
    rng = np.random.default_rng(0)
    return [Encoded(rng.integers(3, 300, n).tolist(), [True] * n) for n in range(5, 5 + count)]


@pytest.fixture
def model(causal_folder):
    return load(resolve(causal_folder), dtype="float32").model


@pytest.mark.parametrize(("options", "zero"), [
    ({"sparsity": "60%"}, 0.6), ({"pattern": "2:4"}, 0.5), ({"pattern": "1:8"}, 7 / 8), ({"sparsity": 0}, 0)])
@pytest.mark.parametrize("name", ["wanda", "dsnot", "magnitude"])
def test_as_many_weights_are_zero_as_was_said_and_the_others_are_untouched(model, name, options, zero):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    build("compression", name, options).apply(model, rows())
    for key, pruned in linear_layers(model).items():
        gone = pruned.weight == 0
        assert float(gone.float().mean()) == pytest.approx(zero, abs=0.02)
        assert torch.equal(pruned.weight[~gone], before[f"{key}.weight"][~gone])
        if "pattern" in options:
            kept, of = map(int, options["pattern"].split(":"))
            assert ((~gone).view(len(gone), -1, of).sum(-1) == kept).all()


@pytest.mark.parametrize("options", [{"pattern": "4:2"}, {"pattern": "2-4"}, {"pattern": "2:4", "sparsity": 0.5},
                                     {"sparsity": 1.5}])
def test_patterns_that_are_none_are_refused(options):
    with pytest.raises(OptionError):
        build("compression", "magnitude", options)


def test_a_width_that_cannot_be_grouped_is_told(model):
    with pytest.raises(ModelError, match="cannot be cut in groups of 7"):
        build("compression", "wanda", {"pattern": "3:7"}).apply(model, rows())


def by_hand(weight, kept, stats, group, cycles):
    """One row after the other, one candidate after the other."""
    kept, mean, variance, norm = kept.clone(), stats.mean, stats.variance, stats.norm
    width = weight.shape[1]
    for r in range(len(weight)):
        changed = set()
        for _ in range(cycles):
            error = sum(weight[r, j] * mean[j] for j in range(width) if not kept[r, j])
            sign = torch.sign(error)
            pruned = [j for j in range(width) if not kept[r, j] and j not in changed]
            if not pruned:
                break
            grow = max(pruned, key=lambda j: float(sign * weight[r, j] * mean[j] / variance[j]))
            going = [j for j in range(width) if kept[r, j] and j not in changed and j // group == grow // group
                     and sign * weight[r, j] * mean[j] < 0]
            if not going:
                break
            prune = min(going, key=lambda j: float(weight[r, j].abs() * norm[j]))
            after = error - weight[r, grow] * mean[grow] + weight[r, prune] * mean[prune]
            if not abs(after) < abs(error):
                break
            kept[r, grow], kept[r, prune] = True, False
            changed |= {grow, prune}
    return kept


@pytest.mark.parametrize("group", [16, 4])
@pytest.mark.parametrize("seed", range(5))
def test_exchanging_is_what_plain_loops_do(seed, group):
    weight, stats = layer(seed)
    kept = _best(weight.abs() * stats.norm, group // 2, group)
    assert torch.equal(exchanged(weight, kept, stats, group, cycles=20, tolerance=0),
                       by_hand(weight, kept, stats, group, 20))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 4, 8, 16]), st.floats(0, 1))
def test_no_exchange_makes_the_expected_error_larger_or_changes_how_many_are_kept(seed, group, tolerance):
    weight, stats = layer(seed)
    before = _best(weight.abs(), max(1, group // 2), group)
    after = exchanged(weight, before, stats, group, cycles=30, tolerance=tolerance)
    errors = [((weight * stats.mean) * ~kept).sum(1).abs() for kept in (before, after)]
    assert (errors[1] <= errors[0] + 1e-12).all()
    assert torch.equal(before.view(6, -1, group).sum(-1), after.view(6, -1, group).sum(-1))
    calm = errors[0] <= tolerance
    assert torch.equal(before[calm], after[calm])


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_rounding_has_few_values_keeps_zero_and_errs_by_half_a_step(bits):
    weight = torch.randn(5, 400, generator=torch.Generator().manual_seed(bits))
    weight[:, 7] = 0
    found = rounded(weight, bits)
    assert max(len(row.unique()) for row in found) <= 2**bits
    assert (found[:, 7] == 0).all()
    step = (weight.amax(1) - weight.amin(1)) / (2**bits - 1)
    assert ((found - weight).abs().amax(1) <= step * 1.01).all()
    torch.testing.assert_close(rounded(torch.zeros(2, 3), bits), torch.zeros(2, 3))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_a_fitted_rounding_stands_on_a_grid_and_changes_the_output_less(bits):
    weight, stats = layer(bits, outputs=8, width=32, tokens=400)
    weight = weight.float()
    near, fitted = rounded(weight, bits), reconstructed(weight, bits, stats, steps=150, rate=0.02)
    assert max(len(row.unique()) for row in fitted) <= 2**bits
    errors = [torch.einsum("ri,ij,rj->r", w - weight, stats.gram.float(), w - weight) for w in (near, fitted)]
    assert (errors[1] <= errors[0] * 1.0001).all()
    assert errors[1].sum() < 0.8 * errors[0].sum()


def test_a_bias_takes_up_what_rounding_leaves_on_average():
    """A block with biases, made of what the walk needs."""
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, states):
            return self.linear(states)

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table, self.blocks = nn.Embedding(300, 8), nn.ModuleList([Block()])

        def forward(self, input_ids, attention_mask, use_cache):
            return self.blocks[0](self.table(input_ids) + 1)

    model, ids = Tiny(), torch.tensor([row.ids[:5] for row in rows()])
    whole = model(ids, None, False)
    build("compression", "adaquant", {"bits": 2}).apply(model, [Encoded(r, [True] * 5) for r in ids.tolist()])
    torch.testing.assert_close(model(ids, None, False).mean((0, 1)), whole.mean((0, 1)), atol=1e-5, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2000, 8000).map(lambda thousandths: thousandths / 1000))
def test_the_programme_finds_what_trying_everything_finds(seed, layers, bits):
    rng, widths = np.random.default_rng(seed), (2, 3, 4, 8)
    harm, sizes = rng.random((layers, 4)), rng.integers(1, 9, layers).tolist()
    found = allocate(harm, sizes, widths, bits)
    assert np.dot(found, sizes) <= bits * sum(sizes) + 1e-6
    best = min(sum(harm[i, widths.index(w)] for i, w in enumerate(tried))
               for tried in itertools.product(widths, repeat=layers) if np.dot(tried, sizes) <= bits * sum(sizes))
    assert sum(harm[i, widths.index(w)] for i, w in enumerate(found)) == pytest.approx(best)


def test_the_widths_fit_and_trying_them_leaves_the_model_as_it_was(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    method = build("compression", "adaquant-mixed", {"bits": 3.5})
    found = method.widths_of(model, rows())
    sizes = {name: layer.weight.numel() for name, layer in linear_layers(model).items()}
    assert found.keys() == sizes.keys()
    assert sum(found[n] * sizes[n] for n in sizes) <= 3.5 * sum(sizes.values())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_the_programme_knows_an_encoder_by_how_far_its_states_move(encoder_folder):
    model = load(resolve(encoder_folder), dtype="float32").model
    loss, (first, *_) = _loss_of(model, rows()), linear_layers(model).values()
    assert loss() == 0
    with torch.no_grad():
        first.weight.add_(0.1)
    assert loss() > 0
    before = {key: value.clone() for key, value in model.state_dict().items()}
    method = build("compression", "mixed-rtn", {"bits": 3, "widths": (2, 4)})
    sizes = {name: layer.weight.numel() for name, layer in linear_layers(model).items()}
    found = method.widths_of(model, rows())
    assert sum(found[n] * sizes[n] for n in sizes) <= 3 * sum(sizes.values())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("options", [{"bits": 3.5}, {"allocation": "programme", "bits": 1},
                                     {"allocation": "programme", "widths": (2, 32)}])
def test_widths_that_cannot_be_are_refused(options):
    with pytest.raises(OptionError, match="bits"):
        build("compression", "adaquant", options)


def test_a_layer_sees_what_the_changed_layers_before_it_give(model):
    met = {}

    def halve(name, layer, statistics):
        met[name] = statistics.mean
        with torch.no_grad():
            layer.weight *= 0.5

    first = activations(model, rows())
    layerwise(model, rows(), halve)
    now = activations(model, rows())
    torch.testing.assert_close(met["model.layers.0.self_attn.q_proj"], first["model.layers.0.self_attn.q_proj"].mean)
    key = "model.layers.1.self_attn.q_proj"
    torch.testing.assert_close(met[key], now[key].mean, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(met[key], first[key].mean, atol=1e-3)


def test_encoders_are_compressed_too(encoder_folder):
    encoder = load(resolve(encoder_folder), dtype="float32").model
    build("compression", "adaquant", {"bits": 3, "steps": 10}).apply(encoder, rows())
    assert all(len(row.unique()) <= 8 for layer in linear_layers(encoder).values() for row in layer.weight)
